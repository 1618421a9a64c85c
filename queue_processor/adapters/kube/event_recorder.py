"""Kubernetes Events: written in the background, dropped rather than waited for.

In a storm nobody reads Events, and each one takes the place of an eviction. So they wait while
evictions do (`hold_back`). What waits about one node becomes one Event where that loses nothing:
the end of a drain also says how it began.
"""

import asyncio
import datetime as dt
import uuid
from collections.abc import Callable

import structlog

from queue_processor.adapters.kube.api import KubeApi
from queue_processor.adapters.kube.transport import JsonObject
from queue_processor.domain import errors
from queue_processor.domain.nodes import NodeView
from queue_processor.domain.pods import PodRef
from queue_processor.observability import metrics
from queue_processor.observability.event_reasons import EventReason, EventType
from queue_processor.outbox import Outbox

_log = structlog.get_logger(__name__)

_COMPONENT = "queue-processor"
# Events about nodes are in the namespace `default`, because a Node is in none.
_NODE_EVENTS_NAMESPACE = "default"
_NOTE_BYTES = 1024
_NAME_LIMIT = 230
# Some thousand nodes in one storm, with an Event each.
_WAITING_LIMIT = 5000
_WRITERS = 4


class KubeEventRecorder:
    """Writes Events about nodes and pods; `run` has to be running for that."""

    def __init__(self, api: KubeApi, *, identity: str, clock: Callable[[], dt.datetime]) -> None:
        self._api = api
        self._identity = identity
        self._clock = clock
        self._outbox: Outbox[JsonObject] = Outbox(
            self._write, name="events", limit=_WAITING_LIMIT, senders=_WRITERS
        )
        self._may_write = asyncio.Event()
        self._may_write.set()
        # The newest Event about each node that is not being written yet.
        self._newest: dict[str, JsonObject] = {}

    def node_event(self, node: NodeView, reason: EventReason, note: str) -> None:
        # The UID of a node's Events is its name: that is where `kubectl describe` looks.
        regarding = {"kind": "Node", "name": node.name, "uid": node.name, "apiVersion": "v1"}
        event = self._event(_NODE_EVENTS_NAMESPACE, regarding, reason, note)
        waiting = None if self._may_write.is_set() else self._newest.get(node.name)
        if waiting is not None and waiting["type"] == EventType.NORMAL:
            event["note"] = _shortened(f"{note}; before: {waiting['reason']}, {waiting['note']}")
            waiting.update(event)
        elif self._put(event):
            self._newest[node.name] = event

    def pod_event(self, pod: PodRef, reason: EventReason, note: str) -> None:
        regarding = {
            "kind": "Pod",
            "namespace": pod.namespace,
            "name": pod.name,
            "uid": pod.uid,
            "apiVersion": "v1",
        }
        self._put(self._event(pod.namespace, regarding, reason, note))

    def hold_back(self, *, is_busy: bool) -> None:
        if is_busy:
            self._may_write.clear()
        else:
            self._may_write.set()

    async def run(self) -> None:
        """Write what is recorded, until cancelled."""
        await self._outbox.run()

    async def flush(self) -> None:
        """Return when everything recorded so far is written or dropped."""
        await self._outbox.flush()

    def _event(
        self, namespace: str, regarding: JsonObject, reason: EventReason, note: str
    ) -> JsonObject:
        return {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {
                # Named here, and not by the server: a write that is repeated stays one Event.
                "name": f"{regarding['name'][:_NAME_LIMIT]}.{uuid.uuid4().hex[:16]}",
                "namespace": namespace,
            },
            "eventTime": self._clock().strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "reportingController": _COMPONENT,
            "reportingInstance": self._identity[:128],
            "action": reason.name,
            "reason": reason.name,
            "note": _shortened(note),
            "type": reason.type.value,
            "regarding": regarding,
        }

    def _put(self, event: JsonObject) -> bool:
        is_waiting = self._outbox.put(event)
        if not is_waiting:
            metrics.EVENTS_DROPPED.inc()
        return is_waiting

    async def _write(self, event: JsonObject) -> None:
        await self._may_write.wait()
        name, namespace = event["regarding"]["name"], event["metadata"]["namespace"]
        if self._newest.get(name) is event:
            del self._newest[name]
        try:
            await self._api.post(f"/apis/events.k8s.io/v1/namespaces/{namespace}/events", event)
        except errors.QueueProcessorError as error:
            metrics.EVENTS_DROPPED.inc()
            _log.info("event_not_written", reason=event["reason"], error=str(error))


def _shortened(note: str) -> str:
    return note.encode()[:_NOTE_BYTES].decode(errors="ignore")
