"""The findings of the soak test, and the results of a trial."""

import dataclasses
import enum
from collections.abc import Sequence


class FindingKind(enum.StrEnum):
    """The kinds of findings; each of them is one too many."""

    LOST = "lost"
    """A message, a lifecycle action or a node whose work was not done."""
    EARLY = "early"
    """A message deleted or a lifecycle action completed while pods were left on the node."""
    EVICTED_TWICE = "evicted twice"
    DELETED = "deleted"
    """A pod that was deleted without the reason of a deadline."""
    BUDGET = "budget"
    """Fewer healthy pods than the budget promises."""
    OTHER_NODE = "other node"
    """A node that no event named, and that was touched."""
    PROCESS = "process"
    """A process that crashed, or that did not stop as it should."""
    MEMORY = "memory"
    """Memory or metric series that grow."""


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """Something that must not happen, and did.

    Attributes:
        text: The details, for people.
    """

    kind: FindingKind
    text: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """The results of one trial.

    Attributes:
        faults: How many faults hit: signals, outages, requests that failed.
        messages: How many messages were sent.
        takeovers: Seconds from the end of a leader to the work of the standby.
        figures: What else was measured, for people.
    """

    faults: int
    messages: int
    seconds: float
    findings: Sequence[Finding] = ()
    takeovers: Sequence[float] = ()
    figures: str = ""
