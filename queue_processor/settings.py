"""Settings: the only reader of the environment and of the settings file.

Environment variables `QUEUE_PROCESSOR_…` (groups joined by `__`) rule over a YAML file,
which rules over the defaults. They are read once, before anything starts, into frozen
groups. AWS and Kubernetes are configured their own way (region, profile, endpoint, web
identity; in-cluster account, KUBECONFIG) and do not show here.
"""

import datetime as dt
import enum
import json
import os
import pathlib
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, TypeAlias

import pydantic
import pydantic_settings
import yaml
from pydantic import Field

from queue_processor.domain import deadlines, errors, policy, selectors
from queue_processor.domain.events import EventKind
from queue_processor.domain.plan import Action

ENVIRONMENT_PREFIX = "QUEUE_PROCESSOR_"
CONFIG_VARIABLE = "QUEUE_PROCESSOR_CONFIG"

# Kubernetes gives every pod variables like these for a Service named queue-processor, or
# queue-processor-metrics. A NAME_PORT is told from a misspelt setting by its value.
# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
_SERVICE_VARIABLE = re.compile(
    r"QUEUE_PROCESSOR_(\w+_)?"
    r"(SERVICE_(HOST|PORT(_\w+)?)=|PORT=(tcp|udp|sctp)://|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?=).*"
)

_LAST_PORT = 65_535

DrainAction: TypeAlias = Literal[Action.CORDON_AND_DRAIN, Action.CORDON, Action.IGNORE]
LaunchAction: TypeAlias = Literal[Action.AWAIT_READY, Action.IGNORE]
Seconds: TypeAlias = Annotated[float, Field(gt=0, le=172_800, allow_inf_nan=False)]


class OnDeadline(enum.StrEnum):
    """What happens to a pod that its budget still blocks when the instance goes."""

    DELETE = "delete"
    LEAVE = "leave"


class OnSoftTimeout(enum.StrEnum):
    """What happens to a node whose soft drain gave up."""

    KEEP = "keep"
    UNCORDON = "uncordon"


