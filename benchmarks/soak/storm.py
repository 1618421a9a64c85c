"""One storm: six nodes that go, two that stay, and the judgement at the end."""

import asyncio
import collections
import dataclasses
import datetime as dt
import http
import random
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

from benchmarks.soak.findings import Finding, FindingKind
from queue_processor.domain import aws_events, errors
from queue_processor.domain.events import LifecycleTransition
from queue_processor.simulator.aws import events, lifecycle, records, simulator, stacks
from tests.cluster import audit, history, manifests, world
from tests.cluster.manifests import PodShape

_NOTICE = dt.timedelta(seconds=120)
# The warnings come late: an eviction that is abandoned when a process dies takes its part of the
# budget for two minutes, and then the deadline rule has to go on.
_LEFT = dt.timedelta(seconds=25)
_FORCE_MARGIN = dt.timedelta(seconds=10)
# Timestamps of events are whole seconds, and a busy machine is late.
_TOLERANCE = dt.timedelta(seconds=2)
_SPOT, _REBALANCE, _TERMINATION = 3, 1, 2
_GOING, _STAYING = _SPOT + _REBALANCE + _TERMINATION, 2
_SHAPE = PodShape(exits_after="300ms", grace_seconds=8)
_OWNED_EACH, _BARE_EACH, _AWAY = 3, 2, 4
_HOOK_SECONDS = 300
_PAUSE_SECONDS = 0.1


@dataclasses.dataclass(frozen=True, slots=True)
class StruckNode:
    """A node that goes.

    Attributes:
        error: How wrong the times of its events are.
    """

    name: str
    instance_id: str
    error: dt.timedelta = dt.timedelta()


