"""What can become of a setting of NTH: a rule is a value that answers, and that a table prints."""

import dataclasses
import enum
from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias

Place: TypeAlias = tuple[str, ...]
"""Where a value goes, from the top of the file down."""

Given: TypeAlias = Mapping[str, object]
"""The values that are set, by the name of their row."""

# What Go's strconv.ParseBool takes, which is what NTH asks.
_TRUE = frozenset({"1", "t", "true"})
_FALSE = frozenset({"0", "f", "false"})


class Fate(enum.StrEnum):
    """What becomes of a setting."""

    MAPPED = "mapped"
    NEEDLESS = "needless"
    DIFFERENT = "different by design"
    UNSUPPORTED = "not supported"


class NotAllowed(ValueError):
    """A value that NTH would refuse, too, or that is not in the file; the text says what is."""


@dataclasses.dataclass(frozen=True, slots=True)
class InSecret:
    """A value that lies in a Secret.

    Attributes:
        name: The name of the Secret.
        key: Which of its entries.
    """

    name: str
    key: str


@dataclasses.dataclass(frozen=True, slots=True)
class Elsewhere:
    """A value that lies neither in the file nor in a Secret."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What becomes of one value.

    Attributes:
        why: For people; empty where the name says it all.
        settings: What goes into our settings.
        chart: What goes into the values of our chart, beside the settings.
    """

    fate: Fate
    why: str = ""
    settings: Mapping[Place, object] = dataclasses.field(default_factory=dict)
    chart: Mapping[Place, object] = dataclasses.field(default_factory=dict)


class Rule(Protocol):
    """What becomes of one setting."""

    def answer(self, value: object, given: Given) -> Answer:
        """Decide.

        Args:
            value: The value; never empty.
            given: All that is set, for rules that depend on others.

        Raises:
            NotAllowed: The value is none that NTH takes.
        """

    def described(self) -> str:
        """The same for every value, as a cell of a Markdown table."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A setting of NTH.

    Attributes:
        name: The environment variable; for what only the chart has, the key there.
        key: The key in the values of NTH's chart; None where the chart has none.
        rule: What becomes of it.
        old_names: How it was called before, in both places.
        assumed: The value that NTH assumes where none is set, if that has to be carried over.
    """

    name: str
    key: str | None
    rule: Rule
    old_names: tuple[str, ...] = ()
    assumed: str | None = None


def text(value: object) -> str:
    """A value that is a text, or that YAML took for something else.

    Raises:
        NotAllowed: It is not in the file, or not a single value.
    """
    match value:
        case bool():
            return str(value).lower()
        case str() | int() | float():
            return str(value)
        case _:
            raise NotAllowed("a single value, written in the file, is needed")


def flag(value: object) -> bool:
    """A value that is true or false; NotAllowed for any other."""
    written = text(value).lower()
    if written in _TRUE | _FALSE:
        return written in _TRUE
    raise NotAllowed("true or false is needed")


def number(value: object) -> int:
    """A value that is a whole number; NotAllowed for any other."""
    try:
        return int(text(value))
    except ValueError:
        raise NotAllowed("a whole number is needed") from None


@dataclasses.dataclass(frozen=True, slots=True)
class Left:
    """Nothing is made of it, and this is why."""

    fate: Fate
    why: str

    def answer(self, value: object, given: Given) -> Answer:
        """Say so."""
        del value, given
        return Answer(fate=self.fate, why=self.why)

    def described(self) -> str:
        """Fate and reason."""
        return self.why if self.fate is Fate.MAPPED else f"{self.fate}: {self.why}"


def needless(why: str) -> Left:
    """It is so anyway, or of no use here."""
    return Left(Fate.NEEDLESS, why)


def different(why: str) -> Left:
    """It is another way here, on purpose."""
    return Left(Fate.DIFFERENT, why)


def unsupported(why: str) -> Left:
    """There is no such thing here."""
    return Left(Fate.UNSUPPORTED, why)


