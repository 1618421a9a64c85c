"""The results of a scenario, as the simulated AWS and cluster saw them, and their figures.

Nothing comes from the operator: neither its log nor its metrics are read.
"""

import dataclasses
import datetime as dt
import functools
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Self

from queue_processor.simulator.aws import lifecycle, records
from queue_processor.simulator.demo.scenario import PlannedMessage, Scenario
from queue_processor.simulator.demo.timelines import NodeTimeline, seconds_between
from queue_processor.simulator.kube import history, store

# How long before the deadline a pod may be deleted against its budget, if its own grace period
# is not longer; and how much a clock of whole seconds and a busy machine add to that.
_FORCE_MARGIN_SECONDS = 10.0
_TOLERANCE_SECONDS = 1.5


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SentMessage:
    """A planned message that was sent, with all its copies.

    Attributes:
        planned: The plan.
        mark: Identifies the copies: their message id, or a part of the event in their bodies.
        deadline: When AWS takes the instance; None if it sets no time.
        announced_at: When instance metadata had it first; None for what comes through a queue.
    """

    planned: PlannedMessage
    mark: str
    deadline: dt.datetime | None = None
    announced_at: dt.datetime | None = None

    def matches(self, record: records.MessageRecord) -> bool:
        """Return True if the message in the queue is a copy of this one."""
        if record.message_id == self.mark:
            return True
        return self.mark in record.body and record.event_id is not None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Observations:
    """The state of the simulators, and everything that happened in them so far.

    Attributes:
        joined: When each node joined the cluster.
        messages: The life of each message of the scenario in the queue, and of each notice on its
            Node.
        left: How many of them are still there.
        dead_letters: The bodies in the dead-letter queue.
        pods: Every pod that ever existed, without those of the DaemonSet.
        agents: Every pod of the DaemonSet.
        cordons: The first cordon of each node.
        unschedulable: The nodes that are cordoned now.
        ready_at: When each launched node became Ready.
        evictions: Every request to evict.
        breaches: Every loss of a pod that a budget needed.
        lows: The fewest ready replicas of each workload.
        ready: How many replicas of each workload are ready now.
        lease_holder: Empty if there is none.
        exit_code: Of the operator; None while it runs.
    """

    scenario: Scenario
    sent: Sequence[SentMessage] = ()
    joined: Mapping[str, dt.datetime] = dataclasses.field(default_factory=dict)
    messages: Sequence[records.MessageRecord] = ()
    left: int = 0
    dead_letters: Sequence[str] = ()
    actions: Sequence[lifecycle.SimulatedLifecycleAction] = ()
    pods: Sequence[history.PodRecord] = ()
    agents: Sequence[history.PodRecord] = ()
    cordons: Mapping[str, history.CordonRecord] = dataclasses.field(default_factory=dict)
    unschedulable: frozenset[str] = frozenset()
    ready_at: Mapping[str, dt.datetime] = dataclasses.field(default_factory=dict)
    evictions: Sequence[history.EvictionRecord] = ()
    breaches: Sequence[history.Breach] = ()
    lows: Mapping[str, history.LowPoint] = dataclasses.field(default_factory=dict)
    ready: Mapping[str, int] = dataclasses.field(default_factory=dict)
    lease_holder: str = ""
    exit_code: int | None = None

    def copies_of(self, sent: SentMessage) -> list[records.MessageRecord]:
        """Return the messages of one plan, in the order in which they came."""
        return [record for record in self.messages if sent.matches(record)]

    @functools.cached_property
    def timelines(self) -> tuple[NodeTimeline, ...]:
        """List the timelines of the interrupted nodes, in the order of the events."""
        pods: dict[str, list[history.PodRecord]] = {}
        for pod in self.pods:
            pods.setdefault(pod.node, []).append(pod)
        return tuple(self._timeline(node, pods.get(node, ())) for node in self.scenario.interrupted)

    @property
    def is_at_rest(self) -> bool:
        """True if nothing more will happen without another message."""
        if self.left or any(action.is_active for action in self.actions):
            return False
        if not all(self.copies_of(sent) for sent in self.sent):
            # Instance metadata has it, and the watcher has not polled since.
            return False
        return all(pod.removed if pod.removal_requested else pod.ready for pod in self.pods)

    @functools.cached_property
    def settled_count(self) -> int:
        """Count the messages that were deleted and not dead-lettered."""
        dead_letters = list(self.dead_letters)
        settled = 0
        for record in self.messages:
            if record.body in dead_letters:
                dead_letters.remove(record.body)
            elif record.deleted_at is not None:
                settled += 1
        return settled

    @functools.cached_property
    def deleted_at_deadline(self) -> Sequence[history.PodRecord]:
        """List the pods that were deleted when their node's deadline left no choice."""
        deadlines = {line.node: line.deadline for line in self.timelines}
        grace = {each.name: each.grace_seconds for each in self.scenario.workloads}

        def is_forced(pod: history.PodRecord) -> bool:
            left = seconds_between(pod.removal_requested, deadlines.get(pod.node))
            if pod.removal_cause is not store.Cause.DELETE or left is None:
                return False
            own_grace = grace.get(workload_of(pod), 0)
            return left <= max(own_grace, _FORCE_MARGIN_SECONDS) + _TOLERANCE_SECONDS

        return [pod for pod in self.pods if is_forced(pod)]

    @property
    def violations(self) -> Sequence[history.Breach]:
        """List the losses against a budget that no deadline excuses."""
        excused = {(pod.namespace, pod.name) for pod in self.deleted_at_deadline}
        return [
            loss
            for loss in self.breaches
            if loss.is_violation
            or (loss.cause is store.Cause.DELETE and (loss.namespace, loss.pod) not in excused)
        ]

    def _timeline(self, node: str, pods: Iterable[history.PodRecord]) -> NodeTimeline:
        sent = [
            each
            for each in self.sent
            if node in each.planned.nodes and each.planned.is_interruption
        ]
        interrupted_at = min(
            (
                each.announced_at or record.sent_at
                for each in sent
                for record in self.copies_of(each)
            ),
            default=None,
        )
        joined_at = self.joined.get(node)
        cordon = self.cordons.get(node)
        return NodeTimeline(
            node=node,
            labels=tuple(dict.fromkeys(each.planned.label for each in sent)),
            interrupted_at=interrupted_at,
            measured_from=(
                max(interrupted_at, joined_at) if interrupted_at and joined_at else None
            ),
            deadline=min((each.deadline for each in sent if each.deadline), default=None),
            cordoned_at=None if cordon is None else cordon.at,
            released_at=self._released_at({each.mark for each in sent}),
            pods=tuple(pods),
        )

    def _released_at(self, tokens: Collection[str]) -> dt.datetime | None:
        """Return when the lifecycle action with one of these tokens was completed."""
        completions = (
            action.completed_at
            for action in self.actions
            if action.token in tokens and action.ending is lifecycle.LifecycleActionEnding.COMPLETED
        )
        return next(completions, None)


