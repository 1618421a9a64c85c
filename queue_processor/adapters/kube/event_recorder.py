"""Kubernetes Events: written in the background, dropped rather than waited for."""

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
from queue_processor.observability.event_reasons import EventReason
from queue_processor.outbox import Outbox

_log = structlog.get_logger(__name__)

_COMPONENT = "queue-processor"
# Events about nodes are in the namespace `default`, because a Node is in none.
_NODE_EVENTS_NAMESPACE = "default"
_NOTE_BYTES = 1024
_NAME_LIMIT = 230
_WAITING_LIMIT = 1000
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

    def node_event(self, node: NodeView, reason: EventReason, note: str) -> None:
        # The UID of a node's Events is its name: that is where `kubectl describe` looks.
        regarding = {"kind": "Node", "name": node.name, "uid": node.name, "apiVersion": "v1"}
        self._record(_NODE_EVENTS_NAMESPACE, regarding, reason, note)

    def pod_event(self, pod: PodRef, reason: EventReason, note: str) -> None:
        regarding = {
            "kind": "Pod",
            "namespace": pod.namespace,
            "name": pod.name,
            "uid": pod.uid,
            "apiVersion": "v1",
        }
        self._record(pod.namespace, regarding, reason, note)

    async def run(self) -> None:
        """Write what is recorded, until cancelled."""
        await self._outbox.run()

    async def flush(self) -> None:
        """Return when everything recorded so far is written or dropped."""
        await self._outbox.flush()

    def _record(
        self, namespace: str, regarding: JsonObject, reason: EventReason, note: str
    ) -> None:
        event: JsonObject = {
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
            "note": note.encode()[:_NOTE_BYTES].decode(errors="ignore"),
            "type": reason.type.value,
            "regarding": regarding,
        }
        if not self._outbox.put(event):
            metrics.EVENTS_DROPPED.inc()

    async def _write(self, event: JsonObject) -> None:
        namespace = event["metadata"]["namespace"]
        try:
            await self._api.post(f"/apis/events.k8s.io/v1/namespaces/{namespace}/events", event)
        except errors.QueueProcessorError as error:
            metrics.EVENTS_DROPPED.inc()
            _log.info("event_not_written", reason=event["reason"], error=str(error))
