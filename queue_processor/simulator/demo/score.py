"""The figures of a rehearsal."""

import dataclasses
import datetime as dt
import math
from collections.abc import Iterable, Sequence

from queue_processor.simulator.aws import lifecycle
from queue_processor.simulator.demo import evidence
from queue_processor.simulator.kube import history, store

# How long before the deadline a pod may be deleted against its budget, if its own grace period
# is not longer; and how much a clock of whole seconds and a busy machine add to that.
_FORCE_MARGIN_SECONDS = 10.0
_TOLERANCE_SECONDS = 1.5


@dataclasses.dataclass(frozen=True, slots=True)
class Spread:
    """How a duration is spread, in seconds; None where nothing was measured.

    Percentiles are values that occurred (nearest rank).
    """

    p50: float | None
    p99: float | None
    max: float | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The figures; times in seconds.

    Attributes:
        scenario: The name of the scenario.
        nodes: All nodes of the cluster.
        events: The events that name a node. Neither copies of one nor the second notification
            of a lifecycle action count, nor what is ignored or malformed.
        cordoned: The nodes that were cordoned.
        drained: The interrupted nodes that nothing is left on.
        messages_deleted: Messages that were settled; malformed ones not counted.
        messages_dead_lettered: Messages in the dead-letter queue.
        messages_left: Messages still in the queue, visible or not.
        lifecycle_actions_completed: Lifecycle actions that somebody completed.
        pods_evicted: Evictions that were granted.
        pods_deleted_at_deadline: Pods that were deleted, and not evicted, because their
            deadline was near.
        budget_violations: Pods that a budget needed, and that were lost without need.
        event_to_cordon_seconds: From the sending of the first message about a node to its
            cordon. A node that joins later is measured from when it joined: before that there
            is nothing to cordon.
        event_to_drained_seconds: From the same moment until the last pod that had to move was
            gone.
        margin_seconds_min: The least time between a drained node and its deadline.
        ok: Whether everything came out right.
    """

    scenario: str
    nodes: int
    events: int
    cordoned: int
    drained: int
    messages_deleted: int
    messages_dead_lettered: int
    messages_left: int
    lifecycle_actions_completed: int
    pods_evicted: int
    pods_deleted_at_deadline: int
    budget_violations: int
    event_to_cordon_seconds: Spread
    event_to_drained_seconds: Spread
    margin_seconds_min: float | None
    ok: bool


def of(known: evidence.Evidence, *, is_right: bool) -> Score:
    """Work out the figures.

    Args:
        known: The facts.
        is_right: What the checks say.
    """
    told = evidence.stories(known)
    return Score(
        scenario=known.scenario.name,
        nodes=len(known.scenario.nodes),
        events=known.scenario.events,
        cordoned=len(known.cordons),
        drained=sum(story.drained_at is not None for story in told),
        messages_deleted=settled_messages(known),
        messages_dead_lettered=len(known.dead_letters),
        messages_left=known.left,
        lifecycle_actions_completed=sum(
            action.ending is lifecycle.LifecycleActionEnding.COMPLETED for action in known.actions
        ),
        pods_evicted=sum(eviction.is_granted for eviction in known.evictions),
        pods_deleted_at_deadline=len(deleted_at_deadline(known)),
        budget_violations=len(violations(known)),
        event_to_cordon_seconds=spread(
            seconds_between(story.counts_from, story.cordoned_at) for story in told
        ),
        event_to_drained_seconds=spread(
            seconds_between(story.counts_from, story.drained_at) for story in told
        ),
        margin_seconds_min=min(margins(told), default=None),
        ok=is_right,
    )


def settled_messages(known: evidence.Evidence) -> int:
    """How many messages were deleted, and did not go on to the dead-letter queue."""
    put_aside = list(known.dead_letters)
    settled = 0
    for record in known.messages:
        if record.body in put_aside:
            put_aside.remove(record.body)
        elif record.deleted_at is not None:
            settled += 1
    return settled


def margins(told: Sequence[evidence.NodeStory]) -> list[float]:
    """Seconds between the end of each drain and the deadline, where there is one."""
    found = (seconds_between(story.drained_at, story.deadline) for story in told)
    return [round(margin, 3) for margin in found if margin is not None]


def deleted_at_deadline(known: evidence.Evidence) -> list[history.PodRecord]:
    """The pods that were deleted when their node's deadline left no choice."""
    deadlines = {story.node: story.deadline for story in evidence.stories(known)}
    grace = {workload.name: workload.grace_seconds for workload in known.scenario.workloads}
    found = []
    for pod in known.pods:
        deadline = deadlines.get(pod.node)
        left = seconds_between(pod.removal_requested, deadline)
        if pod.removal_cause is not store.Cause.DELETE or left is None:
            continue
        own_grace = grace.get(pod.name.rpartition("-")[0], 0)
        if left <= max(own_grace, _FORCE_MARGIN_SECONDS) + _TOLERANCE_SECONDS:
            found.append(pod)
    return found


def violations(known: evidence.Evidence) -> list[history.Breach]:
    """The losses against a budget that no deadline excuses."""
    excused = {(pod.namespace, pod.name) for pod in deleted_at_deadline(known)}
    return [
        loss
        for loss in known.breaches
        if loss.cause is store.Cause.EVICTION
        or (loss.cause is store.Cause.DELETE and (loss.namespace, loss.pod) not in excused)
    ]


def spread(values: Iterable[float | None]) -> Spread:
    """Median, 99th percentile and maximum."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return Spread(None, None, None)
    return Spread(_rank(known, 0.5), _rank(known, 0.99), _rank(known, 1.0))


def seconds_between(first: dt.datetime | None, second: dt.datetime | None) -> float | None:
    """From one moment to the other, if both are known."""
    if first is None or second is None:
        return None
    return (second - first).total_seconds()


def _rank(ordered: Sequence[float], share: float) -> float:
    return round(ordered[max(math.ceil(share * len(ordered)), 1) - 1], 3)
