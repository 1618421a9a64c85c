"""A scenario: everything that happens in one simulated world, as a value that a seed draws.

Nothing is drawn while a world runs. So a scenario can be printed, changed and run again, and the
smallest one that still fails is found by leaving things out (`shrinking`).

Times are seconds since the start of the world.
"""

import dataclasses
import enum
import random
from collections.abc import Sequence
from typing import TypeVar

_Item = TypeVar("_Item")

_LAST_EVENT_AT = 90.0


class Signal(enum.StrEnum):
    """The messages that can arrive."""

    SPOT = "spot interruption"
    CAPACITY = "capacity reservation interruption"
    REBALANCE = "rebalance recommendation"
    TERMINATION = "termination hook"
    LAUNCH = "launch hook"
    STOPPING = "stopping"
    SHUTTING_DOWN = "shutting-down"
    STOPPED = "stopped"
    TERMINATED = "terminated"
    RUNNING = "running"
    CHANGE = "scheduled change"
    CHANGE_CLOSED = "scheduled change closed"
    CHANGE_RESOLVED = "scheduled change resolved"
    FOREIGN = "spot interruption of another account"
    IRRELEVANT = "an event of another kind"
    MALFORMED = "malformed"

    @property
    def is_state(self) -> bool:
        """True for states of an instance that take its node away."""
        return self in _STATES

    @property
    def is_final(self) -> bool:
        """True if the instance runs no more."""
        return self in {Signal.STOPPED, Signal.TERMINATED}

    @property
    def is_cancellation(self) -> bool:
        """True if it ends what another message began."""
        return self in {Signal.CHANGE_CLOSED, Signal.CHANGE_RESOLVED, Signal.RUNNING}

    @property
    def is_change(self) -> bool:
        """True for the notices about a scheduled change."""
        return self in {Signal.CHANGE, Signal.CHANGE_CLOSED, Signal.CHANGE_RESOLVED}


