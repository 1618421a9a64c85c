"""The groups of settings: every key with its unit, its bounds and the reason for its default."""

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
AccountId: TypeAlias = Annotated[str, Field(pattern=r"^[0-9]{12}$")]
Seconds: TypeAlias = Annotated[float, Field(gt=0, le=172_800, allow_inf_nan=False)]


def parse_http_url(text: str) -> pydantic.AnyHttpUrl:
    """Parse an http or https URL.

    Raises:
        ValueError: It is not one; the message is one line and does not repeat the text.
    """
    try:
        return pydantic.AnyHttpUrl(text)
    except pydantic.ValidationError as invalid:
        raise ValueError(invalid.errors()[0]["msg"]) from invalid


class OnDeadline(enum.StrEnum):
    """The action on a pod that could not be evicted in time for a hard deadline."""

    DELETE = "delete"
    LEAVE = "leave"


class OnSoftTimeout(enum.StrEnum):
    """The action on a node whose drain gave up at a soft deadline."""

    KEEP = "keep"
    UNCORDON = "uncordon"


class LogFormat(enum.StrEnum):
    """The format of log lines."""

    AUTO = "auto"
    JSON = "json"
    TEXT = "text"


class LogLevel(enum.StrEnum):
    """The lowest level that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Group(pydantic.BaseModel):
    """A frozen group of settings."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class ActionSettings(Group):
    """The action for each kind of event."""

    spot_interruption: DrainAction = Field(
        default=Action.CORDON_AND_DRAIN,
        description="EC2 interrupts a Spot instance in two minutes.",
    )
    capacity_reservation_interruption: DrainAction = Field(
        default=Action.CORDON_AND_DRAIN,
        description="An interruptible capacity reservation or a Capacity Block ends.",
    )
    rebalance_recommendation: DrainAction = Field(
        default=Action.CORDON_AND_DRAIN,
        description="A Spot instance is at elevated risk of interruption; it may never come.",
    )
    autoscaling_termination: DrainAction = Field(
        default=Action.CORDON_AND_DRAIN,
        description="An Auto Scaling group terminates an instance and waits at a lifecycle hook.",
    )
    autoscaling_launch: LaunchAction = Field(
        default=Action.AWAIT_READY,
        description="An Auto Scaling group launches an instance and waits at a lifecycle hook;"
        " `await-ready` completes the hook when the node is Ready.",
    )
    state_change: DrainAction = Field(
        default=Action.CORDON_AND_DRAIN,
        description="An instance is stopping, shutting down, stopped or terminated.",
    )
    scheduled_change: DrainAction = Field(
        default=Action.CORDON_AND_DRAIN,
        description="AWS Health announces maintenance of an instance; if it is cancelled, the"
        " node is uncordoned.",
    )

    def by_kind(self) -> Mapping[EventKind, Action]:
        """Return the actions, keyed by kind."""
        return {kind: getattr(self, kind.value) for kind in EventKind}


class SqsSettings(Group):
    """The SQS queue."""

    visibility_timeout_seconds: int = Field(
        default=30,
        ge=6,
        le=43_200,
        description="The visibility timeout of a received message. While the message is in flight,"
        " it is extended by twice this time when two thirds are over; after a crash, messages"
        " return this soon, and those of long drains after twice this time at most.",
    )
    wait_time_seconds: int = Field(
        default=5,
        ge=0,
        le=20,
        description="How long one receive call waits for messages (long polling). A stopping"
        " process waits for its last receive call, to release the messages: a longer wait saves"
        " calls, a shorter one stops sooner. Neither delays messages. While messages are in flight,"
        " it waits two seconds at most.",
    )
    accounts: tuple[AccountId, ...] | None = Field(
        default=None,
        min_length=1,
        description="The AWS accounts whose events are handled; those of others are ignored, and so"
        " are those of another Region than the queue's. In the environment: a JSON list. None: the"
        " account in `queue_url`.",
    )


class NoticeSettings(Group):
    """The notices that a watcher on each node reads from instance metadata (IMDS)."""

    enabled: bool = Field(
        default=False,
        description="Handle the notices on Nodes, with or without a queue.",
    )


class SourceSettings(Group):
    """The sources of events: the queue, and the notices on Nodes."""

    sqs: SqsSettings = SqsSettings()
    notices: NoticeSettings = NoticeSettings()
    max_in_flight: int = Field(
        default=10_000,
        ge=10,
        le=100_000,
        description="The maximum number of messages and notices in flight; the rest wait in their"
        " source.",
    )


