"""The groups of settings: every key, its unit, its bounds and why its default is what it is."""

import enum
import sys
from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

import pydantic
from pydantic import Field

from queue_processor.domain import policy
from queue_processor.domain.events import EventKind
from queue_processor.domain.nodes import TaintEffect
from queue_processor.domain.plan import Action

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


class Group(pydantic.BaseModel):
    """Settings that belong together; read once, never changed."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class ActionSettings(Group):
    """What is done about each kind of event."""

    spot_interruption: DrainAction = Field(
        default=Action.CORDON_AND_DRAIN,
        description="EC2 takes a Spot instance back in two minutes.",
    )
    capacity_reservation_interruption: DrainAction = Field(
        default=Action.CORDON_AND_DRAIN,
        description="A capacity reservation, or a Capacity Block, ends.",
    )
    rebalance_recommendation: DrainAction = Field(
        default=Action.CORDON_AND_DRAIN,
        description="A Spot instance is more likely than others to be taken back; it may never be.",
    )
    autoscaling_termination: DrainAction = Field(
        default=Action.CORDON_AND_DRAIN,
        description="An Auto Scaling group terminates an instance, and waits at a lifecycle hook.",
    )
    autoscaling_launch: LaunchAction = Field(
        default=Action.AWAIT_READY,
        description="The same at its launch, until the node of the instance is Ready.",
    )
    state_change: DrainAction = Field(
        default=Action.CORDON_AND_DRAIN,
        description="An instance is stopping, shutting down, stopped or terminated.",
    )
    scheduled_change: DrainAction = Field(
        default=Action.CORDON_AND_DRAIN,
        description="AWS Health announces maintenance of an instance; when that is cancelled, the"
        " node is uncordoned.",
    )

    def by_kind(self) -> Mapping[EventKind, Action]:
        """The same, keyed by kind."""
        return {kind: getattr(self, kind.value) for kind in EventKind}


class SqsSettings(Group):
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


class DrainSettings(Group):
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


class LeaderElectionSettings(Group):
    """Which of several processes works."""

    enabled: bool = Field(
        default=True, description="Whether a Lease decides. If not, there must be one process only."
    )
    namespace: str | None = Field(
        default=None,
        min_length=1,
        description="Where the Lease lies. None: the pod's own namespace, else `default`. The Role"
        " that allows it has to lie there too.",
    )
    lease_name: str = Field(
        default="queue-processor",
        min_length=1,
        description="How the Lease is called; processes that share a queue share it.",
    )
    lease_duration_seconds: float = Field(
        default=15,
        ge=2,
        le=300,
        allow_inf_nan=False,
        description="How long a standby waits for a leader that went silent.",
    )
    renew_deadline_seconds: float = Field(
        default=10,
        ge=1,
        le=300,
        allow_inf_nan=False,
        description="When a leader that cannot renew stops working: before another begins.",
    )
    retry_period_seconds: float = Field(
        default=2,
        ge=0.2,
        le=60,
        allow_inf_nan=False,
        description="The pause between attempts to get the Lease, or to renew it.",
    )

    def lies_in(self, own_namespace: str | None) -> str:
        """The namespace of the Lease, for a process that runs in this one, if in any."""
        return self.namespace or own_namespace or "default"

    @pydantic.model_validator(mode="after")
    def _in_order(self) -> "LeaderElectionSettings":
        if not (
            self.retry_period_seconds < self.renew_deadline_seconds < self.lease_duration_seconds
        ):
            raise ValueError(
                "retry_period_seconds < renew_deadline_seconds < lease_duration_seconds is needed"
            )
        return self


class HttpSettings(Group):
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


class LogSettings(Group):
    """How the program logs."""

    format: LogFormat = Field(
        default=LogFormat.AUTO, description="`auto` is text on a terminal and JSON elsewhere."
    )
    level: LogLevel = Field(
        default=LogLevel.INFO,
        description="The least severe level that is logged; plans and outcomes are `info`.",
    )

    def is_text(self) -> bool:
        """Whether lines are for people to read."""
        if self.format is LogFormat.AUTO:
            return sys.stderr.isatty()
        return self.format is LogFormat.TEXT


class KubernetesSettings(Group):
    """How the Kubernetes API is used."""

    requests_in_flight: int = Field(
        default=24,
        ge=1,
        le=1000,
        description="How many requests run at once; the earliest deadline goes first.",
    )
    pod_name: str | None = Field(
        default=None,
        description="The pod that the program runs in (downward API): on a node that is drained"
        " it goes last.",
    )
