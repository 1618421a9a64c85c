"""The simulated AWS and cluster of one rehearsal, and what is seen to happen in them."""

import asyncio
import datetime as dt
from collections.abc import Sequence

from queue_processor.simulator.aws import simulator
from queue_processor.simulator.demo import evidence, layout, mail, scenario
from queue_processor.simulator.kube import api, http, manifests, objects, resources
from queue_processor.simulator.kube.cluster import SimulatedCluster

_AGENT = "node-agent"
_AGENT_LABELS = {"app": _AGENT}
_NAMESPACE = "default"


class Stage:
    """Plays a scenario; every question about it is answered from the simulators."""

    def __init__(self, plan: scenario.Scenario) -> None:
        self.scenario = plan
        self.aws = simulator.AwsSimulator()
        self.cluster = SimulatedCluster()
        self.server = http.HttpServer(api.SimulatedApiServer(self.cluster))
        self.queue_url = ""
        self._mail = mail.Mail(self.aws)
        self._knock = ""
        self._agents: objects.Stored | None = None
        self._sent: list[evidence.Sent] = []
        self._joined: dict[str, dt.datetime] = {}
        self._ready_at: dict[str, dt.datetime] = {}

    # Building and closing it.

    async def start_aws(self) -> None:
        """Start AWS, make the queue and its rules from the template, run the instances."""
        await asyncio.to_thread(self.aws.start)
        deployed = await asyncio.to_thread(self.aws.deploy)
        self.queue_url = deployed.queue_url
        await asyncio.to_thread(self._mail.prepare, self.scenario)

    async def start_cluster(self) -> None:
        """Fill the cluster and listen."""
        present = [node for node in self.scenario.nodes if not node.joins_after]
        self._agents = self.cluster.add_daemon_set(_AGENT, labels=_AGENT_LABELS, nodes=())
        for node in present:
            self._join(node)
        for workload in self.scenario.workloads:
            self._deploy(workload)
        await self.server.start()

    async def stop(self) -> None:
        """Stop both."""
        await self.server.stop()
        await asyncio.to_thread(self.aws.stop)

    def _join(self, node: scenario.NodePart) -> None:
        is_ready = node.ready_after is None
        self.cluster.add_node(
            node.name,
            instance_id=self._mail.instances[node.name],
            zone=node.zone,
            ready=is_ready,
            max_pods=layout.PODS_PER_NODE,
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

    def _deploy(self, workload: scenario.Workload) -> None:
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

    # Playing.

    async def knock(self) -> None:
        """Send a message that asks for nothing."""
        self._knock = await asyncio.to_thread(self._mail.knock)

    def is_answered(self) -> bool:
        """Whether somebody has received that message and deleted it."""
        return any(
            record.message_id == self._knock and record.deleted_at is not None
            for record in self.aws.message_log()
        )

    async def play(self) -> None:
        """Let everything happen that the scenario says, each thing at its time."""
        moments = {sending.after for sending in self.scenario.sendings}
        async with asyncio.TaskGroup() as group:
            sent = {
                moment: group.create_task(self._send(moment), name=f"sendings after {moment} s")
                for moment in sorted(moments)
            }
            for node in self.scenario.nodes:
                if node.joins_after:
                    launches = [sent[launch.after] for launch in self.scenario.launches_of(node)]
                    group.create_task(self._come(node, launches), name=f"coming of {node.name}")

    async def _send(self, moment: float) -> None:
        await asyncio.sleep(moment)
        due = [sending for sending in self.scenario.sendings if sending.after == moment]
        await asyncio.to_thread(self._send_all, due)

    def _send_all(self, due: list[scenario.Sending]) -> None:
        for sending in due:
            self._sent.append(self._mail.send(sending))

    async def _come(
        self, node: scenario.NodePart, launches: Sequence["asyncio.Task[None]"]
    ) -> None:
        # On a slow machine a launch takes longer than the node has to come.
        await asyncio.gather(asyncio.sleep(node.joins_after), *launches)
        self._join(node)
        if node.ready_after is not None:
            await asyncio.sleep(node.ready_after - node.joins_after)
            self.cluster.set_ready(node.name, ready=True)
            self._ready_at[node.name] = self.cluster.store.now()

    # Looking.

    def evidence(self, *, exit_code: int | None = None) -> evidence.Evidence:
        """Tell everything that is known now."""
        seen = self.cluster.history
        agents_uid = "" if self._agents is None else self._agents.uid
        messages = [one for one in self.aws.message_log() if one.message_id != self._knock]
        return evidence.Evidence(
            scenario=self.scenario,
            sent=tuple(self._sent),
            joined=dict(self._joined),
            messages=messages,
            left=self.aws.queue_state().total,
            dead_letters=tuple(letter.body for letter in self.aws.dead_letters()),
            actions=self.aws.lifecycle_actions(),
            pods=tuple(pod for pod in seen.pods if pod.owner_uid != agents_uid),
            agents=tuple(pod for pod in seen.pods if pod.owner_uid == agents_uid),
            cordons=seen.cordons,
            unschedulable=frozenset(
                node.name
                for node in self.cluster.store.every(resources.NODES)
                if node.spec.get("unschedulable")
            ),
            ready_at=dict(self._ready_at),
            evictions=seen.evictions,
            breaches=seen.breaches,
            lows={low.name: low for low in seen.replica_lows},
            ready={
                workload.name: self._ready_replicas(workload)
                for workload in self.scenario.workloads
            },
            lease_holder=self._lease_holder(),
            exit_code=exit_code,
        )

    def _ready_replicas(self, workload: scenario.Workload) -> int:
        owner = self.cluster.store.get(resources.REPLICA_SETS, _NAMESPACE, workload.name)
        pods = () if owner is None else self.cluster.store.pods_of(owner.uid)
        return sum(objects.is_healthy(pod) for pod in pods)

    def _lease_holder(self) -> str:
        leases = self.cluster.store.every(resources.LEASES)
        return next((lease.spec.get("holderIdentity") or "" for lease in leases), "")
