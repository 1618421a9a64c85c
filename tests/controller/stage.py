"""The stage of the behaviour tests: the real controller and the real Kubernetes adapters,
against the simulated cluster and the fake AWS, in virtual time."""

import asyncio
import dataclasses
import datetime as dt
import itertools
import json
from collections.abc import Callable, Mapping

from queue_processor import handlers
from queue_processor.adapters.aws.source import SqsSource
from queue_processor.adapters.aws.sqs import SqsQueue
from queue_processor.adapters.kube.api import KubeApi
from queue_processor.adapters.kube.event_recorder import KubeEventRecorder
from queue_processor.adapters.kube.guarded_pods import KubeGuardedPods
from queue_processor.adapters.kube.leases import KubeLeases
from queue_processor.adapters.kube.nodes import KubeNodes, NodeReader
from queue_processor.adapters.kube.pods import KubePods
from queue_processor.adapters.kube.volumes import KubeVolumes
from queue_processor.adapters.webhooks import delivery
from queue_processor.controller import assembly, ports
from queue_processor.controller.node_index import NodeIndex
from queue_processor.controller.node_refresh import NodeRefresh
from queue_processor.domain import aws_events, errors, selectors
from queue_processor.domain.identifiers import InstanceId
from queue_processor.observability.health import Liveness
from queue_processor.settings import Settings
from queue_processor.simulator.aws import events
from queue_processor.simulator.kube import api, clock, history, objects, resources
from queue_processor.simulator.kube.cluster import SimulatedCluster
from tests.fakes.autoscaling import HOOK, FakeLifecycle
from tests.fakes.cluster import DirectTransport
from tests.fakes.sqs import FakeQueue


def instance(number: int) -> InstanceId:
    """The id of the numbered instance."""
    return InstanceId(f"i-{number:017x}")


def settings_with(**chosen: object) -> Settings:
    """Return settings by group, as in `drain={"on_deadline": "leave"}`."""
    return Settings.model_validate(
        {"queue_url": "https://sqs.invalid/123456789012/queue", **chosen}
    )


class WallClock:
    """The operators' wall clock, which somebody may set; events keep the true time."""

    def __init__(self, true: ports.Clock) -> None:
        self._true = true
        self.error = dt.timedelta()

    def __call__(self) -> dt.datetime:
        return self._true() + self.error