class SoakStorm:
    """A storm in a cluster and an AWS account that saw others before.

    Attributes:
        history: What happened to nodes and pods, while it watches.
        findings: What must not happen, and did so far.
    """

    def __init__(
        self, cluster: world.World, aws: simulator.AwsSimulator, stack: stacks.Stack, number: int
    ) -> None:
        """Build the storm; `number` is another one for each storm."""
        self.history = history.History(cluster.api)
        self.findings: list[Finding] = []
        self._world = cluster
        self._aws = aws
        self._queue_url = stack.queue_url
        self._number = number
        self._app = f"web-{number}"
        self._nodes: list[StruckNode] = []
        self._deadlines: dict[str, dt.datetime] = {}
        self._sent_before = len(aws.message_log(self._queue_url))
        self._audit = audit.AuditLog(cluster.plane.audit_log, world.OPERATOR_USER)

    async def populate(self, rng: random.Random, *, clock_error_seconds: float = 0.0) -> None:
        """Make the nodes and their pods; each may have a wrong clock by up to so much."""
        held = self._aws.launch(_TERMINATION)
        hook = lifecycle.SimulatedLifecycleHook(
            f"workers-{self._number}",
            "drain",
            LifecycleTransition.TERMINATING,
            heartbeat_timeout=dt.timedelta(seconds=_HOOK_SECONDS),
        )
        self._aws.create_auto_scaling_group(hook.group, held, [hook])
        spot = [f"i-{self._number:08x}{place:09x}" for place in range(_SPOT + _REBALANCE)]
        self._nodes = [
            StruckNode(
                f"going-{self._number}-{place}",
                instance,
                dt.timedelta(seconds=rng.choice((-1, 1)) * clock_error_seconds),
            )
            for place, instance in enumerate((*spot, *held))
        ]
        staying = [
            (f"staying-{self._number}-{place}", f"i-{self._number:08x}f{place:08x}")
            for place in range(_STAYING)
        ]
        await self._world.make_nodes(
            [*((node.name, node.instance_id) for node in self._nodes), *staying]
        )
        owned = {node.name: _OWNED_EACH for node in self._nodes}
        await self._world.make_replicas(self._app, _SHAPE, owned)
        await self._world.make_budget(self._app, maxUnavailable=_AWAY)
        await self._world.create_all(
            manifests.pod(f"bare-{node.name}-{number}", _SHAPE, node_name=node.name)
            for node in self._nodes
            for number in range(_BARE_EACH)
        )

    def strike(self, rng: random.Random, *, copies: int = 1) -> None:
        """Send all events; copies come in any order."""
        for place, node in enumerate(self._nodes):
            instance, time = node.instance_id, dt.datetime.now(dt.UTC) + node.error
            origin = events.new_origin(time)
            if place < _SPOT:
                self._deadlines[instance] = time + _LEFT
                origin = events.new_origin(time + _LEFT - _NOTICE)
                self._aws.put_event(aws_events.spot_interruption(instance, origin=origin))
            elif place < _SPOT + _REBALANCE:
                self._aws.put_event(aws_events.rebalance_recommendation(instance, origin=origin))
            else:
                self._aws.terminate_in_group(instance)
        bodies = [record.body for record in self._records()] * (copies - 1)
        rng.shuffle(bodies)
        for body in bodies:
            self._aws.send_raw(body, queue_url=self._queue_url)

    @property
    def messages(self) -> int:
        """The number of messages that were sent."""
        return len(self._records())

    async def ask(self, instance_id: str, what: str) -> None:
        """Note what is about to be done for an instance while its node has pods."""
        for node in self._nodes:
            deadline = self._deadlines.get(node.instance_id)
            is_past = deadline is not None and deadline <= dt.datetime.now(dt.UTC)
            if node.instance_id != instance_id or is_past:
                continue
            left = await self._pods_on(node)
            if left:
                self._find(FindingKind.EARLY, f"{what} with {left} left on {node.name}")

    async def _pods_on(self, node: StruckNode) -> Sequence[str]:
        """Return the names of the pods on a node, once the API server answers."""
        while True:
            try:
                return [pod["metadata"]["name"] for pod in await self._world.pods_on(node.name)]
            except errors.TemporaryError:
                await asyncio.sleep(_PAUSE_SECONDS)

    # The judgement.

    async def judge(self) -> None:
        """Compare the end state, the audit log and the history with what has to be."""
        self.findings += [
            *self._lost_messages(),
            *self._lost_actions(),
            *[finding async for finding in self._unfinished_nodes()],
            *self._wrong_evictions(),
            *self._wrong_deletions(),
        ]
        others = self.history.marked - {node.name for node in self._nodes}
        if others:
            self._find(FindingKind.OTHER_NODE, f"touched: {sorted(others)}")
        lowest = self.history.lowest(self._app)
        if lowest < _GOING * _OWNED_EACH - _AWAY and not self._deletions():
            self._find(FindingKind.BUDGET, f"{self._app} had {lowest} healthy pods")

    def _records(self) -> Sequence[records.MessageRecord]:
        return self._aws.message_log(self._queue_url)[self._sent_before :]

    def _lost_messages(self) -> Iterator[Finding]:
        for record in self._records():
            if record.ending is not records.MessageEnding.DELETED:
                yield Finding(
                    FindingKind.LOST, f"message not deleted, but {record.ending}: {record.body}"
                )

    def _lost_actions(self) -> Iterator[Finding]:
        ours = {node.instance_id for node in self._nodes}
        for action in self._aws.lifecycle_actions():
            is_completed = action.ending is lifecycle.LifecycleActionEnding.COMPLETED
            is_continued = action.result is lifecycle.LifecycleActionResult.CONTINUE
            if action.instance_id in ours and not (is_completed and is_continued):
                yield Finding(
                    FindingKind.LOST, f"lifecycle action of {action.instance_id}: {action.ending}"
                )

    async def _unfinished_nodes(self) -> AsyncIterator[Finding]:
        for struck in self._nodes:
            node = await self._world.node(struck.name)
            left = await self._pods_on(struck)
            if node is None or not node["spec"].get("unschedulable"):
                yield Finding(FindingKind.LOST, f"{struck.name} is not cordoned")
            elif left:
                yield Finding(FindingKind.LOST, f"{struck.name} has {left} left")

    def _wrong_evictions(self) -> Iterator[Finding]:
        accepted = collections.Counter(
            request.name
            for request in self._audit.made("create", "pods/eviction")
            if request.code == http.HTTPStatus.CREATED
        )
        for name, count in accepted.items():
            if count > 1:
                yield Finding(FindingKind.EVICTED_TWICE, f"{name}: {count} evictions were accepted")

    def _wrong_deletions(self) -> Iterator[Finding]:
        places: Mapping[str, str] = {pod.name: pod.node for pod in self.history.pods}
        instances = {node.name: node.instance_id for node in self._nodes}
        margin = max(_FORCE_MARGIN, dt.timedelta(seconds=_SHAPE.grace_seconds)) + _TOLERANCE
        blocked = {
            request.name
            for request in self._audit.made("create", "pods/eviction")
            if request.code == http.HTTPStatus.TOO_MANY_REQUESTS
        }
        for request in self._deletions():
            deadline = self._deadlines.get(instances.get(places.get(request.name, ""), ""))
            is_due = deadline is not None and request.received_at >= deadline - margin
            if not is_due or request.name not in blocked:
                yield Finding(
                    FindingKind.DELETED, f"{request.name}: deadline {deadline}, {request}"
                )

    def _deletions(self) -> Sequence[audit.Request]:
        """Return the requests that deleted a pod."""
        deletions = self._audit.made("delete", "pods")
        return [request for request in deletions if request.code == http.HTTPStatus.OK]

    def _find(self, kind: FindingKind, text: str) -> None:
        self.findings.append(Finding(kind, text))
