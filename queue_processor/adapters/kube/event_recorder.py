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
from queue_processor.outbox import Outbox

_log = structlog.get_logger(__name__)

_COMPONENT = "queue-processor"
# Events about nodes lie in the namespace `default`, because a Node lies in none.
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

    def node_event(self, node: NodeView, reason: str, message: str, *, is_warning: bool) -> None:
        """Tell something about a node."""
        # The UID of a node's events is its name: that is where `kubectl describe` looks.
        regarding = {"kind": "Node", "name": node.name, "uid": node.name, "apiVersion": "v1"}
        self._tell(_NODE_EVENTS_NAMESPACE, regarding, reason, message, is_warning=is_warning)

    def pod_event(self, pod: PodRef, reason: str, message: str) -> None:
        """Warn about a pod."""
        regarding = {
            "kind": "Pod",
            "namespace": pod.namespace,
            "name": pod.name,
            "uid": pod.uid,
            "apiVersion": "v1",
        }
        self._tell(pod.namespace, regarding, reason, message, is_warning=True)

    async def run(self) -> None:
        """Write what is told, for ever."""
        await self._outbox.run()

    async def flush(self) -> None:
        """Return when everything told so far is written or dropped."""
        await self._outbox.flush()

    def _tell(
        self, namespace: str, regarding: JsonObject, reason: str, message: str, *, is_warning: bool
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
            "action": reason[:128],
            "reason": reason[:128],
            "note": message.encode()[:_NOTE_BYTES].decode(errors="ignore"),
            "type": "Warning" if is_warning else "Normal",
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