class Process:
    """One process of the operator; it can be stopped in good order, or killed."""

    def __init__(self, stage: "World", name: str, settings: Settings) -> None:
        self.name = name
        self._is_alive = asyncio.Event()
        self._is_alive.set()
        self.transport = DirectTransport(stage.server, user_agent=name, is_alive=self._is_alive)
        self._api = KubeApi(self.transport)
        self._reader = stage.node_reader(settings)
        self.node_index = NodeIndex()
        self._nodes = KubeNodes(self._api, reader=self._reader, clock=stage.wall_clock)
        self.node_refresh = stage.node_refresh(self.node_index, self._nodes)
        self._event_recorder = KubeEventRecorder(self._api, identity=name, clock=stage.wall_clock)
        self.liveness = Liveness()
        self.webhooks = delivery.from_settings(settings.webhooks)
        self._queue = stage.queue.client(self._is_alive)
        sources: list[ports.EventSource] = list(stage.more_sources)
        if stage.has_queue:
            sources.append(stage.source(self._queue))
        dependencies = ports.Dependencies(
            sources=sources,
            lifecycle=stage.lifecycle,
            managed=stage.managed,
            nodes=self._nodes,
            pods=KubePods(self._api),
            guarded_pods=KubeGuardedPods(self._api),
            volumes=KubeVolumes(self._api),
            leases=KubeLeases(self._api, namespace="default", name="queue-processor"),
            event_recorder=self._event_recorder,
            notifier=self.webhooks,
            identity=name,
            own_namespace="default",
        )
        self._lead = assembly.build_controller(
            settings,
            stage.wrapped(dependencies),
            node_index=self.node_index,
            node_refresh=self.node_refresh,
            liveness=self.liveness,
            clock=stage.wall_clock,
        )
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Open the queue and fill the index, then work or stand by."""
        await self._queue.open()
        await self.node_refresh.load()
        self._tasks = [
            asyncio.create_task(self._feed(), name=f"{self.name}: nodes"),
            asyncio.create_task(self.node_refresh.run(), name=f"{self.name}: node refresh"),
            asyncio.create_task(self._event_recorder.run(), name=f"{self.name}: event_recorder"),
            asyncio.create_task(self.webhooks.run(), name=f"{self.name}: webhooks"),
            asyncio.create_task(self._lead(), name=f"{self.name}: lead"),
        ]

    async def _feed(self) -> None:
        """Watch nodes as kopf does: from the beginning, and again after each interruption."""
        while True:
            try:
                async with self._api.watch("/api/v1/nodes", query={}) as changes:
                    async for event in changes:
                        if event["type"] != "BOOKMARK":
                            handlers.take_in(
                                event["type"],
                                event["object"],
                                reader=self._reader,
                                node_index=self.node_index,
                            )
            except (errors.TemporaryError, errors.WatchExpired):
                self.node_refresh.request()
            await asyncio.sleep(0.5)

    def silence_watch(self, seconds: float) -> None:
        """Let no change of a node arrive for a while; then list and watch anew."""

        async def feed_later() -> None:
            await asyncio.sleep(seconds)
            self.node_refresh.request()
            await self._feed()

        self.lose_watch()
        self._tasks[0] = asyncio.create_task(feed_later(), name=f"{self.name}: nodes")

    def lose_watch(self) -> None:
        """Let no further change of a node arrive, as on a connection that is silently dead."""
        self._tasks[0].cancel()

    async def stop(self) -> None:
        """Stop as on SIGTERM."""
        lead = self._tasks[-1]
        lead.cancel()
        await asyncio.wait((lead,))
        await self._queue.close()
        await self.kill()

    async def kill(self) -> None:
        """Stop as on SIGKILL: nothing more is sent, by anybody."""
        self._is_alive.clear()
        while any(not task.done() for task in self._tasks):
            for task in self._tasks:
                task.cancel()
            await asyncio.wait(self._tasks, timeout=60)

    def crash(self) -> BaseException | None:
        """The error that ended the work, if anything but the test did."""
        lead = self._tasks[-1]
        return lead.exception() if lead.done() and not lead.cancelled() else None


class World:
    """Everything outside of the operator, and the operators."""

    def __init__(self, start: dt.datetime) -> None:
        self.clock = clock.LoopClock(start)
        self.wall_clock = WallClock(self.clock)
        self.cluster = SimulatedCluster(now=self.clock)
        self.server = api.SimulatedApiServer(self.cluster)
        self.queue = FakeQueue(clock=self.clock)
        self.lifecycle = FakeLifecycle(clock=self.clock)
        self.managed: ports.ManagedInstances | None = None
        self.has_queue = True
        self.handles_notices = False
        self.more_sources: list[ports.EventSource] = []
        self.processes: list[Process] = []

    # What a process is assembled from, for worlds in which some of it is different.

    def node_reader(self, settings: Settings) -> NodeReader:
        """Build what reads Node objects."""
        return NodeReader(selectors.parse(settings.node_selector))

    def source(self, queue: SqsQueue) -> SqsSource:
        """Build the source of messages."""
        return SqsSource(queue, clock=self.wall_clock)

    def node_refresh(self, node_index: NodeIndex, nodes: KubeNodes) -> NodeRefresh:
        """Build what confirms that there is no node."""
        return NodeRefresh(node_index, nodes.all)

    def wrapped(self, dependencies: ports.Dependencies) -> ports.Dependencies:
        """Return what the controller works with."""
        return dependencies

    async def close(self) -> None:
        """Stop the operators; one that crashed, or two that evicted at a time, fail the test."""
        for process in self.processes:
            crash = process.crash()
            if crash is not None:
                raise crash
            await process.kill()
        spells = sorted((min(times), max(times)) for times in self.cluster.history.writers.values())
        for (_, ended), (began, _) in itertools.pairwise(spells):
            assert ended < began, "two processes evicted at the same time"

    async def start(self, name: str = "operator", **chosen: object) -> Process:
        """Start an operator; settings by group, as in `drain={"on_deadline": "leave"}`."""
        if self.handles_notices:
            chosen = {**chosen, "sources": {"notices": {"enabled": True}}}
        process = Process(self, name, settings_with(**chosen))
        self.processes.append(process)
        await process.start()
        await asyncio.sleep(0.1)
        return process

    def add_nodes(self, count: int, *, first: int = 0) -> list[str]:
        """Add nodes node-0, node-1, … on instances of the same numbers."""
        names = []
        for number in range(first, first + count):
            self.cluster.add_node(f"node-{number}", instance_id=instance(number))
            names.append(f"node-{number}")
        return names

    def add_blocked_pod(self, node: str) -> None:
        """Add a pod that its budget keeps on the node for ever."""
        self.cluster.add_replica_set("db", replicas=1, labels={"app": "db"}, nodes=[node])
        self.cluster.add_budget("db", match_labels={"app": "db"}, min_available=1)

    def origin(self, *, age: float = 0.0, event_id: str | None = None) -> aws_events.Origin:
        """An event that happened some seconds ago."""
        time = self.clock() - dt.timedelta(seconds=age)
        return events.new_origin(time) if event_id is None else events.new_origin(time, event_id)

    def send_spot(self, number: int, *, age: float = 0.0) -> str:
        """Send a spot interruption about the numbered instance; the message id."""
        return self.queue.send(
            aws_events.spot_interruption(instance(number), origin=self.origin(age=age))
        )

    def send_rebalance(self, number: int) -> str:
        """Send a rebalance recommendation; the message id."""
        return self.queue.send(
            aws_events.rebalance_recommendation(instance(number), origin=self.origin())
        )

    def send_state(self, number: int, state: str, *, age: float = 0.0) -> str:
        """Send a state change; the message id."""
        return self.queue.send(
            aws_events.state_change(instance(number), state, origin=self.origin(age=age))
        )

    def send_change(
        self, number: int, change: aws_events.ScheduledChange, *, status: str = "upcoming"
    ) -> str:
        """Send a scheduled change of the numbered instance, or an update of it; the message id."""
        update = dataclasses.replace(change, status=status)
        return self.queue.send(
            aws_events.scheduled_change([instance(number)], update, origin=self.origin())
        )

    def send_termination(self, number: int, *, group: str = HOOK.group, **step: str) -> str:
        """Put an instance on hold, and tell; the message id."""
        self.lifecycle.begin(instance(number))
        return self.queue.send(
            aws_events.autoscaling_termination(
                instance(number),
                events.new_step(group=group, hook=HOOK.name, **step),
                origin=self.origin(),
            )
        )

    def node(self, name: str) -> objects.Stored:
        """A node as the API server has it."""
        found = self.cluster.store.node(name)
        assert found is not None, f"{name} is gone"
        return found

    def is_cordoned(self, name: str) -> bool:
        """True if a node is unschedulable."""
        return bool(self.node(name).spec.get("unschedulable"))

    def taints(self, name: str) -> set[str]:
        """The keys of a node's taints."""
        return {taint["key"] for taint in self.node(name).spec.get("taints", [])}

    def change_node(
        self,
        name: str,
        *,
        annotations: Mapping[str, str | None] | None = None,
        labels: Mapping[str, str | None] | None = None,
        **spec: object,
    ) -> None:
        """Change a node as a person does; None removes a label or an annotation."""
        node = self.node(name)
        metadata = dict(node.metadata)
        for field, changes in (("annotations", annotations), ("labels", labels)):
            merged = {**metadata.get(field, {}), **(changes or {})}
            metadata[field] = {key: value for key, value in merged.items() if value is not None}
        self.cluster.store.update(
            node, node.body | {"metadata": metadata, "spec": {**node.spec, **spec}}
        )

    def condition(self, name: str, kind: str) -> str | None:
        """The status of a node's condition."""
        conditions = self.node(name).status.get("conditions", [])
        return next((each["status"] for each in conditions if each["type"] == kind), None)

    def pods_on(self, name: str) -> set[str]:
        """The names of the pods on a node."""
        return {pod.name for pod in self.cluster.store.pods_on(name)}

    def pod_record(self, name: str) -> history.PodRecord:
        """The life of the only pod with this name."""
        (record,) = (pod for pod in self.cluster.history.pods if pod.name == name)
        return record

    def kubernetes_events(self) -> list[tuple[str, str]]:
        """Reason and object of each Event so far."""
        kept = self.cluster.store.every(resources.EVENTS)
        return [(event.body["reason"], event.body["regarding"]["name"]) for event in kept]

    async def until(
        self, holds: Callable[[], bool], *, limit: float = 60.0, step: float = 0.05
    ) -> float:
        """Wait until something holds; how long that took, in virtual seconds."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while not holds():
            assert loop.time() - began < limit, f"it does not hold after {limit} s"
            await asyncio.sleep(step)
        return loop.time() - began

    async def until_settled(self, *, limit: float = 60.0, step: float = 0.05) -> float:
        """Wait until the queue is empty; how long that took."""
        return await self.until(lambda: self.queue.left == 0, limit=limit, step=step)


def sns(event: Mapping[str, object]) -> dict[str, object]:
    """An event as SNS wraps it."""
    return {"Type": "Notification", "MessageId": "m", "Message": json.dumps(event)}
