"""Whom NTH tells and how, and what it has no use for in Queue Processor mode."""

from collections.abc import Sequence

from queue_processor.settings.groups import LogFormat, LogLevel
from queue_processor.settings.nth import webhooks
from queue_processor.settings.nth.rules import (
    Becomes,
    Either,
    NotAllowed,
    OnlyWith,
    Row,
    different,
    flag,
    needless,
    number,
    text,
    unsupported,
)

_LAST_PORT = 65_535


def _bind(value: object) -> str:
    port = number(value)
    if not 0 < port <= _LAST_PORT:
        raise NotAllowed(f"a port of 1 to {_LAST_PORT} is needed")
    return f"0.0.0.0:{port}"


def _level(value: object) -> str:
    level = text(value).lower()
    if level not in {LogLevel.DEBUG, LogLevel.INFO, LogLevel.ERROR}:
        raise NotAllowed("info, debug or error is needed")
    return level


_METADATA = needless("the instance metadata is not read")
_IMDS = needless("of IMDS mode only; here `actions.<kind>` says what is done about a kind of event")
_CLIENT = needless("the Kubernetes client finds it by itself")

ROWS: Sequence[Row] = (
    Row(name="WEBHOOK_URL", key="webhookURL", rule=webhooks.Address()),
    Row(name="WEBHOOK_HEADERS", key="webhookHeaders", rule=webhooks.Headers()),
    Row(name="WEBHOOK_TEMPLATE", key="webhookTemplate", rule=webhooks.TEMPLATE),
    Row(name="WEBHOOK_TEMPLATE_FILE", key=None, rule=webhooks.TEMPLATE),
    Row(
        name="WEBHOOK_PROXY",
        key="webhookProxy",
        rule=different(
            "proxies come from the environment (HTTPS_PROXY, NO_PROXY), which calls to AWS follow,"
            " too"
        ),
    ),
    Row(
        name="EMIT_KUBERNETES_EVENTS",
        key="emitKubernetesEvents",
        rule=Either(
            on=needless("Events are always posted"), off=different("Events are always posted")
        ),
    ),
    Row(
        name="KUBERNETES_EVENTS_EXTRA_ANNOTATIONS",
        key="kubernetesEventsExtraAnnotations",
        rule=unsupported("Events carry no annotations of your own"),
    ),
    Row(
        name="ENABLE_PROMETHEUS_SERVER",
        key="enablePrometheusServer",
        rule=Either(
            on=needless("/metrics is always served; the metrics have other names"),
            off=different("/metrics is always served"),
        ),
    ),
    Row(
        name="PROMETHEUS_SERVER_PORT",
        key="prometheusServerPort",
        rule=OnlyWith(
            "ENABLE_PROMETHEUS_SERVER",
            then=Becomes("http.bind", read=_bind, why="probes are served there, too"),
            otherwise=needless("NTH does not use it either"),
        ),
    ),
    Row(
        name="ENABLE_PROBES_SERVER",
        key="enableProbesServer",
        rule=needless("/healthz and /readyz are always served"),
    ),
    Row(
        name="PROBES_SERVER_PORT",
        key="probesServerPort",
        rule=needless("probes are served where the metrics are: `http.bind`"),
    ),
    Row(
        name="PROBES_SERVER_ENDPOINT",
        key="probesServerEndpoint",
        rule=needless("probes are served at /healthz and /readyz"),
    ),
    Row(
        name="JSON_LOGGING",
        key="jsonLogging",
        rule=Becomes(
            "log.format",
            read=lambda value: LogFormat.JSON.value if flag(value) else LogFormat.TEXT.value,
            why="`true` is `json`, `false` is `text`",
        ),
    ),
    Row(name="LOG_LEVEL", key="logLevel", rule=Becomes("log.level", read=_level)),
    Row(
        name="LOG_FORMAT_VERSION",
        key="logFormatVersion",
        rule=needless("log lines have fields of their own (docs/logs.md)"),
    ),
    Row(
        name="USE_APISERVER_CACHE",
        key="useAPIServerCacheToListPods",
        rule=needless("pods are always listed out of the cache of the API server"),
    ),
    Row(name="ENABLE_SPOT_INTERRUPTION_DRAINING", key="enableSpotInterruptionDraining", rule=_IMDS),
    Row(name="ENABLE_SCHEDULED_EVENT_DRAINING", key="enableScheduledEventDraining", rule=_IMDS),
    Row(name="ENABLE_REBALANCE_MONITORING", key="enableRebalanceMonitoring", rule=_IMDS),
    Row(name="ENABLE_REBALANCE_DRAINING", key="enableRebalanceDraining", rule=_IMDS),
    Row(name="ENABLE_ASG_LIFECYCLE_DRAINING", key="enableASGLifecycleDraining", rule=_IMDS),
    Row(name="INSTANCE_METADATA_URL", key="instanceMetadataURL", rule=_METADATA),
    Row(name="METADATA_TRIES", key="metadataTries", rule=_METADATA),
    Row(
        name="UPTIME_FROM_FILE",
        key="procUptimeFile",
        rule=needless("the uptime of the node is not read"),
    ),
    Row(name="NODE_NAME", key=None, rule=needless("the program may run anywhere")),
    Row(
        name="POD_NAME",
        key=None,
        rule=needless("chart and manifest set `kubernetes.pod_name` from the pod itself"),
    ),
    Row(
        name="NAMESPACE",
        key=None,
        rule=needless("the namespace is that of the pod's service account"),
    ),
    Row(name="KUBERNETES_SERVICE_HOST", key=None, rule=_CLIENT),
    Row(name="KUBERNETES_SERVICE_PORT", key=None, rule=_CLIENT),
)
