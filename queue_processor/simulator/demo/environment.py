"""Plays a scenario in a simulated AWS and a simulated cluster, and observes what happens there."""

import asyncio
import datetime as dt
from collections.abc import Sequence

from queue_processor.simulator.aws import simulator
from queue_processor.simulator.demo import messages, scenarios
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
    """The simulated AWS and cluster of one scenario."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.aws = simulator.AwsSimulator()
        self.cluster = SimulatedCluster()
        self.server = http.HttpServer(api.SimulatedApiServer(self.cluster))
        self.queue_url = ""
        self._sender = messages.MessageSender(self.aws)
        self._probe_id = ""
        self._agents: objects.Stored | None = None
        self._sent: list[SentMessage] = []
        self._joined: dict[str, dt.datetime] = {}
        self._ready_at: dict[str, dt.datetime] = {}

    async def start_aws(self) -> None:
        """Start AWS, create the queue and its rules from the template, run the instances."""
        await asyncio.to_thread(self.aws.start)
        stack = await asyncio.to_thread(self.aws.deploy)
        self.queue_url = stack.queue_url
        await asyncio.to_thread(self._sender.prepare, self.scenario)

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
        await asyncio.to_thread(self.aws.stop)

    def _join(self, node: PlannedNode) -> None:
        is_ready = node.ready_after is None
        self.cluster.add_node(
            node.name,
            instance_id=self._sender.instances[node.name],
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
        self._probe_id = (await asyncio.to_thread(self._sender.send, _PROBE)).mark

    def is_probe_consumed(self) -> bool:
        """Return True once that message has been received and deleted."""
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
        await asyncio.to_thread(self._send_all, due)

    def _send_all(self, due: Sequence[PlannedMessage]) -> None:
        for planned in due:
            self._sent.append(self._sender.send(planned))

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
        holders = (lease.spec.get("holderIdentity") for lease in store.every(resources.LEASES))
        return Observations(
            scenario=self.scenario,
            sent=tuple(self._sent),
            joined=dict(self._joined),
            messages=[one for one in self.aws.message_log() if one.message_id != self._probe_id],
            left=self.aws.queue_state().total,
            dead_letters=tuple(letter.body for letter in self.aws.dead_letters()),
            actions=self.aws.lifecycle_actions(),
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
            lease_holder=next(holders, "") or "",
            exit_code=exit_code,
        )

    def _ready_replicas(self, workload: str) -> int:
        owner = self.cluster.store.get(resources.REPLICA_SETS, _NAMESPACE, workload)
        pods = () if owner is None else self.cluster.store.pods_of(owner.uid)
        return sum(objects.is_healthy(pod) for pod in pods)
