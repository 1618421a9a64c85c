"""Events from AWS, as one flat type: sources differ in parsing, not in what follows."""

import dataclasses
import datetime as dt
import enum
from collections.abc import Mapping

from queue_processor.domain.identifiers import InstanceId


class EventKind(enum.StrEnum):
    """The kinds of interruption events; the value is the name in metrics and settings."""

    SPOT_INTERRUPTION = "spot_interruption"
    CAPACITY_RESERVATION_INTERRUPTION = "capacity_reservation_interruption"
    REBALANCE_RECOMMENDATION = "rebalance_recommendation"
    AUTOSCALING_TERMINATION = "autoscaling_termination"
    AUTOSCALING_LAUNCH = "autoscaling_launch"
    STATE_CHANGE = "state_change"
    SCHEDULED_CHANGE = "scheduled_change"

    @property
    def kebab(self) -> str:
        """The kind as it is in the keys of taints and annotations."""
        return self.value.replace("_", "-")


class BodyShape(enum.StrEnum):
    """The three shapes in which an event arrives on the queue."""

    EVENTBRIDGE = "eventbridge"
    SNS = "sns"
    AUTOSCALING = "autoscaling"


class InstanceState(enum.StrEnum):
    """The instance states that take a node away, and the one that brings it back.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/monitoring-instance-state-changes.html
    """

    STOPPING = "stopping"
    SHUTTING_DOWN = "shutting-down"
    STOPPED = "stopped"
    TERMINATED = "terminated"
    RUNNING = "running"

    @property
    def is_final(self) -> bool:
        """True if the instance runs no more: its pods are gone, whatever the API server reports."""
        return self in {InstanceState.STOPPED, InstanceState.TERMINATED}


class LifecycleTransition(enum.StrEnum):
    """The direction in which an instance moves through its Auto Scaling group."""

    LAUNCHING = "autoscaling:EC2_INSTANCE_LAUNCHING"
    TERMINATING = "autoscaling:EC2_INSTANCE_TERMINATING"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LifecycleHook:
    """A lifecycle hook of an Auto Scaling group, by its two names."""

    group: str
    name: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AutoScalingGroup:
    """An Auto Scaling group, as far as it shows which cluster it belongs to.

    Attributes:
        instance_ids: Its instances, those that are about to leave it included.
    """

    name: str
    instance_ids: frozenset[InstanceId]
    tags: Mapping[str, str]


# https://docs.aws.amazon.com/autoscaling/ec2/APIReference/API_PutLifecycleHook.html
DEFAULT_HEARTBEAT_TIMEOUT = dt.timedelta(hours=1)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LifecycleAction:
    """An Auto Scaling group waits for one of its instances until this is completed.

    Attributes:
        token: Names this very action; the API takes the instance id in its place.
        heartbeat_timeout: Of the hook. No event states it: until it is looked up, it is what a
            hook has by default.
        is_timeout_assumed: False once the hook's timeout has been looked up.
    """

    hook: LifecycleHook
    transition: LifecycleTransition
    instance_id: InstanceId
    token: str | None
    heartbeat_timeout: dt.timedelta = DEFAULT_HEARTBEAT_TIMEOUT
    is_timeout_assumed: bool = True


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class InterruptionEvent:
    """An event that asks for something to be done to one or more nodes.

    Attributes:
        event_id: As the source gave it, else the id of the message that carried it.
        instance_ids: At least one, each once, in the order of the event.
        occurred_at: UTC; never later than the moment the message was sent.
        scheduled_at: When AWS says that the instance goes, if the event says so: the
            termination time of a capacity reservation, the start of a scheduled change, the time of
            a Spot interruption in instance metadata.
        account: The account that it is about; None if the event does not state it.
        region: The same for the Region, which a notification of Auto Scaling does not state.
        is_cancelled: A scheduled change that will not take place after all; an instance that
            runs, so that its state changes are over.
        change_id: Identifies a scheduled change: the same in each of its updates.
        resolved_ids: The instances for which alone it will not take place, or is over.
        shape: None for an event that did not arrive as the body of a message.
    """

    event_id: str
    kind: EventKind
    instance_ids: tuple[InstanceId, ...]
    occurred_at: dt.datetime
    scheduled_at: dt.datetime | None = None
    instance_state: InstanceState | None = None
    lifecycle_action: LifecycleAction | None = None
    account: str | None = None
    region: str | None = None
    is_cancelled: bool = False
    change_id: str | None = None
    resolved_ids: frozenset[InstanceId] = frozenset()
    shape: BodyShape | None = None

    @property
    def hold_id(self) -> str:
        """Identify what the event holds its instances for.

        An update of a scheduled change, or a second notification about a lifecycle action, has the
        same.
        """
        token = None if self.lifecycle_action is None else self.lifecycle_action.token
        return self.change_id or token or self.event_id

    def about(self, instance_id: InstanceId) -> "InterruptionEvent":
        """Return what the event means for one of its instances."""
        return dataclasses.replace(
            self,
            instance_ids=(instance_id,),
            is_cancelled=self.is_cancelled or instance_id in self.resolved_ids,
            resolved_ids=frozenset(),
        )


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class EventScope:
    """The accounts and the Region whose events are for us; None does not limit them.

    An event that states neither is for us. A sender can write anything into both, so this
    is no protection against forged events: it keeps those out that a rule or an event bus sends
    here by mistake.
    """

    accounts: frozenset[str] | None = None
    region: str | None = None

    def exclusion_reason(self, event: InterruptionEvent) -> str | None:
        """Return why an event is not for us; None if it is."""
        account, region = event.account, event.region
        if account is not None and self.accounts is not None and account not in self.accounts:
            return f"it is about the account {account[:20]!r}, which is not in sources.sqs.accounts"
        if region is not None and self.region is not None and region != self.region:
            return f"it is about the Region {region[:20]!r}, and the queue is in {self.region}"
        return None


EVERYWHERE = EventScope()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """A well-formed event that asks for nothing, and why."""

    event_id: str
    shape: BodyShape
    reason: str
