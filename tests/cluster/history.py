"""The history of nodes and pods, from watches that see every version of each."""

import asyncio
import contextlib
import dataclasses
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TypeAlias

from queue_processor.adapters.kube.api import KubeApi
from queue_processor.domain import errors
from queue_processor.domain.events import EventKind
from queue_processor.domain.nodes import taint_key
from tests.cluster import objects
from tests.cluster.manifests import JsonObject

_PAUSE_SECONDS = 0.1
_OUR_TAINTS = frozenset(taint_key(kind) for kind in EventKind)

_Take: TypeAlias = Callable[[str, JsonObject], None]


@dataclasses.dataclass(frozen=True, slots=True)
class PodLife:
    """The life of a pod so far.

    Attributes:
        node: Where it runs, or ran; empty while it is not bound.
        grace_seconds: Its terminationGracePeriodSeconds.
        granted_seconds: The grace with which it was first told to go; None before that.
    """

    namespace: str
    name: str
    uid: str
    app: str
    node: str
    grace_seconds: int
    granted_seconds: int | None = None
    is_healthy: bool = False
    is_gone: bool = False


class History:
    """The lives of pods, and what was done to nodes; begins when the watches are open.

    A budget is kept when `lowest` never falls below what it promises: the watch on pods sees each
    of their versions, in the order in which they came to be.
    """

    def __init__(self, api: KubeApi) -> None:
        self._api = api
        self._nodes: dict[str, JsonObject] = {}
        self._marked: set[str] = set()
        self._pods: dict[str, PodLife] = {}
        self._healthy: defaultdict[str, set[str]] = defaultdict(set)
        self._lowest: dict[str, int] = {}

    @property
    def pods(self) -> Sequence[PodLife]:
        """Every pod that there was."""
        return tuple(self._pods.values())

    @property
    def marked(self) -> frozenset[str]:
        """The nodes that were ever cordoned, tainted by us, or said to be drained."""
        return frozenset(self._marked)

    def is_cordoned(self, name: str) -> bool:
        """True if a node is unschedulable now."""
        return bool(self._nodes.get(name, {}).get("spec", {}).get("unschedulable"))

    def on(self, *names: str) -> list[PodLife]:
        """Every pod that was on one of these nodes."""
        return [pod for pod in self._pods.values() if pod.node in names]

    def left_on(self, *names: str) -> list[PodLife]:
        """The pods that are on one of these nodes now."""
        return [pod for pod in self.on(*names) if not pod.is_gone]

    def told_to_go(self) -> list[PodLife]:
        """Every pod whose deletion was asked for."""
        return [pod for pod in self._pods.values() if pod.granted_seconds is not None]

    def lowest(self, app: str) -> int:
        """The fewest healthy pods of an app at any time."""
        return self._lowest[app]

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Take in what happens; begins with what there is."""
        followed: Mapping[str, _Take] = {
            "/api/v1/nodes": self._take_node,
            "/api/v1/pods": self._take_pod,
        }
        async with asyncio.TaskGroup() as group:
            tasks = []
            for path, take in followed.items():
                version = await self._list(path, take)
                tasks.append(group.create_task(self._follow(path, take, version)))
            for app, healthy in self._healthy.items():
                self._lowest[app] = len(healthy)
            yield
            for task in tasks:
                task.cancel()

    async def _list(self, path: str, take: _Take) -> str:
        """List everything; what is not there any more is gone."""
        listed = await self._api.list(path, query={})
        present = {item["metadata"]["uid"] for item in listed["items"]}
        for item in listed["items"]:
            take("ADDED", item)
        if take == self._take_pod:
            for uid in self._pods.keys() - present:
                self._end(uid)
        return str(listed["metadata"]["resourceVersion"])

    async def _follow(self, path: str, take: _Take, version: str) -> None:
        """Watch for ever; an API server that is away for a while is waited for."""
        while True:
            try:
                version = version or await self._list(path, take)
                async with self._api.watch(path, query={"resourceVersion": version}) as events:
                    async for event in events:
                        version = event["object"]["metadata"]["resourceVersion"]
                        if event["type"] != "BOOKMARK":
                            take(event["type"], event["object"])
            except errors.WatchExpired:
                version = ""
            except errors.TemporaryError:
                await asyncio.sleep(_PAUSE_SECONDS)

    def _take_node(self, change: str, node: JsonObject) -> None:
        name = node["metadata"]["name"]
        if change == "DELETED":
            self._nodes.pop(name, None)
            return
        self._nodes[name] = node
        taints = {taint["key"] for taint in node["spec"].get("taints") or []}
        if (
            node["spec"].get("unschedulable")
            or not taints.isdisjoint(_OUR_TAINTS)
            or objects.condition(node, "Drained") is not None
        ):
            self._marked.add(name)

    def _take_pod(self, change: str, pod: JsonObject) -> None:
        metadata, spec = pod["metadata"], pod["spec"]
        uid = metadata["uid"]
        known = self._pods.get(uid)
        granted = metadata.get("deletionGracePeriodSeconds")
        if known is not None and known.granted_seconds is not None:
            granted = known.granted_seconds
        self._pods[uid] = PodLife(
            namespace=metadata["namespace"],
            name=metadata["name"],
            uid=uid,
            app=(metadata.get("labels") or {}).get("app", ""),
            node=spec.get("nodeName", ""),
            grace_seconds=spec["terminationGracePeriodSeconds"],
            granted_seconds=granted,
            is_healthy=objects.is_healthy(pod),
        )
        self._count(self._pods[uid])
        if change == "DELETED":
            self._end(uid)

    def _end(self, uid: str) -> None:
        self._pods[uid] = dataclasses.replace(self._pods[uid], is_gone=True, is_healthy=False)
        self._count(self._pods[uid])

    def _count(self, pod: PodLife) -> None:
        healthy = self._healthy[pod.app]
        if pod.is_healthy:
            healthy.add(pod.uid)
        else:
            healthy.discard(pod.uid)
        if pod.app in self._lowest:
            self._lowest[pod.app] = min(self._lowest[pod.app], len(healthy))
