"""The parts of a scenario: nodes, workloads with their budgets, and messages."""

import collections
import dataclasses
import enum
import functools
import math
from collections.abc import Iterable, Mapping

from queue_processor.domain.events import EventKind, InstanceState

WATCHER_POLL_SECONDS = 1.0

# It takes some 0.2 s. The check is about cordons that wait for something, not about speed: a laptop
# that is busy may stand still for seconds.
_CORDON_LIMIT_SECONDS = 5.0
# The watchers of all nodes share a process here, whose round takes a while on a busy machine.
_POLLS = 4


class ImpossibleScenarioError(ValueError):
    """The requested cluster cannot survive the requested events."""


class Noise(enum.StrEnum):
    """Messages that ask for nothing, or that cannot be parsed."""

    PENDING_INSTANCE = "state_change: pending"
    HOOK_TEST = "TEST_NOTIFICATION"
    MALFORMED = "malformed"


class DeliveryRoute(enum.Enum):
    """The route of a message into the queue."""

    RULES = "through the EventBridge rules of the template"
    SNS = "in a notification from an SNS topic"
    QUEUE = "straight into the queue"
    METADATA = "announced by instance metadata, and written on the Node by its watcher"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PlannedNode:
    """A node of the cluster.

    Attributes:
        joins_after: Seconds from the first event until it joins; 0 if it is there at the start.
        ready_after: Seconds from the first event until it is Ready; None if it joins Ready.
    """

    name: str
    zone: str
    joins_after: float = 0.0
    ready_after: float | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """A PodDisruptionBudget: one of the two, as a number or a percentage."""

    max_unavailable: int | str | None = None
    min_available: int | str | None = None

    def min_ready(self, replicas: int) -> int:
        """Return how many of the replicas must be ready."""
        if self.max_unavailable is not None:
            return max(replicas - _count(self.max_unavailable, replicas), 0)
        return _count(self.min_available or 0, replicas)

    def __str__(self) -> str:
        if self.max_unavailable is not None:
            return f"maxUnavailable {self.max_unavailable}"
        return f"minAvailable {self.min_available}"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A ReplicaSet in the namespace `default`.

    Attributes:
        nodes: Where its replicas run at first, one entry per replica.
        startup_seconds: From binding to Ready.
        exit_seconds: From SIGTERM to exit.
    """

    name: str
    nodes: tuple[str, ...]
    budget: Budget | None = None
    startup_seconds: float = 0.5
    exit_seconds: float = 1.0
    grace_seconds: int = 30

    @property
    def replicas(self) -> int:
        """Count its replicas."""
        return len(self.nodes)

    @property
    def min_ready(self) -> int:
        """Count the ready replicas that it needs: what its budget says, and one at least."""
        return max(self.budget.min_ready(self.replicas) if self.budget else 0, 1)

    @property
    def is_blocked(self) -> bool:
        """True if its budget never allows an eviction."""
        return self.budget is not None and self.budget.min_ready(self.replicas) >= self.replicas


@dataclasses.dataclass(frozen=True, slots=True)
class PlannedMessage:
    """A message, or an event that becomes one.

    Attributes:
        nodes: The nodes whose instances it names; none if it is noise.
        state: Of the instance, for a state change.
        after: Seconds from the first event of the scenario.
        age: Seconds between what happened and the message.
        copies: How often it is delivered.
    """

    kind: EventKind | Noise
    nodes: tuple[str, ...] = ()
    _: dataclasses.KW_ONLY
    state: InstanceState | None = None
    after: float = 0.0
    age: float = 0.0
    route: DeliveryRoute = DeliveryRoute.RULES
    copies: int = 1

    @property
    def label(self) -> str:
        """Name the kind, and the state if there is one."""
        return f"{self.kind}: {self.state}" if self.state else str(self.kind)

    @property
    def is_launch(self) -> bool:
        """True if its node must become Ready, and its launch must go on."""
        return self.kind is EventKind.AUTOSCALING_LAUNCH

    @property
    def is_interruption(self) -> bool:
        """True if its nodes must be cordoned and drained."""
        return isinstance(self.kind, EventKind) and not self.is_launch

    @property
    def has_lifecycle_action(self) -> bool:
        """True if a lifecycle hook holds its instance up."""
        has_token = self.route is not DeliveryRoute.METADATA
        return self.is_launch or (has_token and self.kind is EventKind.AUTOSCALING_TERMINATION)


@dataclasses.dataclass(frozen=True)
class Scenario:
    """A cluster and the events that happen in it.

    Attributes:
        name: Its name on the command line.
        nodes: All nodes, those that join later included.
        seed: What everything random in it was drawn from.
        limit_seconds: When it is over, finished or not.
    """

    name: str
    nodes: tuple[PlannedNode, ...]
    workloads: tuple[Workload, ...]
    messages: tuple[PlannedMessage, ...]
    seed: int = 0
    limit_seconds: float = 150.0

    @functools.cached_property
    def interrupted(self) -> tuple[str, ...]:
        """List the nodes that must be drained, each once, in the order of the events."""
        return _nodes_of(each for each in self.messages if each.is_interruption)

    @property
    def has_queue(self) -> bool:
        """True if a message comes through a queue."""
        return any(each.route is not DeliveryRoute.METADATA for each in self.messages)

    @property
    def has_watchers(self) -> bool:
        """True if instance metadata announces something."""
        return any(each.route is DeliveryRoute.METADATA for each in self.messages)

    @property
    def cordon_limit_seconds(self) -> float:
        """The longest time from an event to its cordon, with a wait for the poll of a watcher."""
        return _CORDON_LIMIT_SECONDS + (_POLLS * WATCHER_POLL_SECONDS if self.has_watchers else 0.0)

    @property
    def held_up(self) -> tuple[str, ...]:
        """List the nodes whose instances a lifecycle hook holds up."""
        return _nodes_of(each for each in self.messages if each.has_lifecycle_action)

    @property
    def launched(self) -> tuple[str, ...]:
        """List the nodes that a lifecycle hook holds up on their way into service."""
        return _nodes_of(each for each in self.messages if each.is_launch)

    @property
    def event_count(self) -> int:
        """Count the events that name a node, without copies and second notifications."""
        return sum(
            each.route is not DeliveryRoute.QUEUE and isinstance(each.kind, EventKind)
            for each in self.messages
        )

    @property
    def message_count(self) -> int:
        """Count the messages that come into the queue, and the notices."""
        return sum(each.copies for each in self.messages)

    @property
    def malformed_count(self) -> int:
        """Count those of them that cannot be parsed."""
        return sum(each.copies for each in self.messages if each.kind is Noise.MALFORMED)

    @functools.cached_property
    def blocked_pods(self) -> Mapping[str, int]:
        """Count the pods that must be deleted at the deadline, by workload."""
        return collections.Counter(
            workload.name
            for workload in self.workloads
            if workload.is_blocked
            for node in workload.nodes
            if node in self.interrupted
        )

    @property
    def pod_count(self) -> int:
        """Count the pods that need a node, without those of the DaemonSet."""
        return sum(workload.replicas for workload in self.workloads)


def _nodes_of(messages: Iterable[PlannedMessage]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(node for message in messages for node in message.nodes))


def _count(value: int | str, total: int) -> int:
    # Kubernetes rounds both up: https://kubernetes.io/docs/tasks/run-application/configure-pdb/
    if isinstance(value, str):
        return math.ceil(int(value.rstrip("%")) * total / 100)
    return value
