"""The metrics of the program: all of them, and no metric anywhere else.

Label values come from enums only, so that the number of series is bounded.
docs/metrics.md is made from this file.
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
"""The kind of a message that holds no event for us."""

NO_ANSWER = "none"
"""The code of a request that got no answer: refused, cut off, or not in time."""

OTHER_CODE = "other"
"""The code of an answer whose status is none that HTTP knows."""


class Receive(enum.StrEnum):
    """How a receive ended."""

    MESSAGES = "messages"
    EMPTY = "empty"
    FAILED = "failed"


class Extension(enum.StrEnum):
    """What became of an attempt to keep a message invisible."""

    EXTENDED = "extended"
    FAILED = "failed"
    LOST = "lost"


class Heartbeat(enum.StrEnum):
    """What became of a heartbeat of a lifecycle action."""

    RECORDED = "recorded"
    FAILED = "failed"
    OVER = "over"


class LeadershipChange(enum.StrEnum):
    """How a process comes to lead, and how that ends."""

    ACQUIRED = "acquired"
    LOST = "lost"
    RELEASED = "released"


class Call(enum.StrEnum):
    """A call that is repeated until it succeeds, or is not worth it any more."""

    CORDON = "cordon"
    UNCORDON = "uncordon"
    LIST_PODS = "list_pods"
    DELETE_POD = "delete_pod"
    COMPLETE_LIFECYCLE_ACTION = "complete_lifecycle_action"
    DELETE_MESSAGE = "delete_message"
    DEAD_LETTER_MESSAGE = "dead_letter_message"


class Method(enum.StrEnum):
    """How a request is made; a watch is a GET that stays open."""

    GET = "get"
    POST = "post"
    PUT = "put"
    PATCH = "patch"
    DELETE = "delete"
    WATCH = "watch"


class WebhookDelivery(enum.StrEnum):
    """What became of a notice to a webhook."""

    DELIVERED = "delivered"
    FAILED = "failed"
    DROPPED = "dropped"


CATALOGUE = Catalogue("queue_processor")

_KIND = Label(name="kind", values=tuple(EventKind))
_KIND_OR_NONE = Label(name="kind", values=(*EventKind, NO_KIND))
_OUTCOME = Label(name="outcome", values=tuple(OutcomeKind))
_ENDING = Label(name="result", values=tuple(InstanceResult))
_DRAIN_ENDING = Label(
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

# The queue and its messages.

RECEIVE_CALLS = CATALOGUE.counter(
    "receive_calls",
    "Long polls of the queue, by how they ended. None at all: this process does not lead, has"
    " as many messages in hand as it may, or is stuck.",
    Label(name="outcome", values=tuple(Receive)),
)
MESSAGES_RECEIVED = CATALOGUE.counter(
    "messages_received", "Messages received, copies and repeated receipts included."
)
MESSAGES_RECEIVED_AGAIN = CATALOGUE.counter(
    "messages_received_again",
    "Messages received while they were in hand already: their visibility had run out.",
)
MESSAGES = CATALOGUE.counter(
    "messages",
    "Messages brought to an outcome, by the kind of their event (`none` for one that holds no"
    " event for us) and by outcome.",
    _KIND_OR_NONE,
    _OUTCOME,
)
MESSAGES_NOT_SETTLED = CATALOGUE.counter(
    "messages_not_settled",
    "Messages whose outcome could not be carried out to the end; the queue gives them out again.",
)
MESSAGES_IN_FLIGHT = CATALOGUE.gauge("messages_in_flight", "Messages in hand now.")
OLDEST_MESSAGE = CATALOGUE.gauge(
    "oldest_message_seconds", "Seconds since the oldest message in hand was sent; 0 with none."
)
MESSAGES_WAITING = CATALOGUE.gauge(
    "queue_messages_waiting",
    "Messages that wait in the queue for somebody to receive them, as SQS estimates it; asked"
    " every 30 s by the process that leads, 0 elsewhere.",
)
VISIBILITY_EXTENSIONS = CATALOGUE.counter(
    "visibility_extensions",
    "Attempts to keep a message in hand invisible, by what became of them; `lost` is a message"
    " that the queue has taken back.",
    Label(name="outcome", values=tuple(Extension)),
)
EVENT_AGE = CATALOGUE.histogram(
    "event_age_seconds",
    "Seconds from the event to its receipt.",
    _KIND,
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 1800, 3600, 21_600, 86_400),
)

# Nodes and pods.

NODES_INDEXED = CATALOGUE.gauge(
    "nodes_indexed", "Nodes in the index, by which instances are found."
)
NODES_DRAINING = CATALOGUE.gauge("nodes_draining", "Nodes that are cordoned or drained right now.")
EVENT_TO_CORDON = CATALOGUE.histogram(
    "event_to_cordon_seconds",
    "Seconds from the event to the cordoned node.",
    _KIND,
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 1800),
)
DRAIN_DURATION = CATALOGUE.histogram(
    "drain_duration_seconds",
    "Seconds from the cordon to the end of the drain, by the kind of the event that began it.",
    _KIND,
    _DRAIN_ENDING,
    buckets=(0.5, 1, 2.5, 5, 10, 30, 60, 90, 120, 300, 600, 1800, 3600),
)
DEADLINE_MARGIN = CATALOGUE.histogram(
    "deadline_margin_seconds",
    "Seconds that were left until a hard deadline when the drain ended; 0 for a drain that did"
    " not make it.",
    _KIND,
    buckets=(0, 1, 5, 10, 20, 30, 60, 90, 120, 300, 900, 3600),
)
INSTANCES = CATALOGUE.counter(
    "instances",
    "Instances that events named, by kind and by how the work on them ended.",
    _KIND,
    _ENDING,
)
EVICTIONS = CATALOGUE.counter(
    "evictions",
    "Evictions asked for, by answer. `blocked` is a disruption budget that says not yet; `busy`"
    " stands for every failure that is worth another try.",
    _ANSWER,
)
PODS_OVERRIDDEN = CATALOGUE.counter(
    "pods_deleted_at_deadline",
    "Pods deleted right before a hard deadline, because their evictions were refused until then.",
    _KIND,
)
PODS_LEFT = CATALOGUE.counter(
    "pods_left",
    "Pods that were still there when the drain of their node ended, by how it ended.",
    _KIND,
    _DRAIN_ENDING,
)
NODES_OUT_OF_SERVICE = CATALOGUE.counter(
    "nodes_declared_out_of_service",
    "Dead nodes that got the out-of-service taint, so that the control plane frees their pods.",
)

# Lifecycle actions of Auto Scaling groups.

LIFECYCLE_ACTIONS_COMPLETED = CATALOGUE.counter(
    "lifecycle_actions_completed",
    "Lifecycle actions completed, or found to be over, by the kind of their event.",
    _KIND,
)
HEARTBEATS = CATALOGUE.counter(
    "lifecycle_heartbeats",
    "Heartbeats of lifecycle actions, by what became of them.",
    Label(name="outcome", values=tuple(Heartbeat)),
)

# The process, and what it asks of others.

IS_LEADER = CATALOGUE.gauge(
    "is_leader",
    "1 while this process works, 0 while it stands by; without leader election always 1.",
)
LEADERSHIP_CHANGES = CATALOGUE.counter(
    "leadership_changes",
    "How often this process came to lead, lost the Lease, or released it in good order.",
    Label(name="change", values=tuple(LeadershipChange)),
)
CALLS_RETRIED = CATALOGUE.counter(
    "calls_retried",
    "Calls repeated after a failure, by what they were for.",
    Label(name="call", values=tuple(Call)),
)
KUBERNETES_REQUESTS = CATALOGUE.counter(
    "kubernetes_requests",
    "Requests to the Kubernetes API, by method and by the HTTP status of the answer; `none` for a"
    " request that got no answer. The watch on nodes, which kopf keeps, is not among them.",
    _METHOD,
    _CODE,
    begins=False,
)
KUBERNETES_REQUEST_SECONDS = CATALOGUE.histogram(
    "kubernetes_request_seconds",
    "Seconds until a request to the Kubernetes API was answered; of a watch, until it began.",
    _METHOD,
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20),
)
EVENTS_DROPPED = CATALOGUE.counter(
    "kubernetes_events_dropped",
    "Kubernetes Events that could not be written, or were too many to be kept until they were.",
)
WEBHOOK_NOTIFICATIONS = CATALOGUE.counter(
    "webhook_notifications",
    "Notices to webhooks about the start and the end of drains, by what became of them: `failed`"
    " was refused or not answered as often as it is tried, `dropped` found no room to wait in.",
    Label(name="moment", values=tuple(DrainPhase)),
    Label(name="outcome", values=tuple(WebhookDelivery)),
)
BUILD = CATALOGUE.info(
    "build",
    "The version of the program, and of the Python that runs it.",
    version=importlib.metadata.version("queue-processor"),
    python=platform.python_version(),
)