class TaintEffect(enum.StrEnum):
    """The effects of a taint."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class LogFormat(enum.StrEnum):
    """How log lines are written."""

    AUTO = "auto"
    JSON = "json"
    TEXT = "text"


class LogLevel(enum.StrEnum):
    """The least severe level that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class _Group(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class ActionSettings(_Group):
    """What is done about each kind of event."""

    spot_interruption: DrainAction = Action.CORDON_AND_DRAIN
    capacity_reservation_interruption: DrainAction = Action.CORDON_AND_DRAIN
    rebalance_recommendation: DrainAction = Action.CORDON_AND_DRAIN
    autoscaling_termination: DrainAction = Action.CORDON_AND_DRAIN
    autoscaling_launch: LaunchAction = Action.AWAIT_READY
    state_change: DrainAction = Action.CORDON_AND_DRAIN
    scheduled_change: DrainAction = Action.CORDON_AND_DRAIN

    def by_kind(self) -> Mapping[EventKind, Action]:
        """The same, keyed by kind."""
        return {kind: getattr(self, kind.value) for kind in EventKind}


class SqsSettings(_Group):
    """How the queue is read."""

    visibility_timeout_seconds: int = Field(
        default=30,
        ge=6,
        le=43_200,
        description="How long a received message stays invisible; it is extended at a third of"
        " that while work is in hand, so a killed process gives its messages back this soon.",
    )
    wait_time_seconds: int = Field(
        default=5,
        ge=0,
        le=20,
        description="How long one receive waits for a message. A stopping process waits for its"
        " last receive, so that what it fetched is handed back: longer saves calls, shorter"
        " stops sooner. Messages arrive at once either way.",
    )
    max_in_flight: int = Field(
        default=10_000,
        ge=10,
        le=100_000,
        description="How many messages are held at once; the rest wait in the queue.",
    )


class DrainSettings(_Group):
    """How a node is drained."""

    on_deadline: OnDeadline = Field(
        default=OnDeadline.DELETE,
        description="`delete` a pod that its budget still blocks when the deadline comes, so that"
        " it gets its SIGTERM; or `leave` it to the instance's end.",
    )
    force_margin_seconds: Seconds = Field(
        default=10,
        description="How long before the deadline such a pod is deleted, if its own grace period"
        " is not longer.",
    )
    soft_drain_timeout_seconds: Seconds = Field(
        default=1800,
        description="When a drain without a deadline (a rebalance recommendation) gives up.",
    )
    on_soft_timeout: OnSoftTimeout = Field(
        default=OnSoftTimeout.KEEP,
        description="Whether the node of such a drain stays cordoned (`keep`) or not (`uncordon`).",
    )
    lifecycle_drain_timeout_seconds: Seconds = Field(
        default=3600,
        description="The deadline of an autoscaling termination, unless the hook ends sooner.",
    )
    unknown_instance_grace_seconds: float = Field(
        default=60,
        ge=0,
        le=43_200,
        allow_inf_nan=False,
        description="How long an instance that is no node yet may take to become one.",
    )
    unknown_instance_policy: policy.UnknownInstancePolicy = Field(
        default=policy.UnknownInstancePolicy.DELETE,
        description="What then becomes of its message: `delete` it, or `release` it for another"
        " cluster that reads the same queue.",
    )
    complete_never_joined: bool = Field(
        default=True,
        description="Whether the termination hook of an instance that never became a node is"
        " completed, so that it does not hang.",
    )
    taint_effect: TaintEffect = Field(
        default=TaintEffect.NO_SCHEDULE,
        description="The effect of the taint `queue-processor/<kind>`.",
    )
    volume_detach_timeout_seconds: float = Field(
        default=60,
        ge=0,
        le=3600,
        allow_inf_nan=False,
        description="How long a drained node waits for the volumes of its pods to be detached;"
        " 0 does not wait.",
    )
    out_of_service_taint: bool = Field(
        default=True,
        description="Whether a node that EC2 says is stopped or terminated, and that is not"
        " Ready, gets the out-of-service taint, so that its pods and volumes are freed.",
    )


class LeaderElectionSettings(_Group):
    """Which of several processes works."""

    enabled: bool = True
    namespace: str | None = Field(
        default=None,
        min_length=1,
        description="Where the Lease lies. None: the pod's own namespace, else `default`.",
    )
    lease_name: str = Field(default="queue-processor", min_length=1)
    lease_duration_seconds: float = Field(default=15, ge=2, le=300, allow_inf_nan=False)
    renew_deadline_seconds: float = Field(default=10, ge=1, le=300, allow_inf_nan=False)
    retry_period_seconds: float = Field(default=2, ge=0.2, le=60, allow_inf_nan=False)

    @pydantic.model_validator(mode="after")
    def _in_order(self) -> "LeaderElectionSettings":
        if not (
            self.retry_period_seconds < self.renew_deadline_seconds < self.lease_duration_seconds
        ):
            raise ValueError(
                "retry_period_seconds < renew_deadline_seconds < lease_duration_seconds is needed"
            )
        return self


class HttpSettings(_Group):
    """Where /healthz, /readyz and /metrics are served."""

    bind: str = Field(
        default="0.0.0.0:8080",
        pattern=r"^.*:\d{1,5}$",
        description="HOST:PORT; port 0 takes any free one and logs which.",
    )

    @pydantic.field_validator("bind")
    @classmethod
    def _has_port(cls, bind: str) -> str:
        if int(bind.rpartition(":")[2]) > _LAST_PORT:
            raise ValueError(f"HOST:PORT is needed, with a port of 0 to {_LAST_PORT}")
        return bind

    @property
    def host(self) -> str:
        """The address to listen on."""
        return self.bind.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port to listen on."""
        return int(self.bind.rpartition(":")[2])


class LogSettings(_Group):
    """How the program logs."""

    format: LogFormat = Field(
        default=LogFormat.AUTO, description="`auto` is text on a terminal and JSON elsewhere."
    )
    level: LogLevel = LogLevel.INFO

    def is_text(self) -> bool:
        """Whether lines are for people to read."""
        if self.format is LogFormat.AUTO:
            return sys.stderr.isatty()
        return self.format is LogFormat.TEXT


class KubernetesSettings(_Group):
    """How the Kubernetes API is used."""

    requests_in_flight: int = Field(
        default=64,
        ge=1,
        le=1000,
        description="How many requests run at once; the earliest deadline goes first.",
    )
    pod_name: str | None = Field(
        default=None,
        description="The pod that the program runs in (downward API): on a node that is drained"
        " it goes last.",
    )


class Settings(pydantic_settings.BaseSettings):
    """Everything that can be set."""

    model_config = pydantic_settings.SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
    )

    queue_url: str = Field(
        pattern=r"^https?://.+/.+$", description="The URL of the SQS queue. Required."
    )
    node_selector: str = Field(
        default="", description="A label selector: only these nodes are ours. Empty: all are."
    )
    managed_tag: str | None = Field(
        default=None,
        min_length=1,
        description="An EC2 tag key: only instances that carry it are ours. None: all are, and no"
        " ec2: permission is needed.",
    )
    actions: ActionSettings = ActionSettings()
    sqs: SqsSettings = SqsSettings()
    drain: DrainSettings = DrainSettings()
    leader_election: LeaderElectionSettings = LeaderElectionSettings()
    kubernetes: KubernetesSettings = KubernetesSettings()
    http: HttpSettings = HttpSettings()
    log: LogSettings = LogSettings()

    @pydantic.field_validator("node_selector")
    @classmethod
    def _is_selector(cls, text: str) -> str:
        try:
            selectors.parse(text)
        except errors.ConfigurationFault as fault:
            raise ValueError(str(fault)) from fault
        return text

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[pydantic_settings.BaseSettings],
        init_settings: pydantic_settings.PydanticBaseSettingsSource,
        env_settings: pydantic_settings.PydanticBaseSettingsSource,
        dotenv_settings: pydantic_settings.PydanticBaseSettingsSource,
        file_secret_settings: pydantic_settings.PydanticBaseSettingsSource,
    ) -> tuple[pydantic_settings.PydanticBaseSettingsSource, ...]:
        """The environment rules over what `load` read from the file; nothing else is read."""
        del settings_cls, dotenv_settings, file_secret_settings
        return (env_settings, init_settings)

    def policy(self) -> policy.Policy:
        """The settings that decide what is done about an event."""
        return policy.Policy(
            actions=self.actions.by_kind(),
            timeouts=deadlines.DrainTimeouts(
                soft=dt.timedelta(seconds=self.drain.soft_drain_timeout_seconds),
                lifecycle=dt.timedelta(seconds=self.drain.lifecycle_drain_timeout_seconds),
            ),
            unknown_instance=self.drain.unknown_instance_policy,
            unknown_instance_grace=dt.timedelta(seconds=self.drain.unknown_instance_grace_seconds),
            completes_never_joined=self.drain.complete_never_joined,
        )


class SettingsFault(errors.ConfigurationFault):
    """Settings that do not hold; one line for each fault."""


def load(config: pathlib.Path | None = None) -> Settings:
    """Read the settings.

    Args:
        config: A YAML file; None takes the one that QUEUE_PROCESSOR_CONFIG names, if any.

    Raises:
        SettingsFault: A key is unknown, a value is not allowed, the required queue_url is
            missing, the file cannot be read, or two settings contradict each other.
    """
    if config is None and os.environ.get(CONFIG_VARIABLE):
        config = pathlib.Path(os.environ[CONFIG_VARIABLE])
    values = {} if config is None else _from_file(config)
    faults = [*_faults_of_variables()]
    faults += [f"{key}: no such setting" for key in values if key not in Settings.model_fields]
    known = {key: value for key, value in values.items() if key in Settings.model_fields}
    try:
        settings = Settings(**known)
    except pydantic.ValidationError as invalid:
        raise SettingsFault("\n".join([*faults, *_lines(invalid)])) from invalid
    except pydantic_settings.SettingsError as invalid:
        raise SettingsFault("\n".join(faults or [f"environment: {invalid}"])) from invalid
    if faults:
        raise SettingsFault("\n".join(faults))
    return settings


def _faults_of_variables() -> Iterator[str]:
    """Variables that a person meant for us and that no setting reads."""
    for name, value in sorted(os.environ.items()):
        if not name.startswith(ENVIRONMENT_PREFIX) or name == CONFIG_VARIABLE:
            continue
        if _SERVICE_VARIABLE.fullmatch(f"{name}={value}"):
            continue
        key, _, rest = name.removeprefix(ENVIRONMENT_PREFIX).lower().partition("__")
        field = Settings.model_fields.get(key)
        is_group = field is not None and isinstance(field.default, _Group)
        if field is None or (rest and not is_group):
            yield f"{name}: no such setting"
        elif is_group and not rest and not _is_json(value):
            yield f"{name}: {value!r} is not allowed: JSON, or variables like {name}__KEY"


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _from_file(path: pathlib.Path) -> dict[object, Any]:
    try:
        loaded: object = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as cause:
        raise SettingsFault(f"{path}: cannot be read: {cause.strerror}") from cause
    except (yaml.YAMLError, UnicodeDecodeError) as cause:
        raise SettingsFault(f"{path}: not YAML: {' '.join(str(cause).split())}") from cause
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise SettingsFault(f"{path}: a mapping of settings is needed")
    return loaded


def _lines(invalid: pydantic.ValidationError) -> Iterator[str]:
    for fault in invalid.errors():
        key = ".".join(str(part) for part in fault["loc"]) or "settings"
        match fault["type"]:
            case "missing":
                variable = ENVIRONMENT_PREFIX + key.upper().replace(".", "__")
                yield f"{key}: not set; set {variable} or `{key}` in the settings file"
            case "extra_forbidden":
                yield f"{key}: no such setting"
            case "literal_error":
                allowed = re.sub(r"<[^:]*: ('[^']*')>", r"\1", fault["msg"])
                yield f"{key}: {fault['input']!r} is not allowed: {allowed}"
            case _:
                allowed = fault["msg"].removeprefix("Value error, ")
                yield f"{key}: {fault['input']!r} is not allowed: {allowed}"
