"""Turns what was found into our settings, and keeps what there is to say about it."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pydantic
import pydantic_settings

from queue_processor.domain import errors
from queue_processor.settings.model import ToolSettings
from queue_processor.settings.nth import chart, draining, reading, telling
from queue_processor.settings.nth.reading import Found
from queue_processor.settings.nth.rules import Answer, Fate, NotAllowed, Place, Row, Rule

SETTINGS: Sequence[Row] = (*draining.ROWS, *telling.ROWS)
"""Every setting of NTH."""

_TABLE: Sequence[Row] = (*SETTINGS, *chart.ROWS)
_DEFAULT = "NTH's default"
_NAME_LIMIT = 60
_UNKNOWN = "no setting of NTH that is known here"


@dataclasses.dataclass(frozen=True, slots=True)
class Put:
    """A value of ours, and where it came from."""

    value: object
    origin: str
    why: str


@dataclasses.dataclass(frozen=True, slots=True)
class Told:
    """What did not become a value of ours, and why."""

    name: str
    fate: Fate
    why: str


@dataclasses.dataclass(frozen=True, slots=True)
class Migration:
    """What became of the settings of NTH.

    Attributes:
        settings: Ours, by their place in the settings file.
        chart: Values of our chart beside them, by their place.
        told: What could not be taken over, the gravest first.
    """

    settings: Mapping[Place, Put]
    chart: Mapping[Place, Put]
    told: Sequence[Told]


class _AsWritten(ToolSettings):
    """Our settings, from what was converted alone."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[pydantic_settings.BaseSettings],
        init_settings: pydantic_settings.PydanticBaseSettingsSource,
        env_settings: pydantic_settings.PydanticBaseSettingsSource,
        dotenv_settings: pydantic_settings.PydanticBaseSettingsSource,
        file_secret_settings: pydantic_settings.PydanticBaseSettingsSource,
    ) -> tuple[pydantic_settings.PydanticBaseSettingsSource, ...]:
        """The environment of whoever migrates does not matter."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)


def convert(found: Sequence[Found]) -> Migration:
    """Convert.

    Raises:
        UsageError: There is not one setting of NTH among what was found.
    """
    spread = _old_names_first(list(_spread(found)))
    rows = {row: each for each in spread for row in [_row_of(each.name)] if row is not None}
    if not rows:
        raise errors.UsageError("there is no setting of aws-node-termination-handler in it")
    told = [
        Told(_printable(each.name), Fate.UNSUPPORTED, _UNKNOWN)
        for each in spread
        if _row_of(each.name) is None
    ]
    given = {row.name: each.value for row, each in rows.items()}
    settings: dict[Place, Put] = {}
    values: dict[Place, Put] = {}
    everything = {**_assumed(rows), **rows}
    for row in [row for row in _TABLE if row in everything]:
        each = everything[row]
        answer = _answer(row.rule, each, given)
        origin = _printable(each.name)
        for puts, answered in ((settings, answer.settings), (values, answer.chart)):
            puts.update({k: Put(value, origin, answer.why) for k, value in answered.items()})
        if answer.fate is not Fate.MAPPED:
            told.append(Told(origin, answer.fate, answer.why))
    told += _take_out_refused(settings)
    order = (Fate.UNSUPPORTED, Fate.DIFFERENT, Fate.NEEDLESS)
    return Migration(settings, values, sorted(told, key=lambda each: order.index(each.fate)))


def tree(puts: Mapping[Place, Put]) -> dict[str, Any]:
    """The values, as they lie in a file."""
    top: dict[str, Any] = {}
    for place, put in puts.items():
        branch = top
        for name in place[:-1]:
            branch = branch.setdefault(name, {})
        branch[place[-1]] = put.value
    return top


def _assumed(rows: Mapping[Row, Found]) -> Mapping[Row, Found]:
    """What NTH does without being told to, and we do not."""
    return {
        row: Found(_DEFAULT, row.assumed)
        for row in SETTINGS
        if row.assumed is not None and row not in rows
    }


def _spread(found: Iterable[Found]) -> Iterator[Found]:
    """The same, with the variables of extraEnv on their own where they are settings of NTH."""
    for each in found:
        if each.name != chart.EXTRA_ENV or not isinstance(each.value, list):
            yield each
            continue
        others: dict[str, object] = {}
        for item, variable in zip(each.value, reading.variables(each.value), strict=True):
            if _row_of(variable.name) is not None:
                yield variable
            elif item.get("valueFrom") is not None:
                others[variable.name] = {"valueFrom": item["valueFrom"]}
            else:
                others[variable.name] = item.get("value") or ""
        if others:
            yield Found(each.name, others)


def _plain(name: str) -> str:
    """A name in a spelling that the environment and the chart have in common."""
    return name.replace("_", "").lower()


_ROWS: Mapping[str, Row] = {
    _plain(name): row
    for row in _TABLE
    for name in (row.name, row.key, *row.old_names)
    if name is not None
}
_OLD = frozenset(_plain(name) for row in SETTINGS for name in row.old_names)


def _row_of(name: str) -> Row | None:
    for begin in chart.DAEMON_SETS:
        if name.startswith(begin):
            return _ROWS[_plain(f"{begin}…")]
    return _ROWS.get(_plain(name))


def _old_names_first(found: Sequence[Found]) -> Sequence[Found]:
    """In NTH a new name rules over the old one."""
    return sorted(found, key=lambda each: _plain(each.name) not in _OLD)


def _answer(rule: Rule, found: Found, given: Mapping[str, object]) -> Answer:
    try:
        return rule.answer(found.value, given)
    except NotAllowed as refused:
        return Answer(fate=Fate.UNSUPPORTED, why=f"not taken over: {refused}")


def _take_out_refused(settings: dict[Place, Put]) -> Iterator[Told]:
    """Take out what our own settings do not allow, such as a queue_url that is none."""
    try:
        _AsWritten(**tree(settings))
    except pydantic.ValidationError as invalid:
        for error in invalid.errors():
            named = tuple(str(part) for part in error["loc"])
            for place in [place for place in settings if named[: len(place)] == place]:
                put = settings.pop(place)
                reason = error["msg"].removeprefix("Value error, ")
                why = f"not taken over, because {'.'.join(place)} does not allow it: {reason}"
                yield Told(put.origin, Fate.UNSUPPORTED, why)


def _printable(name: str) -> str:
    """A name out of a file, fit for a terminal and for a comment."""
    kept = "".join(letter if letter.isprintable() else "?" for letter in name)
    return kept if len(kept) <= _NAME_LIMIT else f"{kept[: _NAME_LIMIT - 1]}…"
