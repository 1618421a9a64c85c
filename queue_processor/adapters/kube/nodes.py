"""Nodes: the view that we keep of them, and the four writes that we make."""

import datetime as dt
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping

import structlog

from queue_processor.adapters.kube.api import KubeApi
from queue_processor.adapters.kube.transport import JsonObject
from queue_processor.domain import identifiers, nodes
from queue_processor.domain.events import EventKind
from queue_processor.domain.identifiers import NodeName, ProviderId
from queue_processor.domain.nodes import (
    DrainProgress,
    Mark,
    NodeView,
    Taint,
    TaintEffect,
    UnmappedNode,
)
from queue_processor.domain.selectors import LabelSelector

_log = structlog.get_logger(__name__)

_ANNOTATIONS = (
    nodes.EVENT_ID_ANNOTATION,
    nodes.KIND_ANNOTATION,
    nodes.DEADLINE_ANNOTATION,
    nodes.CORDONED_ANNOTATION,
)

# https://github.com/kubernetes/enhancements/issues/5683
_IN_PROGRESS_CONDITION = "DrainInProgress"
_DRAINED_CONDITION = "Drained"
_CONDITION_MESSAGE_LIMIT = 1024

_NOT_A_NODE = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)
# Kubernetes writes the year 1 for "never"; beyond, arithmetic with moments would overflow.
_YEARS = range(2000, 9000)


class NodeReader:
    """Reads Node objects, and selects those that are ours."""

    def __init__(self, selector: LabelSelector) -> None:
        self._selector = selector

    def view_of(self, node: JsonObject) -> NodeView | None:
        """Return the view of a Node that is ours and on an EC2 instance that it names."""
        read = self.read(node)
        return read if isinstance(read, NodeView) else None

    def read(self, node: JsonObject) -> NodeView | UnmappedNode | None:
        """Read a Node; None when it is not on EC2, or not selected.

        A Node that has another shape costs itself, not a list or a watch.
        """
        try:
            return self._read(node)
        except _NOT_A_NODE as error:
            return _misshapen(node, error)

    def _read(self, node: JsonObject) -> NodeView | UnmappedNode | None:
        metadata, spec = node["metadata"], node.get("spec") or {}
        provider_id = ProviderId(spec.get("providerID") or "")
        labels: Mapping[str, str] = metadata.get("labels") or {}
        annotations: Mapping[str, str] = metadata.get("annotations") or {}
        if not self._selector.selects(labels):
            return None
        instance_id = identifiers.find_instance(provider_id, labels=labels, annotations=annotations)
        if instance_id is None and identifiers.is_outside_ec2(provider_id, labels=labels):
            return None
        taints = tuple(_taints(spec))
        if instance_id is None:
            is_new = any(taint.key == nodes.UNINITIALIZED_TAINT for taint in taints)
            cause = f"spec.providerID is {provider_id!r}" if provider_id else "no spec.providerID"
            return _unmapped(metadata, None if is_new else cause)
        ready = _ready_condition(node)
        is_ready = ready.get("status") == "True"
        return NodeView(
            name=NodeName(_text(metadata["name"])),
            uid=_text(metadata["uid"]),
            resource_version=_text(metadata["resourceVersion"]),
            instance_id=instance_id,
            is_ready=is_ready,
            is_unschedulable=bool(spec.get("unschedulable")),
            taints=taints,
            annotations={key: annotations[key] for key in _ANNOTATIONS if key in annotations},
            created_at=_moment(metadata.get("creationTimestamp")),
            last_heartbeat_at=_moment(ready.get("lastHeartbeatTime")),
            ready_since=_moment(ready.get("lastTransitionTime")) if is_ready else None,
            is_deleted=metadata.get("deletionTimestamp") is not None,
        )