_STATES = frozenset({Signal.STOPPING, Signal.SHUTTING_DOWN, Signal.STOPPED, Signal.TERMINATED})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """A message that is put on the queue.

    Attributes:
        key: Identifies the event; a copy has the same.
        instances: The numbers of the instances that it names.
        age: How long ago the event happened.
        change: Identifies the scheduled change.
        starts_at: When that change is to start.
    """

    at: float
    signal: Signal
    key: int
    instances: tuple[int, ...]
    age: float = 0.0
    change: int = 0
    starts_at: float = 0.0

    @property
    def occurred_at(self) -> float:
        """The time of the event in whole seconds, as AWS prints it."""
        return float((self.at - self.age) // 1)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A node at the start of the world, on the instance of the same number.

    Attributes:
        joins_at: When it registers; 0: it is there at the start.
        has_twin: A second Node is registered for its instance, which is not Ready.
        cordoned_by_person: Somebody has cordoned it, and excluded it from load balancers.
    """

    number: int
    joins_at: float = 0.0
    has_twin: bool = False
    cordoned_by_person: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Pods that are alike.

    Attributes:
        node: The number of the node that they begin on.
        exit_after: How long they take to end after SIGTERM.
        budget: How many of them may be missing; None: there is no budget.
        kind: Who owns them.
    """

    class Kind(enum.StrEnum):
        """The owners of pods."""

        REPLICAS = "ReplicaSet"
        STATEFUL = "StatefulSet"
        DAEMON = "DaemonSet"
        BARE = "nobody"
        MIRROR = "the kubelet"

    number: int
    node: int
    replicas: int
    grace: int
    exit_after: float
    budget: int | None
    kind: Kind
    is_critical: bool = False
    has_volume: bool = False
    has_finalizer: bool = False


class Incident(enum.StrEnum):
    """The things that happen besides messages."""

    KUBELET_DIES = "the kubelet dies"
    KUBELET_RETURNS = "the kubelet returns"
    NODE_NOT_READY = "the node is not Ready for a while"
    NODE_DELETED = "the Node is deleted"
    NODE_REGISTERED_AGAIN = "the Node is deleted and registered again"
    PODS_DELETED = "somebody deletes the pods of StatefulSets"
    PROCESS_KILLED = "SIGKILL"
    PROCESS_STOPPED = "SIGTERM"
    PROCESS_STARTED = "another process starts"
    LEASE_UNREACHABLE = "the leader cannot renew its Lease"
    CLOCK_SET = "the wall clock is set"
    NODE_WATCH_SILENT = "the watch of nodes is silent"
    API_OUTAGE = "the API server is away"
    SQS_SLOW = "every call of SQS takes long"
    WATCHES_CUT = "every watch is cut, and history forgotten"
    MESSAGES_EXPIRE = "the queue keeps its messages no longer"
    MESSAGES_REAPPEAR = "the queue delivers its messages once more"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Occurrence:
    """An incident at a time.

    Attributes:
        number: Of the node.
        seconds: How long it lasts, or by how much the clock is set.
    """

    at: float
    incident: Incident
    number: int = 0
    seconds: float = 0.0


class FaultKind(enum.StrEnum):
    """The faults of single calls."""

    DELAY = "it takes long"
    ERROR = "it fails before its effect"
    LOST_REPLY = "it has its effect, and fails"
    HANG = "it is not answered"
    CONFLICT = "409"
    REFUSED = "it is refused for a while"
    STALE = "the list is an older one"
    SILENT = "the watch is silent, then cut"
    TWICE = "it has its effect twice"


# The calls that can go wrong, and how: methods of ports, and actions of SQS.
FAULTS: dict[str, Sequence[FaultKind]] = {
    "Nodes.read": (FaultKind.DELAY, FaultKind.ERROR, FaultKind.HANG),
    "Nodes.mark": (
        FaultKind.DELAY,
        FaultKind.ERROR,
        FaultKind.LOST_REPLY,
        FaultKind.HANG,
        FaultKind.CONFLICT,
        FaultKind.REFUSED,
    ),
    "Nodes.report": (FaultKind.DELAY, FaultKind.ERROR, FaultKind.LOST_REPLY, FaultKind.HANG),
    "Nodes.declare_out_of_service": (FaultKind.ERROR, FaultKind.LOST_REPLY, FaultKind.CONFLICT),
    "Pods.on_node": (FaultKind.DELAY, FaultKind.ERROR, FaultKind.HANG, FaultKind.STALE),
    "Pods.on_nodes": (FaultKind.DELAY, FaultKind.ERROR, FaultKind.HANG),
    "Pods.watch": (FaultKind.ERROR, FaultKind.SILENT),
    "Pods.evict": (
        FaultKind.DELAY,
        FaultKind.ERROR,
        FaultKind.LOST_REPLY,
        FaultKind.HANG,
        FaultKind.TWICE,
    ),
    "Pods.delete": (FaultKind.DELAY, FaultKind.ERROR, FaultKind.LOST_REPLY, FaultKind.TWICE),
    "Volumes.await_detached": (FaultKind.ERROR, FaultKind.HANG),
    "Leases.read": (FaultKind.DELAY, FaultKind.ERROR, FaultKind.HANG),
    "Leases.write": (
        FaultKind.DELAY,
        FaultKind.ERROR,
        FaultKind.LOST_REPLY,
        FaultKind.HANG,
        FaultKind.CONFLICT,
    ),
    "LifecycleActions.complete": (
        FaultKind.DELAY,
        FaultKind.ERROR,
        FaultKind.LOST_REPLY,
        FaultKind.HANG,
    ),
    "LifecycleActions.heartbeat": (FaultKind.ERROR, FaultKind.LOST_REPLY, FaultKind.HANG),
    "LifecycleActions.heartbeat_timeout": (FaultKind.DELAY, FaultKind.ERROR, FaultKind.HANG),
    "LifecycleActions.group": (FaultKind.DELAY, FaultKind.ERROR, FaultKind.HANG),
    "SQS.ReceiveMessage": (FaultKind.ERROR, FaultKind.LOST_REPLY),
    "SQS.DeleteMessageBatch": (FaultKind.ERROR, FaultKind.LOST_REPLY),
    "SQS.ChangeMessageVisibilityBatch": (FaultKind.ERROR, FaultKind.LOST_REPLY),
    "SQS.SendMessageBatch": (FaultKind.ERROR, FaultKind.LOST_REPLY),
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """From a time on, the next calls of a kind go wrong.

    Attributes:
        call: A key of `FAULTS`.
        times: How many calls.
        seconds: How long each of them takes.
    """

    at: float
    call: str
    kind: FaultKind
    times: int
    seconds: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """The settings of the program, as far as they are drawn."""

    ignored: tuple[str, ...] = ()
    only_cordoned: tuple[str, ...] = ()
    on_deadline: str = "delete"
    force_margin: float = 10.0
    soft_timeout: float = 60.0
    on_soft_timeout: str = "keep"
    lifecycle_timeout: float = 60.0
    unknown_grace: float = 20.0
    unknown_policy: str = "delete"
    never_joined: str = "evidence"
    taint_effect: str = "NoSchedule"
    volume_timeout: float = 10.0
    out_of_service: bool = True
    has_election: bool = True
    is_election_slow: bool = True
    requests: int = 24
    visibility: int = 30
    receives: int = 1000
    group_is_tagged: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One world: what it is made of, and what happens in it."""

    seed: int
    choices: Choices
    machines: tuple[Machine, ...]
    workloads: tuple[Workload, ...]
    sendings: tuple[Sending, ...]
    occurrences: tuple[Occurrence, ...]
    faults: tuple[Fault, ...]
    processes: int = 1

    def __str__(self) -> str:
        lines = [f"seed {self.seed}, {self.processes} processes", f"  {_short(self.choices)}"]
        parts = (self.machines, self.workloads, self.sendings, self.occurrences, self.faults)
        lines += [f"  {_short(each)}" for part in parts for each in part]
        return "\n".join(lines)


def _short(value: "Choices | Machine | Workload | Sending | Occurrence | Fault") -> str:
    """Return what differs from the defaults."""
    shown = ", ".join(
        f"{field.name}={getattr(value, field.name)!s}"
        for field in dataclasses.fields(value)
        if getattr(value, field.name) != field.default
    )
    return f"{type(value).__name__}({shown})"


def draw(seed: int) -> Scenario:
    """Draw the scenario of a seed; every other one is small."""
    return _Draw(seed).scenario()


class _Draw:
    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._is_small = seed % 2 == 0
        # Not a secret: it has to repeat.
        self._random = random.Random(seed)  # noqa: S311
        self._keys = 0

    def scenario(self) -> Scenario:
        choices = self._choices()
        machines = tuple(self._machine(number) for number in range(self._count(2, 4, least=1)))
        sendings = self._sendings(len(machines))
        occurrences = self._occurrences(sendings, machines, choices=choices)
        slow = self._one_of(*sendings) if self._chance(0.2) else None
        if slow is not None:
            deleted_at = round(slow.at + self._random.uniform(0.1, 2.0), 3)
            number = slow.instances[0]
            occurrences.append(
                Occurrence(at=deleted_at, incident=Incident.PODS_DELETED, number=number)
            )
        return Scenario(
            seed=self._seed,
            choices=choices,
            machines=machines,
            workloads=tuple(
                self._workload(number, len(machines))
                for number in range(self._count(3, 6, least=1))
            ),
            sendings=sendings,
            occurrences=tuple(sorted(occurrences, key=lambda each: each.at)),
            faults=(
                *(self._fault() for _ in range(self._count(2, 6, least=0))),
                *([] if slow is None else [self._slow_evictions(slow)]),
            ),
            processes=self._one_of(1, 1, 1, 2, 2, 3) if choices.has_election else 1,
        )

    def _count(self, small: int, large: int, *, least: int) -> int:
        return self._random.randint(least, small if self._is_small else large)

    def _chance(self, share: float) -> bool:
        return self._random.random() < share

    def _one_of(self, *items: _Item) -> _Item:
        return self._random.choice(items)

    def _moment(self, last: float = _LAST_EVENT_AT) -> float:
        return round(self._random.uniform(0.5, last), 3)

    def _choices(self) -> Choices:
        kinds = (
            "spot_interruption",
            "capacity_reservation_interruption",
            "rebalance_recommendation",
            "autoscaling_termination",
            "state_change",
            "scheduled_change",
        )
        ignored = tuple(kind for kind in kinds if self._chance(0.03))
        only_cordoned = tuple(kind for kind in kinds if self._chance(0.06))
        return Choices(
            ignored=ignored,
            only_cordoned=tuple(kind for kind in only_cordoned if kind not in ignored),
            on_deadline=self._one_of("delete", "delete", "delete", "leave"),
            force_margin=self._one_of(2.0, 10.0, 10.0, 30.0),
            soft_timeout=self._one_of(15.0, 60.0, 60.0, 150.0),
            on_soft_timeout=self._one_of("keep", "keep", "uncordon"),
            lifecycle_timeout=self._one_of(20.0, 60.0, 60.0, 150.0),
            unknown_grace=self._one_of(0.0, 5.0, 20.0, 20.0),
            unknown_policy=self._one_of("delete", "delete", "delete", "release"),
            never_joined=self._one_of("evidence", "evidence", "never"),
            taint_effect=self._one_of("NoSchedule", "NoSchedule", "PreferNoSchedule"),
            volume_timeout=self._one_of(0.0, 10.0, 10.0),
            out_of_service=self._chance(0.8),
            has_election=self._chance(0.85),
            is_election_slow=self._chance(0.7),
            requests=self._one_of(1, 4, 24, 24),
            visibility=self._one_of(10, 30, 30),
            receives=self._one_of(5, 1000, 1000),
            group_is_tagged=self._chance(0.3),
        )

    def _machine(self, number: int) -> Machine:
        joins_at = self._moment(40.0) if self._chance(0.12) else 0.0
        return Machine(
            number=number,
            joins_at=joins_at,
            has_twin=not joins_at and self._chance(0.08),
            cordoned_by_person=self._chance(0.15),
        )

    def _workload(self, number: int, machines: int) -> Workload:
        grace = self._one_of(1, 5, 30, 30, 30, 90, 300)
        kind = self._one_of(*(Workload.Kind.REPLICAS,) * 5, *Workload.Kind, Workload.Kind.STATEFUL)
        return Workload(
            number=number,
            node=self._random.randrange(machines),
            replicas=self._random.randint(1, 3),
            grace=grace,
            exit_after=self._one_of(0.2, 1.0, 1.0, 5.0, grace * 0.9, grace + 30.0),
            budget=self._one_of(None, None, 0, 1, 1),
            kind=kind,
            is_critical=self._chance(0.15),
            has_volume=self._chance(0.2),
            has_finalizer=self._chance(0.04),
        )

    # Messages.

    def _sendings(self, machines: int) -> tuple[Sending, ...]:
        sendings: list[Sending] = []
        held_back: set[int] = set()
        for _ in range(self._count(3, 8, least=1)):
            for sending in self._story(machines):
                if sending.signal in {Signal.TERMINATION, Signal.LAUNCH}:
                    if sending.instances[0] in held_back:
                        continue
                    held_back.add(sending.instances[0])
                sendings.append(sending)
                if self._chance(0.12):
                    later = round(sending.at + self._moment(40.0), 3)
                    age = later - sending.occurred_at
                    sendings.append(dataclasses.replace(sending, at=later, age=age))
        return tuple(sorted(sendings, key=lambda sending: sending.at))

    def _story(self, machines: int) -> list[Sending]:
        """Draw a message, and what often comes with it."""
        signal = self._one_of(
            *(Signal.SPOT,) * 4,
            *(Signal.REBALANCE,) * 2,
            *(Signal.TERMINATION,) * 4,
            *(Signal.CHANGE,) * 4,
            *Signal,
        )
        at = self._moment()
        # One in twelve is about an instance that is not a node.
        number = machines if self._chance(0.08) else self._random.randrange(machines)
        age = self._one_of(0.0, 0.0, 0.0, 0.0, 2.0, 30.0, 200.0, 3600.0)
        if signal.is_change:
            return self._change(at, number, machines)
        first = self._sending(at, signal, number, age=age)
        story = [first]
        if signal.is_state and self._chance(0.3):
            story.append(
                self._sending(round(at + self._moment(30.0), 3), Signal.RUNNING, number, age=0.0),
            )
        if signal is Signal.STOPPING and self._chance(0.5):
            story.append(
                self._sending(round(at + self._moment(20.0), 3), Signal.STOPPED, number, age=0.0)
            )
        if signal is Signal.REBALANCE and self._chance(0.5):
            story.append(
                self._sending(round(at + self._moment(20.0), 3), Signal.SPOT, number, age=0.0)
            )
        return story

    def _sending(self, at: float, signal: Signal, number: int, *, age: float) -> Sending:
        self._keys += 1
        return Sending(at=at, signal=signal, key=self._keys, instances=(number,), age=age)

    def _change(self, at: float, number: int, machines: int) -> list[Sending]:
        self._keys += 1
        numbers: tuple[int, ...] = (number,)
        if machines > 1 and self._chance(0.4):
            numbers = tuple(range(machines))
        announced = Sending(
            at=at,
            signal=Signal.CHANGE,
            key=self._keys,
            instances=numbers,
            change=self._keys,
            starts_at=round(at) + self._one_of(-600.0, 15.0, 60.0, 120.0),
        )
        if not self._chance(0.5):
            return [announced]
        self._keys += 1
        closed = dataclasses.replace(
            announced,
            at=round(at + self._moment(60.0), 3),
            signal=self._one_of(Signal.CHANGE_CLOSED, Signal.CHANGE_RESOLVED),
            key=self._keys,
        )
        return [announced, closed]

    # Incidents.

    def _occurrences(
        self, sendings: Sequence[Sending], machines: Sequence[Machine], *, choices: Choices
    ) -> list[Occurrence]:
        occurrences = [
            Occurrence(at=machine.joins_at / 2, incident=Incident.NODE_WATCH_SILENT, seconds=100.0)
            for machine in machines
            if machine.joins_at and self._chance(0.4)
        ]
        for sending in sendings:
            number = sending.instances[0]
            if number >= len(machines) or not (sending.signal.is_final and self._chance(0.6)):
                continue
            died_at = max(round(sending.at - sending.age - self._random.uniform(0, 3), 3), 0.1)
            occurrences.append(
                Occurrence(at=died_at, incident=Incident.KUBELET_DIES, number=number)
            )
        for _ in range(self._count(2, 5, least=0)):
            occurrences += self._incidents(self._random.randrange(len(machines)), choices=choices)
        if any(machine.has_twin for machine in machines):
            # A Node that a silent watch hides is not missed where its instance has another one.
            silent = Incident.NODE_WATCH_SILENT
            return [each for each in occurrences if each.incident is not silent]
        return occurrences

    def _incidents(self, number: int, *, choices: Choices) -> list[Occurrence]:
        incident = self._one_of(*Incident)
        at = self._moment(120.0)
        if incident is Incident.PROCESS_STARTED and not choices.has_election:
            return []
        if incident is Incident.LEASE_UNREACHABLE and not choices.has_election:
            return []
        seconds = {
            Incident.NODE_NOT_READY: self._one_of(5.0, 60.0),
            Incident.CLOCK_SET: self._one_of(-40.0, -5.0, 5.0, 40.0),
            Incident.NODE_WATCH_SILENT: self._one_of(10.0, 60.0, 200.0),
            Incident.API_OUTAGE: self._one_of(1.0, 8.0, 40.0),
            Incident.SQS_SLOW: self._one_of(2.0, 20.0),
            Incident.LEASE_UNREACHABLE: self._one_of(5.0, 20.0, 60.0),
        }.get(incident, 0.0)
        occurrence = Occurrence(at=at, incident=incident, number=number, seconds=seconds)
        if incident in {Incident.PROCESS_KILLED, Incident.PROCESS_STOPPED}:
            restart_at = at + self._one_of(0.1, 3.0, 40.0)
            return [occurrence, Occurrence(at=restart_at, incident=Incident.PROCESS_STARTED)]
        if incident is Incident.KUBELET_DIES and self._chance(0.5):
            back_at = at + self._moment(60.0)
            back = Occurrence(at=back_at, incident=Incident.KUBELET_RETURNS, number=number)
            return [occurrence, back]
        return [occurrence]

    def _slow_evictions(self, drained: Sending) -> Fault:
        """Draw evictions that take so long that their pods have gone meanwhile."""
        return Fault(
            at=drained.at,
            call="Pods.evict",
            kind=FaultKind.DELAY,
            times=5,
            seconds=self._one_of(3.0, 12.0),
        )

    def _fault(self) -> Fault:
        call = self._one_of(*FAULTS)
        kind = self._one_of(*FAULTS[call])
        return Fault(
            at=self._moment(120.0) if self._chance(0.7) else 0.0,
            call=call,
            kind=kind,
            # A policy that refuses the mark without its taints, too, leaves no mark to undo.
            times=1 if kind is FaultKind.REFUSED else self._one_of(1, 1, 2, 5),
            seconds=self._one_of(0.01, 0.5, 3.0, 12.0),
        )
