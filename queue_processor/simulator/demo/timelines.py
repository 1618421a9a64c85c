"""The course of each node, and of each workload, in a scenario that is played."""

import dataclasses
import datetime as dt
import enum

from queue_processor.simulator.kube import history


class NodeState(enum.StrEnum):
    """The progress of an interrupted node; the most urgent first."""

    DRAINING = "draining"
    INTERRUPTED = "interrupted"
    NOT_JOINED = "not joined yet"
    RUNNING = "running"
    DRAINED = "drained"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NodeTimeline:
    """One interrupted node, from its first event until it is drained.

    Attributes:
        node: Its name.
        labels: The kinds of its events.
        interrupted_at: When the first message about it was sent; None before that.
        measured_from: The same, or when the node joined if that was later, because a node that
            does not exist cannot be cordoned.
        deadline: When the first of its events takes the instance; None if none does.
        cordoned_at: When it was cordoned.
        released_at: When its lifecycle action was completed, so that its group ends the instance;
            None if no hook holds it up, or not yet.
        pods: The pods that ran on it at any time and had to move.
    """

    node: str
    labels: tuple[str, ...]
    interrupted_at: dt.datetime | None
    measured_from: dt.datetime | None
    deadline: dt.datetime | None
    cordoned_at: dt.datetime | None
    released_at: dt.datetime | None
    pods: tuple[history.PodRecord, ...]

    @property
    def state(self) -> NodeState:
        """Return how far it is."""
        if self.drained_at is not None:
            return NodeState.DRAINED
        if self.cordoned_at is not None:
            return NodeState.DRAINING
        if self.interrupted_at is None:
            return NodeState.RUNNING
        return NodeState.NOT_JOINED if self.measured_from is None else NodeState.INTERRUPTED

    @property
    def pods_left(self) -> int:
        """Count the pods that still have to move."""
        return sum(pod.removed is None for pod in self.pods)

    @property
    def drained_at(self) -> dt.datetime | None:
        """Return when the last pod that had to move was gone; None before that."""
        if self.cordoned_at is None or self.pods_left:
            return None
        removals = (pod.removed for pod in self.pods if pod.removed is not None)
        return max(removals, default=self.cordoned_at)

    @property
    def cordon_seconds(self) -> float | None:
        """Return the time from the event to the cordon."""
        return seconds_between(self.measured_from, self.cordoned_at)

    @property
    def drain_seconds(self) -> float | None:
        """Return the time from the event until the node was drained."""
        return seconds_between(self.measured_from, self.drained_at)

    @property
    def margin_seconds(self) -> float | None:
        """Return the time from the end of the drain to the deadline; negative if it was late."""
        return seconds_between(self.drained_at, self.deadline)

    @property
    def margin(self) -> str:
        """Return the same for people."""
        seconds = self.margin_seconds
        if seconds is None:
            return "no deadline"
        when = "before" if seconds >= 0 else "after"
        return f"{format_duration(abs(seconds))} {when} the deadline"


def seconds_between(first: dt.datetime | None, second: dt.datetime | None) -> float | None:
    """Return the seconds from one moment to the other, to the millisecond, if both are set."""
    if first is None or second is None:
        return None
    return round((second - first).total_seconds(), 3)


def format_duration(seconds: float) -> str:
    """Return minutes and seconds, or the days or hours of a long time."""
    whole = int(seconds)
    if whole >= 86_400:  # noqa: PLR2004 - seconds in a day
        return f"{whole // 86_400} d"
    if whole >= 3600:  # noqa: PLR2004 - seconds in an hour
        return f"{whole // 3600} h"
    return f"{whole // 60}:{whole % 60:02}"
