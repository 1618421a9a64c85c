"""The catalogue of metrics; no metric is defined anywhere else.

Label values come from enums only, so that the number of series is bounded. `make docs` generates
docs/metrics.md from this file.
"""

import enum
import http
import importlib.metadata
import platform

from queue_processor.domain.events import EventKind
from queue_processor.domain.notifications import DrainPhase
from queue_processor.domain.plan import InstanceResult, OutcomeKind
from queue_processor.domain.pods import EvictionAnswer
from queue_processor.observability.catalogue import Catalogue, Label

NO_KIND = "none"
"""The kind of a message without an event that we handle."""

NO_ANSWER = "none"
"""The code of a request without an answer: refused, broken off, or timed out."""

OTHER_CODE = "other"
"""The code of an answer whose status HTTP does not define."""


class SourceName(enum.StrEnum):
    """The names of the sources of events."""

    SQS = "sqs"
    NOTICES = "notices"


class ReceiveOutcome(enum.StrEnum):
    """The outcomes of a receive call."""

    MESSAGES = "messages"
    EMPTY = "empty"
    FAILED = "failed"


class ExtensionOutcome(enum.StrEnum):
    """The outcomes of a visibility extension."""

    EXTENDED = "extended"
    FAILED = "failed"
    LOST = "lost"


class HeartbeatOutcome(enum.StrEnum):
    """The outcomes of a heartbeat for a lifecycle action."""

    RECORDED = "recorded"
    FAILED = "failed"
    OVER = "over"


class DeletionCause(enum.StrEnum):
    """The causes for which a pod is deleted at a deadline."""

    REFUSED = "refused"
    API_SERVER = "api_server"


class LeadershipChange(enum.StrEnum):
    """The changes of leadership of this process."""

    ACQUIRED = "acquired"
    LOST = "lost"
    RELEASED = "released"


class Call(enum.StrEnum):
    """The calls that are retried."""

    CORDON = "cordon"
    UNCORDON = "uncordon"
    LIST_PODS = "list_pods"
    DELETE_POD = "delete_pod"
    COMPLETE_LIFECYCLE_ACTION = "complete_lifecycle_action"
    DELETE_MESSAGE = "delete_message"
    DEAD_LETTER_MESSAGE = "dead_letter_message"


class Method(enum.StrEnum):
    """The methods of requests; a watch is a GET that stays open."""

    GET = "get"
    POST = "post"
    PUT = "put"
    PATCH = "patch"
    DELETE = "delete"
    WATCH = "watch"


class NotificationOutcome(enum.StrEnum):
    """The outcomes of a notification."""

    DELIVERED = "delivered"
    FAILED = "failed"
    DROPPED = "dropped"


CATALOGUE = Catalogue("queue_processor")

_KIND = Label(name="kind", values=tuple(EventKind))
_KIND_OR_NONE = Label(name="kind", values=(*EventKind, NO_KIND))
_OUTCOME = Label(name="outcome", values=tuple(OutcomeKind))
_RESULT = Label(name="result", values=tuple(InstanceResult))
_DRAIN_RESULT = Label(
    name="result",
    values=(
        InstanceResult.DRAINED,
        InstanceResult.NODE_GONE,
        InstanceResult.PAST_DEADLINE,
        InstanceResult.GAVE_UP,
        InstanceResult.CANCELLED,
    ),
)
_ANSWER = Label(name="answer", values=tuple(answer.name.lower() for answer in EvictionAnswer))
_METHOD = Label(name="method", values=tuple(Method))
_CODE = Label(
    name="code",
    values=(*(str(status.value) for status in http.HTTPStatus), OTHER_CODE, NO_ANSWER),
    described="an HTTP status, `other` or `none`",
)

_SOURCE = Label(name="source", values=tuple(SourceName))

# The sources and their messages.

RECEIVE_CALLS = CATALOGUE.counter(
    "receive_calls",
    "Receive calls (for `sqs`, long polls of the queue), by source and outcome. The counter stands"
    " still while this process does not lead, has `sources.max_in_flight` messages in flight, or is"
    " stalled.",
    _SOURCE,
    Label(name="outcome", values=tuple(ReceiveOutcome)),
)
MESSAGES_RECEIVED = CATALOGUE.counter(
    "messages_received",
    "Messages and notices received, by source, including duplicates.",
    _SOURCE,
)
MESSAGES_RECEIVED_AGAIN = CATALOGUE.counter(
    "messages_received_again",
    "Messages received while they were in flight: their visibility timeout had expired.",
)
MESSAGES = CATALOGUE.counter(
    "messages",
    "Messages settled, by the kind of their event (`none`: no event that we handle) and by"
    " outcome.",
    _KIND_OR_NONE,
    _OUTCOME,
)
MESSAGES_NOT_SETTLED = CATALOGUE.counter(
    "messages_not_settled",
    "Messages whose outcome could not be carried out; they become visible again.",
)
MESSAGES_IN_FLIGHT = CATALOGUE.gauge("messages_in_flight", "Messages in flight.")
OLDEST_MESSAGE = CATALOGUE.gauge(
    "oldest_message_seconds",
    "Seconds since the oldest message in flight was sent; 0 if none is in flight.",
)
MESSAGES_WAITING = CATALOGUE.gauge(
    "messages_waiting",
    "Messages that wait to be received, by source: visible messages in the queue, as estimated by"
    " SQS, and notices on Nodes. The leader reads it every 30 s, other processes show 0.",
    _SOURCE,
)
VISIBILITY_EXTENSIONS = CATALOGUE.counter(
    "visibility_extensions",
    "Visibility extensions of messages in flight, by outcome; `lost`: the receipt handle is no"
    " longer valid.",
    Label(name="outcome", values=tuple(ExtensionOutcome)),
)
EVENT_AGE = CATALOGUE.histogram(
    "event_age_seconds",
    "Seconds from the event to its receipt from the queue.",
    _KIND,
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 1800, 3600, 21_600, 86_400),
)