@dataclasses.dataclass(frozen=True, slots=True)
class Becomes:
    """It is one of our settings.

    Attributes:
        place: Its name, groups joined by dots.
        read: Makes our value of theirs.
        why: What there is to know; may be empty.
    """

    place: str
    read: Callable[[object], object] = text
    why: str = ""

    def answer(self, value: object, given: Given) -> Answer:
        """Take the value over."""
        del given
        put = {tuple(self.place.split(".")): self.read(value)}
        return Answer(fate=Fate.MAPPED, why=self.why, settings=put)

    def described(self) -> str:
        """The name of our setting."""
        return f"`{self.place}`{f'; {self.why}' if self.why else ''}"


@dataclasses.dataclass(frozen=True, slots=True)
class Everywhere:
    """It is an action for every kind of event: `actions.<kind>`."""

    kinds: tuple[str, ...]
    action: str
    why: str = ""

    def answer(self, value: object, given: Given) -> Answer:
        """Set the action of each kind."""
        del value, given
        put: dict[Place, object] = {("actions", kind): self.action for kind in self.kinds}
        return Answer(fate=Fate.MAPPED, why=self.why, settings=put)

    def described(self) -> str:
        """The name of our settings."""
        return f"`actions.<kind>: {self.action}`{f'; {self.why}' if self.why else ''}"


@dataclasses.dataclass(frozen=True, slots=True)
class Variable:
    """It is a variable of the container: AWS is configured the AWS way."""

    name: str

    def answer(self, value: object, given: Given) -> Answer:
        """Take the value over."""
        del given
        return Answer(fate=Fate.MAPPED, chart={("env", self.name): text(value)})

    def described(self) -> str:
        """The name of the variable."""
        return f"`{self.name}` in the environment (`env` of the chart)"


@dataclasses.dataclass(frozen=True, slots=True)
class ChartValue:
    """It is a value of our chart, which says what it may hold."""

    place: str
    read: Callable[[object], object] = lambda value: value
    why: str = ""

    def answer(self, value: object, given: Given) -> Answer:
        """Take the value over."""
        del given
        put = {tuple(self.place.split(".")): self.read(value)}
        return Answer(fate=Fate.MAPPED, why=self.why, chart=put)

    def described(self) -> str:
        """The name of our value."""
        return f"`{self.place}` of the chart{f'; {self.why}' if self.why else ''}"


@dataclasses.dataclass(frozen=True, slots=True)
class Either:
    """What becomes of it depends on whether it is true."""

    on: Rule
    off: Rule

    def answer(self, value: object, given: Given) -> Answer:
        """Ask one of the two."""
        return (self.on if flag(value) else self.off).answer(value, given)

    def described(self) -> str:
        """Both."""
        return f"`true`: {self.on.described()}. `false`: {self.off.described()}"


@dataclasses.dataclass(frozen=True, slots=True)
class AboveOnly:
    """It counts only where it is larger than a number.

    Attributes:
        limit: The number.
        above: What becomes of a larger one.
        others: What becomes of any other.
    """

    limit: int
    above: Rule
    others: Rule

    def answer(self, value: object, given: Given) -> Answer:
        """Ask one of the two."""
        return (self.above if number(value) > self.limit else self.others).answer(value, given)

    def described(self) -> str:
        """Both."""
        return f"over {self.limit}: {self.above.described()}. Else {self.others.described()}"


@dataclasses.dataclass(frozen=True, slots=True)
class OnlyWith:
    """It counts only where another one is true."""

    other: str
    then: Rule
    otherwise: Rule

    def answer(self, value: object, given: Given) -> Answer:
        """Ask one of the two."""
        is_on = self.other in given and flag(given[self.other])
        return (self.then if is_on else self.otherwise).answer(value, given)

    def described(self) -> str:
        """What becomes of it then."""
        return f"with `{self.other}`: {self.then.described()}"