@dataclasses.dataclass(frozen=True, slots=True)
class Spread:
    """Percentiles of durations in seconds, by nearest rank; None if nothing was measured."""

    p50: float | None
    p99: float | None
    max: float | None

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Self:
        """Work out the spread of the values that are not None."""
        ordered = sorted(value for value in values if value is not None)
        if not ordered:
            return cls(None, None, None)
        p50, p99 = (ordered[math.ceil(share * len(ordered)) - 1] for share in (0.5, 0.99))
        return cls(p50, p99, ordered[-1])


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The figures of a scenario that was played: the object that `--output json` prints.

    Attributes:
        events: The events that name a node, without copies, second notifications of a lifecycle
            action, and what is ignored or malformed.
        drained: The interrupted nodes that nothing is left on.
        messages_deleted: Messages that were settled, without malformed ones.
        messages_left: Messages still in the queue, visible or not.
        pods_deleted_at_deadline: Pods that were deleted, not evicted, because the deadline was
            near.
        budget_violations: Pods that a budget needed, and that were lost without need.
        event_to_cordon_seconds: From the first message about a node, or from when the node
            joined if that was later, to its cordon.
        event_to_drained_seconds: From the same moment until the last pod that had to move was
            gone.
        margin_seconds_min: The shortest time between a drained node and its deadline.
        ok: True if every check passed.
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


def summarize(observed: Observations, *, ok: bool) -> Summary:
    """Work out the figures; `ok` is the result of the checks."""
    lines = observed.timelines
    margins = (line.margin_seconds for line in lines)
    return Summary(
        scenario=observed.scenario.name,
        nodes=len(observed.scenario.nodes),
        events=observed.scenario.event_count,
        cordoned=len(observed.cordons),
        drained=sum(line.drained_at is not None for line in lines),
        messages_deleted=observed.settled_count,
        messages_dead_lettered=len(observed.dead_letters),
        messages_left=observed.left,
        lifecycle_actions_completed=sum(
            action.ending is lifecycle.LifecycleActionEnding.COMPLETED
            for action in observed.actions
        ),
        pods_evicted=sum(eviction.is_granted for eviction in observed.evictions),
        pods_deleted_at_deadline=len(observed.deleted_at_deadline),
        budget_violations=len(observed.violations),
        event_to_cordon_seconds=Spread.of(line.cordon_seconds for line in lines),
        event_to_drained_seconds=Spread.of(line.drain_seconds for line in lines),
        margin_seconds_min=min((each for each in margins if each is not None), default=None),
        ok=ok,
    )


def workload_of(pod: history.PodRecord) -> str:
    """Return the name of the workload of a pod, to which its ReplicaSet adds a suffix."""
    return pod.name.rpartition("-")[0]
