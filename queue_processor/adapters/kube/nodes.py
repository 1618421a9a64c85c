"""Nodes: the view that we keep of them, and the writes that we make."""

import datetime as dt
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

import structlog

from queue_processor.adapters.kube import marks
from queue_processor.adapters.kube.api import JSON_PATCH, KubeApi, ready_condition
from queue_processor.adapters.kube.transport import JsonObject
from queue_processor.domain import errors, identifiers, json_fields, nodes
from queue_processor.domain.holds import Hold
from queue_processor.domain.identifiers import NodeName, ProviderId
from queue_processor.domain.nodes import (
    DrainProgress,
    Mark,
    NodeView,
    Taint,
    TaintEffect,
    UnmappedNode,
    WrittenNotice,
)
from queue_processor.domain.notices import ANNOTATION_PREFIX
from queue_processor.domain.selectors import LabelSelector

_log = structlog.get_logger(__name__)

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

    def view_of_any(self, node: JsonObject) -> NodeView | None:
        """Return the view of a Node, ours or not, that is on an EC2 instance that it names."""
        read = self.read_any(node)
        return read if isinstance(read, NodeView) else None

    def read(self, node: JsonObject) -> NodeView | UnmappedNode | None:
        """Read a Node; None when it is not on EC2, or not selected.

        A Node that has another shape costs itself, not a list or a watch.
        """
        try:
            is_selected = self._selector.selects(node["metadata"].get("labels") or {})
        except _NOT_A_NODE as error:
            return _misshapen(node, error)
        return self.read_any(node) if is_selected else None

    def read_any(self, node: JsonObject) -> NodeView | UnmappedNode | None:
        """Read a Node, selected or not; None when it is not on EC2."""
        try:
            return self._read(node)
        except _NOT_A_NODE as error:
            return _misshapen(node, error)

    def _read(self, node: JsonObject) -> NodeView | UnmappedNode | None:
        metadata, spec = node["metadata"], node.get("spec") or {}
        provider_id = ProviderId(spec.get("providerID") or "")
        labels: Mapping[str, str] = metadata.get("labels") or {}
        annotations: Mapping[str, str] = metadata.get("annotations") or {}
        instance_id = identifiers.find_instance(provider_id, labels=labels, annotations=annotations)
        if instance_id is None and identifiers.is_outside_ec2(provider_id, labels=labels):
            return None
        taints = tuple(_taints(spec))
        if instance_id is None:
            is_new = any(taint.key == nodes.UNINITIALIZED_TAINT for taint in taints)
            cause = f"spec.providerID is {provider_id!r}" if provider_id else "no spec.providerID"
            return _unmapped(metadata, None if is_new else cause)
        held = marks.read_holds(annotations, frozenset(taint.key for taint in taints))
        ready = ready_condition(node)
        is_ready = ready.get("status") == "True"
        return NodeView(
            name=NodeName(_text(metadata["name"])),
            uid=_text(metadata["uid"]),
            resource_version=_text(metadata["resourceVersion"]),
            instance_id=instance_id,
            is_ready=is_ready,
            is_unschedulable=bool(spec.get("unschedulable")),
            taints=taints,
            created_at=_moment(metadata.get("creationTimestamp")),
            last_heartbeat_at=_moment(ready.get("lastHeartbeatTime")),
            ready_since=_moment(ready.get("lastTransitionTime")) if is_ready else None,
            is_deleted=metadata.get("deletionTimestamp") is not None,
            is_excluded=nodes.EXCLUDE_FROM_LOAD_BALANCERS_LABEL in labels,
            holds=held.holds,
            has_damaged_holds=held.are_damaged,
            is_cordoned_by_us=nodes.CORDONED_ANNOTATION in annotations,
            is_excluded_by_us=nodes.EXCLUDED_ANNOTATION in annotations,
            is_out_of_service_by_us=nodes.OUT_OF_SERVICE_ANNOTATION in annotations,
            notices=_notices(annotations),
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
        return self._reader.view_of_any(await self._api.get(f"/api/v1/nodes/{name}"))

    async def mark(self, node: NodeView, mark: Mark) -> NodeView:
        return await self._write(node, marks.patch_of(mark, node))

    async def report(
        self,
        node: NodeView,
        progress: DrainProgress,
        message: str,
        *,
        since: dt.datetime,
        held: Sequence[Hold] = (),
    ) -> NodeView:
        truths = {
            _IN_PROGRESS_CONDITION: progress is DrainProgress.IN_PROGRESS,
            _DRAINED_CONDITION: progress is DrainProgress.DRAINED,
        }
        written = {
            "reason": progress.value,
            "message": message[:_CONDITION_MESSAGE_LIMIT],
            "lastTransitionTime": json_fields.iso_time(since),
            "lastHeartbeatTime": json_fields.iso_time(self._clock()),
        }
        conditions = [
            {"type": kind, "status": "True" if holds else "False", **written}
            for kind, holds in truths.items()
        ]
        patch: JsonObject = {"status": {"conditions": conditions}}
        if held:
            # A write of the status may change annotations as well, as the kubelet does.
            patch["metadata"] = {"uid": node.uid, "annotations": marks.holds_annotation(held)}
        written = await self._api.patch(f"/api/v1/nodes/{node.name}/status", patch)
        return self._reader.view_of_any(written) or node

    async def remove_notice(self, node: NodeView, notice: WrittenNotice) -> NodeView:
        path = f"/api/v1/nodes/{node.name}"
        # https://www.rfc-editor.org/rfc/rfc6901#section-3
        place = notice.annotation.replace("~", "~0").replace("/", "~1")
        place = f"/metadata/annotations/{place}"
        operations: list[JsonObject] = [
            {"op": "test", "path": "/metadata/uid", "value": node.uid},
            {"op": "test", "path": place, "value": notice.value},
            {"op": "remove", "path": place},
        ]
        try:
            written = await self._api.patch(path, operations, content_type=JSON_PATCH)
        except errors.PermanentError:
            # A test has failed, or nobody may remove it. Only the Node shows which.
            current = await self.read(node.name)
            if current is None or current.uid != node.uid:
                raise errors.NotFound(f"the Node {node.name} is another one now") from None
            if notice in current.notices:
                raise
            return current
        return self._reader.view_of_any(written) or node

    async def declare_out_of_service(self, node: NodeView) -> NodeView:
        # https://kubernetes.io/docs/concepts/cluster-administration/node-shutdown/#non-graceful-node-shutdown
        taint = Taint(
            key=nodes.OUT_OF_SERVICE_TAINT, value="nodeshutdown", effect=TaintEffect.NO_EXECUTE
        )
        others = (each for each in node.taints if each.key != taint.key)
        return await self._write(
            node,
            {
                "metadata": {"annotations": {nodes.OUT_OF_SERVICE_ANNOTATION: "true"}},
                "spec": {"taints": marks.taints_of((*others, taint))},
            },
        )

    async def _write(self, node: NodeView, patch: JsonObject) -> NodeView:
        patch["metadata"]["resourceVersion"] = node.resource_version
        written = await self._api.patch(f"/api/v1/nodes/{node.name}", patch)
        return self._reader.view_of_any(written) or node


async def listed(api: KubeApi) -> AsyncIterator[JsonObject]:
    """Yield every Node, as the API server has it: a consistent read, not one from its cache.

    Raises:
        TemporaryError: The answer is not a list, so it does not show that there are no nodes.
    """
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


def _notices(annotations: Mapping[str, str]) -> tuple[WrittenNotice, ...]:
    return tuple(
        WrittenNotice(name, _text(value))
        for name, value in annotations.items()
        if name.startswith(ANNOTATION_PREFIX)
    )


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
