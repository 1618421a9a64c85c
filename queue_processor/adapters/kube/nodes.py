"""Nodes: the view that we keep of them, and the four writes that we make."""

import datetime as dt
from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from queue_processor.adapters.kube import marks
from queue_processor.adapters.kube.api import KubeApi
from queue_processor.adapters.kube.transport import JsonObject
from queue_processor.domain import identifiers, json_fields, nodes
from queue_processor.domain.holds import Hold
from queue_processor.domain.identifiers import NodeName, ProviderId
from queue_processor.domain.nodes import DrainProgress, Mark, NodeView, Taint, TaintEffect
from queue_processor.domain.selectors import LabelSelector

# https://github.com/kubernetes/enhancements/issues/5683
_IN_PROGRESS_CONDITION = "DrainInProgress"
_DRAINED_CONDITION = "Drained"
_CONDITION_MESSAGE_LIMIT = 1024


class NodeReader:
    """Reads Node objects, and selects those that are ours."""

    def __init__(self, selector: LabelSelector) -> None:
        self._selector = selector

    def view_of(self, node: JsonObject) -> NodeView | None:
        """Return the view of a Node; None when it is not an EC2 instance, or not selected."""
        if not self._selector.selects(node["metadata"].get("labels") or {}):
            return None
        return self.view_of_any(node)

    def view_of_any(self, node: JsonObject) -> NodeView | None:
        """Return the view of a Node, selected or not; None when it is not an EC2 instance."""
        metadata, spec = node["metadata"], node.get("spec", {})
        instance_id = identifiers.instance_of(ProviderId(spec.get("providerID", "")))
        if instance_id is None:
            return None
        status: JsonObject = node.get("status") or {}
        conditions = status.get("conditions") or []
        ready: JsonObject = next((each for each in conditions if each["type"] == "Ready"), {})
        is_ready = ready.get("status") == "True"
        annotations: Mapping[str, str] = metadata.get("annotations") or {}
        taints = tuple(
            Taint(
                key=taint["key"],
                effect=taint["effect"],
                value=taint.get("value"),
                added_at=taint.get("timeAdded"),
            )
            for taint in spec.get("taints") or []
        )
        taint_keys = frozenset(taint.key for taint in taints)
        held = marks.read_holds(annotations, taint_keys)
        return NodeView(
            name=NodeName(metadata["name"]),
            uid=metadata["uid"],
            resource_version=metadata["resourceVersion"],
            instance_id=instance_id,
            is_ready=is_ready,
            is_unschedulable=bool(spec.get("unschedulable")),
            taints=taints,
            created_at=_moment(metadata.get("creationTimestamp")),
            last_heartbeat_at=_moment(ready.get("lastHeartbeatTime")),
            ready_since=_moment(ready.get("lastTransitionTime")) if is_ready else None,
            is_shut_down=nodes.SHUTDOWN_TAINT in taint_keys,
            is_deleted="deletionTimestamp" in metadata,
            is_excluded=nodes.EXCLUDE_FROM_LOAD_BALANCERS_LABEL in (metadata.get("labels") or {}),
            holds=held.holds,
            has_damaged_holds=held.are_damaged,
            is_cordoned_by_us=nodes.CORDONED_ANNOTATION in annotations,
            is_excluded_by_us=nodes.EXCLUDED_ANNOTATION in annotations,
            is_out_of_service_by_us=nodes.OUT_OF_SERVICE_ANNOTATION in annotations,
        )


class KubeNodes:
    """Nodes on the API server."""

    def __init__(
        self, api: KubeApi, *, reader: NodeReader, clock: Callable[[], dt.datetime]
    ) -> None:
        self._api = api
        self._reader = reader
        self._clock = clock

    async def all(self) -> AsyncIterator[NodeView]:
        """Yield every node that is ours."""
        async for node in listed(self._api):
            view = self._reader.view_of(node)
            if view is not None:
                yield view

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
        patch: JsonObject = {"status": {"conditions": conditions}}
        if held:
            # A write of the status may change annotations as well, as the kubelet does.
            patch["metadata"] = {"uid": node.uid, "annotations": marks.holds_annotation(held)}
        await self._api.patch(f"/api/v1/nodes/{node.name}/status", patch)

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
        view = self._reader.view_of_any(written)
        return node if view is None else view


async def listed(api: KubeApi) -> AsyncIterator[JsonObject]:
    """Yield every Node, as the API server has it."""
    async for page in api.pages("/api/v1/nodes"):
        for node in page["items"]:
            yield node


def _moment(text: object) -> dt.datetime | None:
    """Read a time of the API; None for what is not one."""
    return json_fields.read_time(text) if isinstance(text, str) else None


def _time(moment: dt.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