class DrainSettings(Group):
    """The drain of a node: its deadlines, and the actions when they are reached."""

    on_deadline: OnDeadline = Field(
        default=OnDeadline.DELETE,
        description="The action on a pod that cannot be evicted in time for a hard deadline, nearly"
        " always because a disruption budget blocks it: `delete` it, so that it gets a SIGTERM, or"
        " `leave` it until the instance is gone.",
    )
    force_margin_seconds: Seconds = Field(
        default=10,
        description="How long before the deadline such a pod is deleted; earlier if its grace"
        " period is longer, or if the API server is too slow for all such pods.",
    )
    soft_drain_timeout_seconds: Seconds = Field(
        default=1800,
        description="The soft deadline of a drain whose event has no deadline, such as a rebalance"
        " recommendation: the drain gives up then.",
    )
    on_soft_timeout: OnSoftTimeout = Field(
        default=OnSoftTimeout.KEEP,
        description="The action on a node whose drain gave up: `keep` it cordoned, or `uncordon`.",
    )
    lifecycle_drain_timeout_seconds: Seconds = Field(
        default=3600,
        description="How long a drain for an autoscaling termination respects disruption budgets;"
        " the global timeout of the hook applies if it is earlier. A pod that is deleted then keeps"
        " its whole grace period, as far as the hook lasts.",
    )
    unknown_instance_grace_seconds: float = Field(
        default=60,
        ge=0,
        le=43_200,
        allow_inf_nan=False,
        description="How long to wait for an instance without a node to join the cluster.",
    )
    unknown_instance_policy: policy.UnknownInstancePolicy = Field(
        default=policy.UnknownInstancePolicy.DELETE,
        description="The action on the message when the instance has not joined: `delete` it, or"
        " `release` it for another cluster that reads the same queue.",
    )
    complete_never_joined: policy.CompleteNeverJoined = Field(
        default=policy.CompleteNeverJoined.EVIDENCE,
        description="When to complete the termination hook of an instance that never joined the"
        " cluster. `evidence`: if the Auto Scaling group is this cluster's, because one of its"
        " instances is a node or a tag names the cluster (`cluster_name`), so that it does not wait"
        " for its timeout. `never`: leave the action to its timeout.",
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
        description="How long a drain waits for the volumes of evicted pods to be detached; 0 does"
        " not wait.",
    )
    out_of_service_taint: bool = Field(
        default=True,
        description="Add the taint `node.kubernetes.io/out-of-service` to a node that is not Ready"
        " and whose instance is certainly stopped or terminated, so that its pods and volumes are"
        " freed. The taint is removed when the node is Ready again.",
    )


class LeaderElectionSettings(Group):
    """The Lease that elects the process that works."""

    enabled: bool = Field(
        default=True, description="Elect a leader with a Lease. If disabled, run one process only."
    )
    namespace: str | None = Field(
        default=None,
        min_length=1,
        description="The namespace of the Lease and of the Role that grants access to it. None: the"
        " pod's own namespace, or `default` outside of a cluster.",
    )
    lease_name: str = Field(
        default="queue-processor",
        min_length=1,
        description="The name of the Lease; processes that share a queue share it.",
    )
    lease_duration_seconds: float = Field(
        default=15,
        ge=2,
        le=300,
        allow_inf_nan=False,
        description="How long a standby waits after the last renewal before it takes over.",
    )
    renew_deadline_seconds: float = Field(
        default=10,
        ge=1,
        le=300,
        allow_inf_nan=False,
        description="How long a leader that cannot renew the Lease keeps working; it stops before a"
        " standby takes over.",
    )
    retry_period_seconds: float = Field(
        default=2,
        ge=0.2,
        le=60,
        allow_inf_nan=False,
        description="The time from one attempt to acquire or renew the Lease to the next.",
    )

    def lease_namespace(self, own_namespace: str | None) -> str:
        """Return the namespace of the Lease; `own_namespace` is None outside of a cluster."""
        return self.namespace or own_namespace or "default"

    @pydantic.model_validator(mode="after")
    def _in_order(self) -> "LeaderElectionSettings":
        if not (
            self.retry_period_seconds < self.renew_deadline_seconds < self.lease_duration_seconds
        ):
            raise ValueError(
                "retry_period_seconds < renew_deadline_seconds < lease_duration_seconds is required"
            )
        return self


class HttpSettings(Group):
    """The server for /healthz, /readyz and /metrics."""

    bind: str = Field(
        default=":8080",
        pattern=r"^.*:\d{1,5}$",
        description="HOST:PORT; without a host, every IPv4 and IPv6 address. Port 0 picks a free"
        " port and logs it.",
    )

    @pydantic.field_validator("bind")
    @classmethod
    def _has_port(cls, bind: str) -> str:
        if int(bind.rpartition(":")[2]) > _LAST_PORT:
            raise ValueError(f"HOST:PORT is required, with a port of 0 to {_LAST_PORT}")
        return bind

    @property
    def host(self) -> str:
        """Return the address to listen on."""
        return self.bind.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """Return the port to listen on."""
        return int(self.bind.rpartition(":")[2])


class LogSettings(Group):
    """The format and level of the log."""

    format: LogFormat = Field(
        default=LogFormat.AUTO, description="`auto`: text on a terminal, JSON elsewhere."
    )
    level: LogLevel = Field(
        default=LogLevel.INFO,
        description="The lowest level that is logged; plans and outcomes are `info`.",
    )

    def is_text(self) -> bool:
        """Return True if log lines are text."""
        if self.format is LogFormat.AUTO:
            return sys.stderr.isatty()
        return self.format is LogFormat.TEXT


class KubernetesSettings(Group):
    """The use of the Kubernetes API."""

    requests_in_flight: int | None = Field(
        default=None,
        ge=1,
        le=1000,
        description="The maximum number of concurrent requests; the nearest deadline goes first."
        " Force deletes may take a twelfth more, and cordons two. An eviction that is not answered"
        " within a second does not count. Unset, the operator finds the limit of the API server by"
        " itself, between 8 and 128.",
    )
    pod_uid: str | None = Field(
        default=None,
        pattern=r"^[^_]+$",
        description="The UID of the operator's own pod (downward API). A restarted container takes"
        " the Lease over from its predecessor in the same pod at once.",
    )
    pod_name: str | None = Field(
        default=None,
        description="The name of the operator's own pod (downward API), which is evicted last when"
        " its node is drained.",
    )
