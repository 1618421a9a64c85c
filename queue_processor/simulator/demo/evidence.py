"""What is known of a rehearsal: facts of the simulated AWS and cluster, none of the operator."""

import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence

from queue_processor.simulator.aws import lifecycle, records
from queue_processor.simulator.demo import scenario
from queue_processor.simulator.kube import history


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One sending that was made.

    Attributes:
        sending: What was to be sent.
        mark: Tells its messages: their message id, or what the body of an event contains.
        deadline: When AWS takes the instance away; None when it sets no time.
    """

    sending: scenario.Sending
    mark: str
    deadline: dt.datetime | None = None

    def is_told_by(self, record: records.MessageRecord) -> bool:
        """Whether the message is one of this sending."""
        if record.message_id == self.mark:
            return True
        return self.mark in record.body and record.event_id is not None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything that the score and the checks are made from.

    Attributes:
        scenario: What was to be played.
        sent: What was sent so far.
        joined: When each node came into the cluster.
        messages: The life of every message of the scenario in the queue.
        left: How many of them the queue still holds.
        dead_letters: The bodies in the dead-letter queue.
        actions: The lifecycle actions.
        pods: Every pod that ever was, without those of the DaemonSet.
        agents: Every pod of the DaemonSet.
        cordons: The first cordon of each node.
        unschedulable: The nodes that are cordoned now.
        ready_at: When each node that a hook held up became Ready.
        evictions: Every request to evict.
        breaches: Every loss of a pod that a budget needed.
        lows: The fewest ready replicas of each workload.
        ready: How many replicas of each workload are ready now.
        lease_holder: Who holds the Lease; empty when nobody does.
        exit_code: How the operator ended; None while it runs.
    """

    scenario: scenario.Scenario
    sent: Sequence[Sent] = ()
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

    def messages_of(self, sent: Sent) -> list[records.MessageRecord]:
        """The messages of a sending, in the order they came."""
        return [record for record in self.messages if sent.is_told_by(record)]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NodeStory:
    """What became of one node that is interrupted.

    Attributes:
        node: Its name.
        kinds: What was told about it.
        told_at: When the first message about it was sent; None when none was, yet.
        counts_from: The same, or when the node joined, if that was later: nobody can cordon a
            node that does not exist.
        deadline: When the first of its events takes the instance away; None when none does.
        cordoned_at: When it was cordoned.
        pods: The pods that were ever on it and had to move.
    """

    node: str
    kinds: tuple[scenario.Kind, ...]
    told_at: dt.datetime | None
    counts_from: dt.datetime | None
    deadline: dt.datetime | None
    cordoned_at: dt.datetime | None
    pods: tuple[history.PodRecord, ...]

    @property
    def pods_left(self) -> int:
        """How many pods have still to move."""
        return sum(pod.removed is None for pod in self.pods)

    @property
    def drained_at(self) -> dt.datetime | None:
        """When the last pod that had to move was gone; None before that."""
        if self.cordoned_at is None or self.pods_left:
            return None
        removals = (pod.removed for pod in self.pods if pod.removed is not None)
        return max(removals, default=self.cordoned_at)


def stories(known: Evidence) -> tuple[NodeStory, ...]:
    """Tell the story of every node that is interrupted, in the order of the events."""
    pods: dict[str, list[history.PodRecord]] = {}
    for pod in known.pods:
        pods.setdefault(pod.node, []).append(pod)
    return tuple(_story(known, node, pods.get(node, [])) for node in known.scenario.interrupted)


def is_at_rest(known: Evidence) -> bool:
    """Whether nothing more is to come of what was sent, right or wrong."""
    return (
        not known.left
        and not any(action.is_active for action in known.actions)
        and all(_is_at_rest(pod) for pod in known.pods)
    )


def _is_at_rest(pod: history.PodRecord) -> bool:
    """Whether a pod neither starts nor ends."""
    if pod.removal_requested is not None:
        return pod.removed is not None
    return pod.ready is not None


def _story(known: Evidence, node: str, pods: list[history.PodRecord]) -> NodeStory:
    sent = [
        one
        for one in known.sent
        if node in one.sending.nodes and one.sending.kind.expectation is scenario.Expectation.DRAIN
    ]
    told_at = min(
        (record.sent_at for one in sent for record in known.messages_of(one)), default=None
    )
    joined_at = known.joined.get(node)
    cordon = known.cordons.get(node)
    return NodeStory(
        node=node,
        kinds=tuple(dict.fromkeys(one.sending.kind for one in sent)),
        told_at=told_at,
        counts_from=max(told_at, joined_at) if told_at and joined_at else None,
        deadline=min((one.deadline for one in sent if one.deadline), default=None),
        cordoned_at=None if cordon is None else cordon.at,
        pods=tuple(pods),
    )
