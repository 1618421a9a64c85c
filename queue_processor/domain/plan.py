"""Decisions as values: what to do with a node, how it went, the outcome of the message."""

import dataclasses
import datetime as dt
import enum
from collections.abc import Iterable, Sequence

from queue_processor.domain.deadlines import Deadline
from queue_processor.domain.events import (
    EventKind,
    Ignored,
    InterruptionEvent,
    LifecycleAction,
)
from queue_processor.domain.identifiers import InstanceId, NodeName

_NAMED_PODS = 10


class Action(enum.StrEnum):
    """The action for an event; the value is the one in the settings."""

    CORDON_AND_DRAIN = "cordon-and-drain"
    CORDON = "cordon"
    AWAIT_READY = "await-ready"
    UNCORDON = "uncordon"
    IGNORE = "ignore"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The action for one node, and its deadline.

    Attributes:
        hold_id: Identifies what the event holds the node for, or what it cancels.
        since: When this was planned first.
        node_name: None where the node is waited for.
        is_instance_gone: The event reports that nothing runs on the instance any more.
        lifecycle_action: The one to complete afterwards, if the event has one.
    """

    event_id: str
    hold_id: str
    kind: EventKind
    since: dt.datetime
    occurred_at: dt.datetime
    action: Action
    instance_id: InstanceId
    node_name: NodeName | None
    deadline: Deadline
    is_instance_gone: bool = False
    lifecycle_action: LifecycleAction | None = None

    def report(self, result: "InstanceResult") -> "InstanceReport":
        """Return the report of a plan that ended without a drain of its own."""
        return InstanceReport(instance_id=self.instance_id, node_name=self.node_name, result=result)


class InstanceResult(enum.StrEnum):
    """The result for one instance."""

    DRAINED = "drained"
    CORDONED = "cordoned"
    UNCORDONED = "uncordoned"
    READY = "ready"
    NODE_GONE = "node_gone"
    PAST_DEADLINE = "past_deadline"
    GAVE_UP = "gave_up"
    CANCELLED = "cancelled"
    NEVER_READY = "never_ready"
    STILL_RUNNING = "still_running"
    UNKNOWN_INSTANCE = "unknown_instance"
    NOT_MANAGED = "not_managed"
    HELD_BY_ANOTHER = "held_by_another"
    OBSERVED = "observed"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class InstanceReport:
    """The result for one instance of an event, with details.

    Attributes:
        evicted: How many pods were evicted.
        force_deleted: The pods that were deleted at the deadline against their budget.
        left: The pods that were still there at the end.
        margin: What was left until the deadline; None where there was no deadline to meet.
        last_removal_at: When the API server accepted the last eviction or deletion; None: none.
    """

    instance_id: InstanceId
    result: InstanceResult
    node_name: NodeName | None = None
    evicted: int = 0
    force_deleted: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    margin: dt.timedelta | None = None
    last_removal_at: dt.datetime | None = None

    def summary(self, *, seen: int) -> str:
        """Summarize the report in a line that names the first pods.

        Args:
            seen: How many pods had to go.
        """
        summary = f"{len(self.left)} of {seen} pods left"
        if self.left:
            summary += f": {', '.join(self.left[:_NAMED_PODS])}"
        if self.force_deleted:
            named = ", ".join(self.force_deleted[:_NAMED_PODS])
            summary += f"; {len(self.force_deleted)} deleted at the deadline: {named}"
        return summary


# Of the nodes of one instance; the first that occurs is the result for the instance.
_WORST_FIRST = (
    InstanceResult.PAST_DEADLINE,
    InstanceResult.GAVE_UP,
    InstanceResult.HELD_BY_ANOTHER,
    InstanceResult.CANCELLED,
    InstanceResult.DRAINED,
    InstanceResult.CORDONED,
    InstanceResult.UNCORDONED,
    InstanceResult.OBSERVED,
    InstanceResult.STILL_RUNNING,
    InstanceResult.NODE_GONE,
)


def combined(instance_id: InstanceId, reports: Sequence[InstanceReport]) -> InstanceReport:
    """Return the report for an instance with these reports of its nodes; NODE_GONE without any."""
    results = {report.result for report in reports}
    margins = [report.margin for report in reports if report.margin is not None]
    return InstanceReport(
        instance_id=instance_id,
        result=next(
            (result for result in _WORST_FIRST if result in results), InstanceResult.NODE_GONE
        ),
        node_name=_joined(report.node_name for report in reports),
        evicted=sum(report.evicted for report in reports),
        force_deleted=tuple(pod for report in reports for pod in report.force_deleted),
        left=tuple(pod for report in reports for pod in report.left),
        margin=min(margins, default=None),
    )


def _joined(names: Iterable[NodeName | None]) -> NodeName | None:
    return NodeName(",".join(dict.fromkeys(name for name in names if name is not None))) or None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HandledInstance:
    """The state of the work on one instance of an event.

    Attributes:
        plans: What was decided, for each of its nodes.
        report: How the work ended; None where it failed, or was cancelled.
        error: Why it failed; None where it did not, or was cancelled.
    """

    instance_id: InstanceId
    plans: tuple[Plan, ...] = ()
    report: InstanceReport | None = None
    error: Exception | None = None

    @property
    def is_unfinished(self) -> bool:
        """True if the work neither ended nor failed: it was cancelled."""
        return self.report is None and self.error is None

    @property
    def node_name(self) -> NodeName | None:
        """The node of the instance, where there is one; several are joined by commas."""
        if self.report is not None and self.report.node_name is not None:
            return self.report.node_name
        return _joined(plan.node_name for plan in self.plans)


class OutcomeKind(enum.StrEnum):
    """The five outcomes of a message."""

    DONE = "done"
    OBSERVED = "observed"
    IGNORED = "ignored"
    RETRY = "retry"
    DEAD_LETTER = "dead_letter"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The outcome of a message, and why.

    Attributes:
        completes: The lifecycle action that is completed before the message is deleted. With
            OBSERVED, the one that would be.
        leaves: The lifecycle action that is left to the owner of its group, because nothing shows
            that the group is ours.
        visible_after: For a retry: when the queue gives the message out again.
    """

    kind: OutcomeKind
    reason: str
    completes: LifecycleAction | None = None
    leaves: LifecycleAction | None = None
    visible_after: dt.timedelta = dt.timedelta()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Processed:
    """All that processing a message has found out.

    Attributes:
        event: None for a message that cannot be understood.
        instances: In the order of the event; empty for one that asks for nothing.
    """

    outcome: Outcome
    event: InterruptionEvent | Ignored | None = None
    instances: tuple[HandledInstance, ...] = ()

    @property
    def kind(self) -> EventKind | None:
        """The kind of the event; None for one that asks for nothing."""
        return self.event.kind if isinstance(self.event, InterruptionEvent) else None
