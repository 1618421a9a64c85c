"""The metrics catalogue: every metric of the program, and no metric anywhere else.

Label values come from enums only, so that the number of series is bounded.
"""

from prometheus_client import Counter, Gauge, Histogram

_PREFIX = "queue_processor"
_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 1800)
_MARGIN_SECONDS = (0, 1, 5, 10, 20, 30, 60, 90, 120, 300, 900, 3600)

MESSAGES = Counter(
    f"{_PREFIX}_messages",
    "Messages settled, by the kind of their event and by outcome.",
    ("kind", "outcome"),
)
MESSAGES_RECEIVED = Counter(f"{_PREFIX}_messages_received", "Messages received, copies included.")
MESSAGES_IN_FLIGHT = Gauge(f"{_PREFIX}_messages_in_flight", "Messages in hand now.")
INSTANCES = Counter(
    f"{_PREFIX}_instances",
    "Instances that events named, by kind and by how the work on them ended.",
    ("kind", "ending"),
)
EVICTIONS = Counter(f"{_PREFIX}_evictions", "Answers to evictions.", ("answer",))
PODS_OVERRIDDEN = Counter(
    f"{_PREFIX}_pods_deleted_at_deadline", "Pods deleted at a deadline against their budget."
)
EVENT_AGE = Histogram(
    f"{_PREFIX}_event_age_seconds",
    "From the event to its receipt.",
    ("kind",),
    buckets=_SECONDS,
)
EVENT_TO_CORDON = Histogram(
    f"{_PREFIX}_event_to_cordon_seconds",
    "From the event to the cordoned node.",
    ("kind",),
    buckets=_SECONDS,
)
DRAIN_DURATION = Histogram(
    f"{_PREFIX}_drain_duration_seconds",
    "From the cordon to the end of the drain.",
    ("ending",),
    buckets=_SECONDS,
)
DEADLINE_MARGIN = Histogram(
    f"{_PREFIX}_deadline_margin_seconds",
    "What was left until a hard deadline when the drain ended; 0 for a drain that did not make it.",
    ("kind",),
    buckets=_MARGIN_SECONDS,
)
IS_LEADER = Gauge(f"{_PREFIX}_leader", "1 while this process works, 0 while it stands by.")
NODES_INDEXED = Gauge(f"{_PREFIX}_nodes_indexed", "Nodes in the index.")
OLDEST_MESSAGE = Gauge(
    f"{_PREFIX}_oldest_message_seconds", "Age of the oldest message in hand; 0 with none."
)
EVENTS_DROPPED = Counter(
    f"{_PREFIX}_kubernetes_events_dropped", "Kubernetes Events that could not be written."
)
