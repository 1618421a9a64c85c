"""Plays a scenario in a simulated AWS and a simulated cluster, and observes what happens there."""

import asyncio
import datetime as dt
from collections.abc import Iterator, Mapping, Sequence

from queue_processor.simulator.aws import simulator
from queue_processor.simulator.aws.records import MessageRecord
from queue_processor.simulator.demo import messages, scenarios
from queue_processor.simulator.demo.metadata import NoticeLog, SimulatedMetadata
from queue_processor.simulator.demo.results import Observations, SentMessage
from queue_processor.simulator.demo.scenario import (
    DeliveryRoute,
    Noise,
    PlannedMessage,
    PlannedNode,
    Scenario,
    Workload,
)
from queue_processor.simulator.kube import api, http, manifests, objects, resources
from queue_processor.simulator.kube.cluster import SimulatedCluster

_AGENT = "node-agent"
_AGENT_LABELS = {"app": _AGENT}
_NAMESPACE = "default"
_PROBE = PlannedMessage(Noise.HOOK_TEST, route=DeliveryRoute.QUEUE)


class Environment:
    """The simulated AWS, instance metadata and cluster of one scenario.

    Attributes:
        aws: None for a scenario without a queue.
    """

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.aws = simulator.AwsSimulator() if scenario.has_queue else None
        self.cluster = SimulatedCluster()
        self.server = http.HttpServer(api.SimulatedApiServer(self.cluster))
        self.queue_url = ""
        self._sender = None if self.aws is None else messages.MessageSender(self.aws)
        self._instances = {} if self._sender is None else self._sender.instances
        self._metadata = SimulatedMetadata(self._instances) if scenario.has_watchers else None
        self._notices = NoticeLog(self.cluster)
        self._probe_id = ""
        self._agents: objects.Stored | None = None
        self._sent: list[SentMessage] = []
        self._joined: dict[str, dt.datetime] = {}
        self._ready_at: dict[str, dt.datetime] = {}

    async def start_aws(self) -> None:
        """Start AWS, create the queue and its rules from the template, run the instances."""
        if self.aws is None or self._sender is None:
            for number, node in enumerate(self.scenario.nodes, start=1):
                self._instances[node.name] = f"i-{number:017x}"
        else:
            await asyncio.to_thread(self.aws.start)
            stack = await asyncio.to_thread(self.aws.deploy)
            self.queue_url = stack.queue_url
            await asyncio.to_thread(self._sender.prepare, self.scenario)
        if self._metadata is not None:
            await self._metadata.start()

    async def start_cluster(self) -> None:
        """Fill the cluster and serve its API."""
        self._agents = self.cluster.add_daemon_set(_AGENT, labels=_AGENT_LABELS, nodes=())
        for node in self.scenario.nodes:
            if not node.joins_after:
                self._join(node)
        for workload in self.scenario.workloads:
            self._deploy(workload)
        await self.server.start()

    async def stop(self) -> None:
        """Stop the cluster and AWS."""
        await self.server.stop()
        if self._metadata is not None:
            await self._metadata.stop()
        if self.aws is not None:
            await asyncio.to_thread(self.aws.stop)

    def operator_variables(self) -> Mapping[str, str]:
        """Return the variables of an operator that works here, without those of the cluster."""
        variables = {"QUEUE_PROCESSOR_SOURCES__NOTICES__ENABLED": str(self.scenario.has_watchers)}
        if self.aws is not None:
            variables |= {
                **self.aws.environment(),
                "QUEUE_PROCESSOR_QUEUE_URL": self.queue_url,
            }
        return variables

    def watcher_arguments(self) -> Sequence[str] | None:
        """Return the arguments for the watchers of all nodes; None if there are none."""
        if self._metadata is None:
            return None
        return (self._metadata.url, self.server.url, *self._instances)

    def _join(self, node: PlannedNode) -> None:
        is_ready = node.ready_after is None
        self.cluster.add_node(
            node.name,
            instance_id=self._instances[node.name],
            zone=node.zone,
            ready=is_ready,
            max_pods=scenarios.PODS_PER_NODE,
        )
        self._joined[node.name] = self.cluster.store.now()
        agent = manifests.PodSpec(labels=_AGENT_LABELS, tolerations=[{"operator": "Exists"}])
        self.cluster.add_pod(
            f"{_AGENT}-{self.cluster.names.suffix()}",
            namespace="kube-system",
            node=node.name,
            spec=agent,
            owner=self._agents,
            ready=is_ready,
        )

    def _deploy(self, workload: Workload) -> None:
        labels = {"app": workload.name}
        self.cluster.add_replica_set(
            workload.name,
            replicas=workload.replicas,
            labels=labels,
            grace_seconds=workload.grace_seconds,
            exit_seconds=workload.exit_seconds,
            startup_seconds=workload.startup_seconds,
            nodes=workload.nodes,
        )
        if workload.budget is not None:
            self.cluster.add_budget(
                workload.name,
                match_labels=labels,
                max_unavailable=workload.budget.max_unavailable,
                min_available=workload.budget.min_available,
            )

    async def send_probe(self) -> None:
        """Send a message that asks for nothing, to see when the operator reads the queue."""
        if self._sender is not None:
            self._probe_id = (await asyncio.to_thread(self._sender.send, _PROBE)).mark

    def is_operator_at_work(self) -> bool:
        """Return True once that message is received and deleted; without a queue, if it leads."""
        if self.aws is None:
            return bool(self._lease_holder())
        return any(
            record.message_id == self._probe_id and record.deleted_at is not None
            for record in self.aws.message_log()
        )

    async def play(self) -> None:
        """Send the messages and add the nodes of the scenario, each at its time."""
        planned = self.scenario.messages
        async with asyncio.TaskGroup() as group:
            sending = {
                after: group.create_task(self._send(after), name=f"messages after {after} s")
                for after in sorted({message.after for message in planned})
            }
            for node in self.scenario.nodes:
                if node.joins_after:
                    launches = [
                        sending[message.after]
                        for message in planned
                        if message.is_launch and node.name in message.nodes
                    ]
                    group.create_task(self._join_later(node, launches), name=f"join of {node.name}")

    async def _send(self, after: float) -> None:
        await asyncio.sleep(after)
        due = [message for message in self.scenario.messages if message.after == after]
        if self._metadata is not None:
            announced = [each for each in due if each.route is DeliveryRoute.METADATA]
            self._sent.extend(map(self._metadata.send, announced))
        if self._sender is not None:
            queued = [each for each in due if each.route is not DeliveryRoute.METADATA]
            await asyncio.to_thread(self._send_all, self._sender, queued)

    def _send_all(self, sender: messages.MessageSender, due: Sequence[PlannedMessage]) -> None:
        for planned in due:
            self._sent.append(sender.send(planned))

    async def _join_later(
        self, node: PlannedNode, launches: Sequence["asyncio.Task[None]"]
    ) -> None:
        # On a slow machine a launch takes longer than the node has until it joins.
        await asyncio.gather(asyncio.sleep(node.joins_after), *launches)
        self._join(node)
        if node.ready_after is not None:
            await asyncio.sleep(node.ready_after - node.joins_after)
            self.cluster.set_ready(node.name, ready=True)
            self._ready_at[node.name] = self.cluster.store.now()

    def observe(self, *, exit_code: int | None = None) -> Observations:
        """Return everything that has happened until now."""
        history, store = self.cluster.history, self.cluster.store
        agents_uid = "" if self._agents is None else self._agents.uid
        return Observations(
            scenario=self.scenario,
            sent=tuple(self._sent),
            joined=dict(self._joined),
            messages=[*self._queue_messages(), *self._notices.records],
            left=self._notices.remaining_count + (self.aws.queue_state().total if self.aws else 0),
            dead_letters=tuple(each.body for each in self.aws.dead_letters()) if self.aws else (),
            actions=self.aws.lifecycle_actions() if self.aws else (),
            pods=tuple(pod for pod in history.pods if pod.owner_uid != agents_uid),
            agents=tuple(pod for pod in history.pods if pod.owner_uid == agents_uid),
            cordons=history.cordons,
            unschedulable=frozenset(
                node.name for node in store.every(resources.NODES) if node.spec.get("unschedulable")
            ),
            ready_at=dict(self._ready_at),
            evictions=history.evictions,
            breaches=history.breaches,
            lows={low.name: low for low in history.replica_lows},
            ready={each.name: self._ready_replicas(each.name) for each in self.scenario.workloads},
            lease_holder=self._lease_holder(),
            exit_code=exit_code,
        )

    def _queue_messages(self) -> Iterator[MessageRecord]:
        log = () if self.aws is None else self.aws.message_log()
        return (each for each in log if each.message_id != self._probe_id)

    def _lease_holder(self) -> str:
        leases = self.cluster.store.every(resources.LEASES)
        return next((lease.spec.get("holderIdentity") or "" for lease in leases), "")

    def _ready_replicas(self, workload: str) -> int:
        owner = self.cluster.store.get(resources.REPLICA_SETS, _NAMESPACE, workload)
        pods = () if owner is None else self.cluster.store.pods_of(owner.uid)
        return sum(objects.is_healthy(pod) for pod in pods)