class KubeNodes:
    """Nodes on the API server."""

    def __init__(
        self, api: KubeApi, *, reader: NodeReader, clock: Callable[[], dt.datetime]
    ) -> None:
        self._api = api
        self._reader = reader
        self._clock = clock

    async def all(self) -> AsyncIterator[NodeView | UnmappedNode]:
        """Yield every node that is, or may be, ours."""
        async for node in listed(self._api):
            read = self._reader.read(node)
            if read is not None:
                yield read

    async def read(self, name: NodeName) -> NodeView | None:
        return self._reader.view_of(await self._api.get(f"/api/v1/nodes/{name}"))

    async def mark(self, node: NodeView, mark: Mark) -> NodeView:
        annotations = {
            nodes.EVENT_ID_ANNOTATION: mark.event_id,
            nodes.KIND_ANNOTATION: mark.kind.value,
            nodes.DEADLINE_ANNOTATION: mark.deadline_at.isoformat(),
        }
        if not node.is_unschedulable:
            annotations[nodes.CORDONED_ANNOTATION] = "true"
        spec: JsonObject = {"unschedulable": True}
        if mark.has_taint:
            taint = Taint(key=nodes.taint_key(mark.taint), effect=mark.effect)
            spec["taints"] = _listed(node.tainted_with(taint))
        return await self._write(
            node,
            {
                "metadata": {
                    "annotations": annotations,
                    "labels": {nodes.EXCLUDE_FROM_LOAD_BALANCERS_LABEL: "true"},
                },
                "spec": spec,
            },
        )

    async def unmark(self, node: NodeView) -> NodeView:
        ours = {nodes.taint_key(kind) for kind in EventKind}
        taints = (taint for taint in node.taints if taint.key not in ours)
        spec: JsonObject = {"taints": _listed(taints)}
        if node.was_cordoned_by_us:
            spec["unschedulable"] = None
        return await self._write(
            node,
            {
                "metadata": {
                    "annotations": dict.fromkeys(_ANNOTATIONS),
                    "labels": {nodes.EXCLUDE_FROM_LOAD_BALANCERS_LABEL: None},
                },
                "spec": spec,
            },
        )

    async def report(
        self, node: NodeView, progress: DrainProgress, message: str, *, since: dt.datetime
    ) -> None:
        truths = {
            _IN_PROGRESS_CONDITION: progress is DrainProgress.IN_PROGRESS,
            _DRAINED_CONDITION: progress is DrainProgress.DRAINED,
        }
        written = {
            "reason": progress.value,
            "message": message[:_CONDITION_MESSAGE_LIMIT],
            "lastTransitionTime": _time(since),
            "lastHeartbeatTime": _time(self._clock()),
        }
        conditions = [
            {"type": kind, "status": "True" if holds else "False", **written}
            for kind, holds in truths.items()
        ]
        await self._api.patch(
            f"/api/v1/nodes/{node.name}/status", {"status": {"conditions": conditions}}
        )

    async def declare_out_of_service(self, node: NodeView) -> None:
        # https://kubernetes.io/docs/concepts/cluster-administration/node-shutdown/#non-graceful-node-shutdown
        taint = Taint(
            key=nodes.OUT_OF_SERVICE_TAINT, value="nodeshutdown", effect=TaintEffect.NO_EXECUTE
        )
        await self._write(
            node, {"metadata": {}, "spec": {"taints": _listed(node.tainted_with(taint))}}
        )

    async def _write(self, node: NodeView, patch: JsonObject) -> NodeView:
        patch["metadata"]["resourceVersion"] = node.resource_version
        written = await self._api.patch(f"/api/v1/nodes/{node.name}", patch)
        view = self._reader.view_of(written)
        return node if view is None else view


async def listed(api: KubeApi) -> AsyncIterator[JsonObject]:
    """Yield every Node, as the API server has it."""
    async for page in api.pages("/api/v1/nodes"):
        for node in page["items"]:
            yield node


def _misshapen(node: JsonObject, error: Exception) -> UnmappedNode | None:
    """Return a Node that cannot be read; None for one that cannot even be identified."""
    try:
        return _unmapped(node["metadata"], f"the Node object cannot be read: {error!r}")
    except _NOT_A_NODE:
        _log.warning("node_not_understood", node=str(node)[:200], error=repr(error))
        return None


def _unmapped(metadata: JsonObject, cause: str | None) -> UnmappedNode:
    return UnmappedNode(
        name=NodeName(_text(metadata["name"])),
        uid=_text(metadata["uid"]),
        resource_version=_text(metadata["resourceVersion"]),
        cause=cause,
    )


def _taints(spec: JsonObject) -> Iterator[Taint]:
    for taint in spec.get("taints") or []:
        yield Taint(
            key=_text(taint["key"]),
            effect=_text(taint["effect"]),
            value=taint.get("value"),
            added_at=taint.get("timeAdded"),
        )


def _ready_condition(node: JsonObject) -> JsonObject:
    """Return the condition Ready of a Node; empty when there is none."""
    conditions: list[JsonObject] = (node.get("status") or {}).get("conditions") or []
    return next((each for each in conditions if each["type"] == "Ready"), {})


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return value


def _moment(value: object) -> dt.datetime | None:
    """Read a timestamp; None for one that is missing, odd, or far from any real one."""
    try:
        moment = dt.datetime.fromisoformat(_text(value))
    except (TypeError, ValueError):
        return None
    if moment.tzinfo is None or moment.year not in _YEARS:
        return None
    return moment.astimezone(dt.UTC)


def _listed(taints: Iterable[Taint]) -> list[JsonObject]:
    """Taints as the API takes them.

    A patch, a strategic one too, replaces the whole list: the schema gives it no merge
    key. So every such write holds only for the version that it was made from.
    """
    return [
        {
            name: value
            for name, value in (
                ("key", taint.key),
                ("value", taint.value),
                ("effect", taint.effect),
                ("timeAdded", taint.added_at),
            )
            if value is not None
        }
        for taint in taints
    ]


def _time(moment: dt.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