# Nodes and pods.

NODES_INDEXED = CATALOGUE.gauge(
    "nodes_indexed", "Nodes in the node index, which maps instances to nodes."
)
NODES_UNMAPPED = CATALOGUE.gauge(
    "nodes_unmapped",
    "Nodes that name no EC2 instance. While there are any, an instance without a Node proves"
    " nothing: it may be one of theirs.",
)
NODES_DRAINING = CATALOGUE.gauge("nodes_draining", "Nodes that are being cordoned or drained.")
EVENT_TO_CORDON = CATALOGUE.histogram(
    "event_to_cordon_seconds",
    "Seconds from the event to the cordoned node.",
    _KIND,
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 1800),
)
DRAIN_DURATION = CATALOGUE.histogram(
    "drain_duration_seconds",
    "Seconds from the cordon to the end of the drain, by the kind of the event that started it.",
    _KIND,
    _DRAIN_RESULT,
    buckets=(0.5, 1, 2.5, 5, 10, 30, 60, 90, 120, 300, 600, 1800, 3600),
)
DEADLINE_MARGIN = CATALOGUE.histogram(
    "deadline_margin_seconds",
    "Seconds left until a hard deadline when the drain ended; 0 for a drain that missed it.",
    _KIND,
    buckets=(0, 1, 5, 10, 20, 30, 60, 90, 120, 300, 900, 3600),
)
INSTANCES = CATALOGUE.counter(
    "instances",
    "Instances in events, by kind and by instance result.",
    _KIND,
    _RESULT,
)
EVICTIONS = CATALOGUE.counter(
    "evictions",
    "Eviction requests, by answer. `blocked`: a disruption budget does not allow the eviction yet;"
    " `busy`: any other temporary error.",
    _ANSWER,
)
PODS_DELETED_AT_DEADLINE = CATALOGUE.counter(
    "pods_deleted_at_deadline",
    "Pods deleted before a hard deadline: their evictions were `refused`, or the `api_server` was"
    " the limit, so that no slot was free in time or deletions had to begin early.",
    _KIND,
    Label(name="cause", values=tuple(DeletionCause)),
)
PODS_LEFT = CATALOGUE.counter(
    "pods_left",
    "Pods still on the node when its drain ended, by instance result.",
    _KIND,
    _DRAIN_RESULT,
)
NODES_OUT_OF_SERVICE = CATALOGUE.counter(
    "nodes_declared_out_of_service",
    "Dead nodes that got the out-of-service taint, so that the control plane frees their pods and"
    " volumes.",
)

# Lifecycle actions of Auto Scaling groups.

LIFECYCLE_ACTIONS_COMPLETED = CATALOGUE.counter(
    "lifecycle_actions_completed",
    "Lifecycle actions completed, or already ended, by the kind of their event.",
    _KIND,
)
LIFECYCLE_ACTIONS_LEFT = CATALOGUE.counter(
    "lifecycle_actions_left",
    "Lifecycle actions of instances that never joined and whose Auto Scaling group nothing shows to"
    " be this cluster's: they are left to the owner of the group.",
)
HEARTBEATS = CATALOGUE.counter(
    "lifecycle_heartbeats",
    "Heartbeats for lifecycle actions, by outcome.",
    Label(name="outcome", values=tuple(HeartbeatOutcome)),
)

# The process and its requests.

IS_LEADER = CATALOGUE.gauge(
    "is_leader",
    "1 if this process is the leader, 0 if it is a standby; always 1 without leader election.",
)
LEADERSHIP_CHANGES = CATALOGUE.counter(
    "leadership_changes",
    "Leadership changes of this process: it acquired, lost or released the Lease.",
    Label(name="change", values=tuple(LeadershipChange)),
)
CALLS_RETRIED = CATALOGUE.counter(
    "calls_retried",
    "Retries after temporary errors, by call.",
    Label(name="call", values=tuple(Call)),
)
KUBERNETES_REQUESTS = CATALOGUE.counter(
    "kubernetes_requests",
    "Requests to the Kubernetes API, by method and HTTP status; `none`: no answer. The requests of"
    " kopf, which watches nodes, are not included.",
    _METHOD,
    _CODE,
    preset=False,
)
KUBERNETES_REQUEST_SECONDS = CATALOGUE.histogram(
    "kubernetes_request_seconds",
    "Seconds until a request to the Kubernetes API was answered; for a watch, until it started.",
    _METHOD,
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20),
)
REQUESTS_IN_FLIGHT_LIMIT = CATALOGUE.gauge(
    "requests_in_flight_limit",
    "The most requests to the Kubernetes API that may run at once; learned from answers, unless"
    " `kubernetes.requests_in_flight` is set.",
)
EVENTS_DROPPED = CATALOGUE.counter(
    "kubernetes_events_dropped",
    "Kubernetes Events that could not be written, or were dropped because too many were waiting.",
)
WEBHOOK_NOTIFICATIONS = CATALOGUE.counter(
    "webhook_notifications",
    "Notifications to webhooks about the start and the end of drains, by outcome. `failed`: all"
    " attempts failed, or the receiver refused it; `dropped`: too many were waiting.",
    Label(name="phase", values=tuple(DrainPhase)),
    Label(name="outcome", values=tuple(NotificationOutcome)),
)
BUILD = CATALOGUE.info(
    "build",
    "The versions of the program and of Python.",
    version=importlib.metadata.version("queue-processor"),
    python=platform.python_version(),
)
