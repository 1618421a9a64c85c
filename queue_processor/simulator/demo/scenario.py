"""What a rehearsal is made of: nodes, workloads with their budgets, and what AWS sends."""

import collections
import dataclasses
import enum
import functools
import math
from collections.abc import Mapping, Sequence


class ImpossibleScenarioError(ValueError):
    """The cluster that was asked for cannot come through the events that were asked for."""


class Expectation(enum.Enum):
    """What has to come of a message, apart from its leaving the queue."""

    DRAIN = "the nodes it names are cordoned and drained"
    READY = "the node it names becomes Ready, and its launch goes on"
    NOTHING = "nothing"
    DEAD_LETTER = "it is put into the dead-letter queue"


class Kind(enum.Enum):
    """What AWS, or whoever has access to the queue, tells."""

    SPOT = "spot_interruption"
    REBALANCE = "rebalance_recommendation"
    CAPACITY = "capacity_reservation_interruption"
    STOPPING = "state_change: stopping"
    SHUTTING_DOWN = "state_change: shutting-down"
    SCHEDULED_CHANGE = "scheduled_change"
    TERMINATION = "autoscaling_termination"
    LAUNCH = "autoscaling_launch"
    PENDING = "state_change: pending"
    HOOK_TEST = "TEST_NOTIFICATION"
    MALFORMED = "malformed"

    @property
    def expectation(self) -> Expectation:
        """What has to come of it."""
        match self:
            case Kind.LAUNCH:
                return Expectation.READY
            case Kind.PENDING | Kind.HOOK_TEST:
                return Expectation.NOTHING
            case Kind.MALFORMED:
                return Expectation.DEAD_LETTER
            case _:
                return Expectation.DRAIN


class Route(enum.Enum):
    """How a message comes into the queue."""

    RULES = "through the EventBridge rules of the template"
    SNS = "wrapped by a topic of SNS"
    QUEUE = "straight into the queue"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NodePart:
    """A node of the cluster.

    Attributes:
        name: Its name.
        zone: The Availability Zone of its instance.
        joins_after: Seconds from the first event until it joins; 0 is there from the beginning.
        ready_after: Seconds from the first event until it is Ready; None is Ready when it joins.
    """

    name: str
    zone: str
    joins_after: float = 0.0
    ready_after: float | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """A disruption budget: one of the two, a number or a percentage."""

    max_unavailable: int | str | None = None
    min_available: int | str | None = None

    def least(self, replicas: int) -> int:
        """How many replicas have to be ready."""
        if self.max_unavailable is not None:
            return max(replicas - _amount(self.max_unavailable, replicas), 0)
        return _amount(self.min_available or 0, replicas)

    def __str__(self) -> str:
        if self.max_unavailable is not None:
            return f"maxUnavailable {self.max_unavailable}"
        return f"minAvailable {self.min_available}"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A ReplicaSet of the namespace `default`.

    Attributes:
        name: Its name.
        nodes: Where its replicas run at first, one entry a replica.
        budget: How many of them may be missing; None is any number.
        startup_seconds: From being bound to Ready.
        exit_seconds: From SIGTERM to the end.
        grace_seconds: The terminationGracePeriodSeconds.
    """

    name: str
    nodes: tuple[str, ...]
    budget: Budget | None = None
    startup_seconds: float = 0.5
    exit_seconds: float = 1.0
    grace_seconds: int = 30

    @property
    def replicas(self) -> int:
        """How many replicas it wants."""
        return len(self.nodes)

    @property
    def is_blocked(self) -> bool:
        """Whether its budget never lets a pod go."""
        return self.budget is not None and self.budget.least(self.replicas) >= self.replicas


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """One event, or one message.

    Attributes:
        kind: What it tells.
        nodes: The nodes whose instances it names.
        after: Seconds from the first event of the scenario.
        age: How many seconds before its sending it happened.
        route: How it comes into the queue.
        copies: How often it is delivered.
    """

    kind: Kind
    nodes: tuple[str, ...] = ()
    after: float = 0.0
    age: float = 0.0
    route: Route = Route.RULES
    copies: int = 1


@dataclasses.dataclass(frozen=True)
class Scenario:
    """A rehearsal from its beginning to its end.

    Attributes:
        name: What it is called on the command line.
        nodes: All nodes, the ones that join later included.
        workloads: What runs on them.
        sendings: What comes into the queue.
        limit_seconds: When it is over, finished or not.
    """

    name: str
    nodes: tuple[NodePart, ...]
    workloads: tuple[Workload, ...]
    sendings: tuple[Sending, ...]
    limit_seconds: float = 150.0

    @functools.cached_property
    def interrupted(self) -> tuple[str, ...]:
        """The nodes that have to be drained, each once, in the order of the events."""
        named = (
            node
            for sending in self.sendings
            if sending.kind.expectation is Expectation.DRAIN
            for node in sending.nodes
        )
        return tuple(dict.fromkeys(named))

    @property
    def launched(self) -> tuple[str, ...]:
        """The nodes that a lifecycle hook holds up on their way into service."""
        return tuple(node for launch in self._launches for node in launch.nodes)

    def launches_of(self, node: NodePart) -> Sequence[Sending]:
        """What launches the instance of a node; nothing does where it runs from the beginning."""
        return [launch for launch in self._launches if node.name in launch.nodes]

    @property
    def _launches(self) -> Sequence[Sending]:
        return [each for each in self.sendings if each.kind.expectation is Expectation.READY]

    @property
    def events(self) -> int:
        """How many events name a node; copies and what is ignored or malformed not counted."""
        return sum(
            sending.kind.expectation in (Expectation.DRAIN, Expectation.READY)
            for sending in self.sendings
            if sending.route is not Route.QUEUE
        )

    @property
    def messages(self) -> int:
        """How many messages come into the queue."""
        return sum(sending.copies for sending in self.sendings)

    @property
    def malformed(self) -> int:
        """How many of them nobody can understand."""
        return sum(
            sending.copies
            for sending in self.sendings
            if sending.kind.expectation is Expectation.DEAD_LETTER
        )

    @functools.cached_property
    def blocked_pods(self) -> Mapping[str, int]:
        """How many pods have to be deleted at the deadline, by workload."""
        interrupted = set(self.interrupted)
        found: collections.Counter[str] = collections.Counter()
        for workload in self.workloads:
            if workload.is_blocked:
                found[workload.name] += sum(node in interrupted for node in workload.nodes)
        return {name: count for name, count in found.items() if count}

    @property
    def pods(self) -> int:
        """How many pods have to find a place."""
        return sum(workload.replicas for workload in self.workloads)


def _amount(value: int | str, total: int) -> int:
    # Kubernetes rounds both up: https://kubernetes.io/docs/tasks/run-application/configure-pdb/
    if isinstance(value, str):
        return math.ceil(int(value.rstrip("%")) * total / 100)
    return value
