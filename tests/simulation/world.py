"""A scenario played in virtual time: the real controller and adapters on the simulated world."""

import asyncio
import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any

from queue_processor.controller import ports
from queue_processor.domain import aws_events, errors
from queue_processor.simulator.kube import deletion, manifests, resources, store
from tests.controller import stage
from tests.fakes.autoscaling import HOOK
from tests.simulation import services
from tests.simulation.oracle import Oracle
from tests.simulation.port_faults import PortFaults
from tests.simulation.scenario import (
    Choices,
    Fault,
    FaultKind,
    Incident,
    Occurrence,
    Scenario,
    Sending,
    Signal,
    Workload,
)

START = dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)
# How long the program may take for the rest once nothing goes wrong any more.
_LONGEST_REST_SECONDS = 1500.0
# Kubelets report every five minutes, and a report refutes a state that is older.
_UNTIL_REPORT_SECONDS = 301.0
_LABEL = "app"


class SimulationWorld(stage.World):
    """The world of one scenario."""

    def __init__(self, scenario: Scenario) -> None:
        super().__init__(START)
        self.scenario = scenario
        self.oracle = Oracle(scenario, cluster=self.cluster, clock=self.clock)
        self.port_faults = self._port_faults("sqs")
        queue = services.SimulatedMessages(
            clock=self.clock, choices=scenario.choices, faults=self.port_faults
        )
        queue.oracle = self.oracle
        self.queue = queue
        self.oracle.queue = queue
        self.lifecycle = services.SimulatedGroups(clock=self.clock, oracle=self.oracle)
        self.oracle.lifecycle = self.lifecycle
        self._faults_of: dict[str, PortFaults] = {"sqs": self.port_faults}
        self._alive: list[stage.Process] = []
        self._started = 0
        self._stateful: dict[str, manifests.PodSpec] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def _port_faults(self, process: str) -> PortFaults:
        return PortFaults(
            self.scenario.faults,
            note=lambda line: self.oracle.note(f"{process}: {line}"),
            on_answer=lambda *answer: self.oracle.on_answer(process, *answer),
            may_arrive=lambda: any(self._leader() is each for each in self._alive_as(process)),
        )

    def _alive_as(self, name: str) -> list[stage.Process]:
        return [process for process in self._alive if process.name == name]

    def wrapped(self, dependencies: ports.Dependencies) -> ports.Dependencies:
        faults = self._port_faults(dependencies.identity)
        self._faults_of[dependencies.identity] = faults
        return faults.wrapped(dependencies)

    @property
    def fault_counts(self) -> Mapping[str, int]:
        """The number of failed calls, by kind."""
        counts: dict[str, int] = {}
        for faults in self._faults_of.values():
            for kind, count in faults.counts.items():
                counts[kind.value] = counts.get(kind.value, 0) + count
        return counts

    async def play(self) -> None:
        """Let everything happen that the scenario has, and judge the end.

        Raises:
            Violation: A rule was violated.
        """
        self._build()
        self.cluster.subscribe(self._replace_stateful)
        for _ in range(self.scenario.processes):
            self._spawn(self._start_process())
        for at, act in self._agenda():
            await self._pass_until(at)
            act()
        await self._pass_until(asyncio.get_running_loop().time() + 1.0)
        await self._finish()

    # Build the cluster.

    def _build(self) -> None:
        choices = self.scenario.choices
        for machine in self.scenario.machines:
            if not machine.joins_at:
                self._register(machine.number)
            if machine.has_twin:
                self.cluster.add_node(
                    f"twin-{machine.number}",
                    instance_id=stage.instance(machine.number),
                    ready=False,
                )
            if machine.cordoned_by_person and not machine.joins_at:
                self.change_node(
                    _name(machine.number),
                    labels={"node.kubernetes.io/exclude-from-external-load-balancers": "true"},
                    unschedulable=True,
                )
        for workload in self.scenario.workloads:
            self._add_workload(workload)
        tags = {"kubernetes.io/cluster/simulated": "owned"} if choices.group_is_tagged else {}
        self.lifecycle.add_group(HOOK.group, **tags)

    def _register(self, number: int) -> None:
        if self.cluster.store.node(_name(number)) is None:
            self.cluster.add_node(_name(number), instance_id=stage.instance(number))

    def _add_workload(self, workload: Workload) -> None:
        name = f"app-{workload.number}"
        spec = manifests.PodSpec(
            labels={_LABEL: name},
            grace_seconds=workload.grace,
            exit_seconds=workload.exit_after,
            startup_seconds=2.0,
            volumes=(f"claim-{workload.number}",) if workload.has_volume else (),
            priority_class="system-cluster-critical" if workload.is_critical else "",
        )
        self._add_pods(workload, spec)
        if workload.budget is not None:
            # Not `maxUnavailable`: that takes owners that can be scaled.
            available = max(workload.replicas - workload.budget, 0)
            self.cluster.add_budget(name, match_labels=spec.labels, min_available=available)
        if workload.has_finalizer:
            for pod in list(self.cluster.store.pods_on(_name(workload.node))):
                if pod.name.startswith(name):
                    metadata = pod.metadata | {"finalizers": ["simulated/finalizer"]}
                    self.cluster.store.update(pod, pod.body | {"metadata": metadata})

    def _add_pods(self, workload: Workload, spec: manifests.PodSpec) -> None:
        name, node = f"app-{workload.number}", _name(workload.node)
        is_there = self.cluster.store.node(node) is not None
        if workload.kind is Workload.Kind.REPLICAS:
            places = [node] if is_there else None
            self.cluster.add_replica_set(
                name, replicas=workload.replicas, labels=spec.labels, nodes=places, pod=spec
            )
        elif not is_there:
            return
        elif workload.kind is Workload.Kind.DAEMON:
            self.cluster.add_daemon_set(name, labels=spec.labels, nodes=[node])
        elif workload.kind is Workload.Kind.STATEFUL:
            for index in range(workload.replicas):
                self._stateful[f"{name}-{index}"] = spec
                self.cluster.add_pod(f"{name}-{index}", node=node, spec=spec)
        else:
            is_mirror = workload.kind is Workload.Kind.MIRROR
            self.cluster.add_pod(name, node=node, spec=spec, mirror=is_mirror)

    def _replace_stateful(self, change: store.Change) -> None:
        """Create the next pod of the name, elsewhere, when one is gone."""
        spec = self._stateful.get(change.after.name)
        if change.resource is resources.PODS and change.current is None and spec is not None:
            self._later(0.3, lambda: self.cluster.add_pod(change.after.name, spec=spec))

    # Let things happen.

    def _agenda(self) -> list[tuple[float, Callable[[], None]]]:
        played = self.scenario
        agenda = [
            *((each.joins_at, _bound(self._register, each.number)) for each in played.machines),
            *((each.at, _bound(self._send, each)) for each in played.sendings),
            *((each.at, _bound(self._happen, each)) for each in played.occurrences),
        ]
        return sorted(agenda, key=lambda entry: entry[0])

    async def _pass_until(self, at: float) -> None:
        await asyncio.sleep(max(at - asyncio.get_running_loop().time(), 0.0))
        self.oracle.check()

    def _spawn(self, work: Any) -> None:  # noqa: ANN401 - a coroutine of any kind
        task = asyncio.get_running_loop().create_task(work, name="simulation")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _send(self, sending: Sending) -> None:
        if sending.signal in {Signal.TERMINATION, Signal.LAUNCH}:
            instance_id = stage.instance(sending.instances[0])
            if instance_id not in self.lifecycle.records:
                self.lifecycle.begin(instance_id)
        self.oracle.on_sending(sending, self.queue.send(self._body_of(sending)))

    def _body_of(self, sending: Sending) -> str | aws_events.Event:
        origin = self.origin(age=sending.age, event_id=f"event-{sending.key}")
        ids = [stage.instance(number) for number in sending.instances]
        return services.body_of(sending, ids, origin=origin, zero=START)

    def _happen(self, occurrence: Occurrence) -> None:
        self.oracle.note(f"{occurrence.incident} ({occurrence.number}, {occurrence.seconds} s)")
        if occurrence.incident in _OF_NODES:
            if self.cluster.store.node(_name(occurrence.number)) is not None:
                self._happen_to_node(occurrence)
        elif occurrence.incident in _OF_PROCESSES:
            self._happen_to_process(occurrence)
        else:
            self._happen_to_all(occurrence)

    def _happen_to_node(self, occurrence: Occurrence) -> None:
        name = _name(occurrence.number)
        match occurrence.incident:
            case Incident.KUBELET_DIES:
                self.cluster.kill_kubelet(name)
            case Incident.KUBELET_RETURNS:
                self._revive(name)
            case Incident.NODE_NOT_READY:
                self.cluster.set_ready(name, ready=False)
                self._later(occurrence.seconds, lambda: self._make_ready(name))
            case Incident.NODE_DELETED:
                self.cluster.remove_node(name)
            case Incident.PODS_DELETED:
                for pod in list(self.cluster.store.pods_on(name)):
                    if pod.name in self._stateful:
                        self.cluster.deletions.delete(pod, deletion.DeleteOptions())
            case _:
                self.cluster.remove_node(name)
                self._later(1.0, lambda: self._register(occurrence.number))

    def _revive(self, name: str) -> None:
        self.cluster.kubelets.start(name)
        self._make_ready(name)

    def _make_ready(self, name: str) -> None:
        if self.cluster.store.node(name) is not None and not self.cluster.kubelets.is_dead(name):
            self.cluster.set_ready(name, ready=True)

    def _happen_to_process(self, occurrence: Occurrence) -> None:
        leader = self._leader()
        match occurrence.incident:
            case Incident.PROCESS_KILLED if leader is not None:
                self._alive.remove(leader)
                self._spawn(leader.kill())
            case Incident.PROCESS_STOPPED if leader is not None:
                self._alive.remove(leader)
                self._spawn(leader.stop())
            case Incident.PROCESS_STARTED:
                if self.scenario.choices.has_election or not (self._alive or self._tasks):
                    self._spawn(self._start_process())
            case Incident.LEASE_UNREACHABLE if leader is not None:
                fault = Fault(
                    at=0.0, call="Leases.write", kind=FaultKind.HANG, times=1000, seconds=3.0
                )
                until = asyncio.get_running_loop().time() + occurrence.seconds
                self._faults_of[leader.name].add(fault, until=until)
            case _:
                pass

    def _happen_to_all(self, occurrence: Occurrence) -> None:
        match occurrence.incident:
            case Incident.CLOCK_SET:
                self.wall_clock.error = dt.timedelta(seconds=occurrence.seconds)
            case Incident.NODE_WATCH_SILENT:
                for process in self._alive:
                    process.silence_watch(occurrence.seconds)
            case Incident.API_OUTAGE:
                self._cut_off()
                self._later(occurrence.seconds, self._reconnect)
            case Incident.SQS_SLOW:
                self.queue.delay = 2.0
                self._later(occurrence.seconds, self._reconnect)
            case Incident.WATCHES_CUT:
                self.cluster.compact()
                self.cluster.drop_watches()
            case Incident.MESSAGES_EXPIRE:
                self.oracle.on_expiry()
                self.queue.lose_all()
            case _:
                for message_id in self.queue.in_flight:
                    self.queue.make_visible(message_id)

    def _later(self, seconds: float, act: Callable[[], object]) -> None:
        asyncio.get_running_loop().call_later(seconds, act)

    def _cut_off(self) -> None:
        for process in self._alive:
            process.transport.cut()

    def _reconnect(self) -> None:
        self.queue.delay = 0.0
        for process in self.processes:
            process.transport.is_reachable = True

    # Processes.

    def _leader(self) -> stage.Process | None:
        """Return the process that leads, else the oldest."""
        lease = self.cluster.store.get(resources.LEASES, "default", "queue-processor")
        holder = "" if lease is None else lease.spec.get("holderIdentity")
        return next(
            (process for process in self._alive if process.name == holder),
            self._alive[0] if self._alive else None,
        )

    async def _start_process(self) -> None:
        """Start a process, as Kubernetes does: again and again."""
        while True:
            self._started += 1
            name = f"operator-{self._started}"
            self.oracle.on_start(name)
            settings = stage.settings_with(**_settings(self.scenario.choices))
            process = stage.Process(self, name, settings)
            self.processes.append(process)
            try:
                await process.start()
            except errors.QueueProcessorError:
                await asyncio.sleep(5.0)
            else:
                self._alive.append(process)
                return

    # The end.

    async def _finish(self) -> None:
        """Let nothing go wrong any more, and judge what is there when all is done."""
        for faults in self._faults_of.values():
            faults.heal()
        self._reconnect()
        self.oracle.note("nothing goes wrong any more")
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))
        if not self._alive:
            await self._start_process()
        await self._until_settled()
        if any(sending.signal.is_state for sending in self.scenario.sendings):
            await self._pass(_UNTIL_REPORT_SECONDS)
            nodes = self.cluster.store.every(resources.NODES)
            self.cluster.kubelets.report(nodes)
        await self._pass(30.0)
        for process in self.processes:
            self.oracle.on_crash(process.name, process.crash())
        self.oracle.judge_end()
        for process in self._alive:
            await process.stop()
        self.oracle.judge_left(asyncio.all_tasks())

    async def _pass(self, seconds: float) -> None:
        await self._pass_until(asyncio.get_running_loop().time() + seconds)

    async def _until_settled(self) -> None:
        """Wait for the messages; a launch is over when its node is Ready."""
        for sending in self.scenario.sendings:
            if sending.signal in {Signal.LAUNCH, Signal.RUNNING}:
                for name in (_name(number) for number in sending.instances):
                    if self.cluster.store.node(name) is not None:
                        self._revive(name)
        waited = 0.0
        while self.oracle.awaits_messages and waited < _LONGEST_REST_SECONDS:
            await self._pass(1.0)
            waited += 1.0


def _name(number: int) -> str:
    return f"node-{number}"


def _bound(act: Callable[[Any], None], value: object) -> Callable[[], None]:
    return lambda: act(value)


_OF_NODES = frozenset(
    {
        Incident.KUBELET_DIES,
        Incident.KUBELET_RETURNS,
        Incident.NODE_NOT_READY,
        Incident.NODE_DELETED,
        Incident.PODS_DELETED,
        Incident.NODE_REGISTERED_AGAIN,
    }
)
_OF_PROCESSES = frozenset(
    {
        Incident.PROCESS_KILLED,
        Incident.PROCESS_STOPPED,
        Incident.PROCESS_STARTED,
        Incident.LEASE_UNREACHABLE,
    }
)


def _settings(choices: Choices) -> dict[str, object]:
    """Return the settings by group."""
    actions = dict.fromkeys(choices.ignored, "ignore") | dict.fromkeys(
        choices.only_cordoned, "cordon"
    )
    times = (45, 30, 10) if choices.is_election_slow else (15, 10, 2)
    return {
        "cluster_name": "simulated",
        "actions": actions,
        "sources": {"sqs": {"accounts": ["123456789012"]}},
        "drain": {
            "on_deadline": choices.on_deadline,
            "force_margin_seconds": choices.force_margin,
            "soft_drain_timeout_seconds": choices.soft_timeout,
            "on_soft_timeout": choices.on_soft_timeout,
            "lifecycle_drain_timeout_seconds": choices.lifecycle_timeout,
            "unknown_instance_grace_seconds": choices.unknown_grace,
            "unknown_instance_policy": choices.unknown_policy,
            "complete_never_joined": choices.never_joined,
            "taint_effect": choices.taint_effect,
            "volume_detach_timeout_seconds": choices.volume_timeout,
            "out_of_service_taint": choices.out_of_service,
        },
        "leader_election": {
            "enabled": choices.has_election,
            "lease_duration_seconds": times[0],
            "renew_deadline_seconds": times[1],
            "retry_period_seconds": times[2],
        },
        "kubernetes": {"requests_in_flight": choices.requests},
    }
