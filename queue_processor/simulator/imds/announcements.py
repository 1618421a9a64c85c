"""Announcements: orders to make one, and everything that is announced to an instance."""

import dataclasses
import datetime as dt
import secrets
from collections.abc import Mapping

from queue_processor.domain import durations, errors, identifiers, imds_bodies, json_fields, notices
from queue_processor.domain.deadlines import INTERRUPTION_NOTICE
from queue_processor.domain.events import EventKind
from queue_processor.domain.identifiers import InstanceId, NodeName
from queue_processor.domain.imds_bodies import InterruptionAction, ScheduledEvent
from queue_processor.domain.json_fields import JsonObject
from queue_processor.domain.notices import MetadataPath

PATH_OF: Mapping[EventKind, str] = {
    EventKind.SPOT_INTERRUPTION: MetadataPath.INSTANCE_ACTION,
    EventKind.REBALANCE_RECOMMENDATION: MetadataPath.REBALANCE,
    EventKind.SCHEDULED_CHANGE: MetadataPath.SCHEDULED,
    EventKind.AUTOSCALING_TERMINATION: MetadataPath.TARGET_STATE,
}

# These appear with their notice, and no value of an instance has such a name.
APPEARING_PATHS = frozenset(
    {MetadataPath.INSTANCE_ACTION, MetadataPath.TERMINATION_TIME, MetadataPath.REBALANCE}
)

FIELDS = frozenset({"kind", "node", "instance", "in", "action", "cancel"})

# As the events of AWS Health that `messages send` makes.
_CHANGE_NOTICE = dt.timedelta(days=14)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """An interruption that is to be announced, without the node.

    Attributes:
        ends_in: How long after the announcement it takes place. None means what EC2 does: a Spot
            interruption in two minutes, hibernation at once, a scheduled change in 14 days.
        action: Of a Spot interruption.
        is_cancelled: The scheduled changes of the node do not take place after all.
    """

    kind: EventKind
    ends_in: dt.timedelta | None = None
    action: InterruptionAction | None = None
    is_cancelled: bool = False

    def __post_init__(self) -> None:
        """Check that the parts fit together.

        Raises:
            UsageError: They do not.
        """
        if self.kind not in notices.KINDS:
            kinds = ", ".join(notices.KINDS)
            raise errors.UsageError(f"instance metadata announces no {self.kind}; it has {kinds}")
        if self.action is not None and self.kind is not EventKind.SPOT_INTERRUPTION:
            raise errors.UsageError(f"{self.kind} has no action: spot_interruption alone has one")
        if self.is_cancelled and self.kind is not EventKind.SCHEDULED_CHANGE:
            raise errors.UsageError(
                f"EC2 never cancels a {self.kind}: only a scheduled_change can be cancelled"
            )
        has_time = self.kind in {EventKind.SPOT_INTERRUPTION, EventKind.SCHEDULED_CHANGE}
        if self.ends_in is not None and (self.is_cancelled or not has_time):
            raise errors.UsageError(
                "a time is for a spot_interruption, or a scheduled_change that is not cancelled:"
                " leave it out"
            )

    def takes_place_at(self, now: dt.datetime) -> dt.datetime:
        """Return when it takes place, if it is announced now; EC2 prints whole seconds."""
        ends_in = self.ends_in
        if ends_in is None:
            match self.kind:
                case EventKind.SCHEDULED_CHANGE:
                    ends_in = _CHANGE_NOTICE
                case EventKind.SPOT_INTERRUPTION if self.action is not InterruptionAction.HIBERNATE:
                    ends_in = INTERRUPTION_NOTICE
                case _:
                    ends_in = dt.timedelta()
        return (now + ends_in).replace(microsecond=0)

    def to_fields(self) -> dict[str, object]:
        """Return what `parse` reads."""
        fields: dict[str, object] = {"kind": self.kind.value}
        if self.ends_in is not None:
            fields["in"] = f"{self.ends_in.total_seconds():.3f}s"
        if self.action is not None:
            fields["action"] = self.action.value
        if self.is_cancelled:
            fields["cancel"] = True
        return fields


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NodeAnnouncement:
    """An announcement for a node.

    Attributes:
        instance_id: The instance that the node runs on, as the sender sees it; None if it does not
            look.
    """

    node: NodeName
    announcement: Announcement
    instance_id: InstanceId | None = None

    def to_fields(self) -> dict[str, object]:
        """Return what `parse` reads."""
        fields = {"node": self.node, **self.announcement.to_fields()}
        return fields if self.instance_id is None else {**fields, "instance": self.instance_id}


def parse(fields: JsonObject) -> NodeAnnouncement:
    """Read an announcement from a request or a file.

    Raises:
        UsageError: It is not one; the text begins with the field.
    """
    try:
        return _parse(fields)
    except errors.MalformedMessage as error:
        raise errors.UsageError(str(error)) from error


def _parse(fields: JsonObject) -> NodeAnnouncement:
    if unknown := fields.keys() - FIELDS:
        raise errors.UsageError(f"{', '.join(sorted(unknown))}: no such field")
    cancel = fields.get("cancel", False)
    if not isinstance(cancel, bool):
        raise errors.MalformedMessage(f"cancel: {json_fields.describe(cancel)}, not true or false")
    ends_in = json_fields.optional_text_at(fields, "in")
    action = json_fields.optional_text_at(fields, "action")
    instance = fields.get("instance")
    return NodeAnnouncement(
        node=_node(json_fields.text_at(fields, "node")),
        instance_id=None if instance is None else json_fields.instance_id_at(fields, "instance"),
        announcement=Announcement(
            kind=_kind(json_fields.text_at(fields, "kind")),
            ends_in=None if ends_in is None else _duration(ends_in),
            action=None if action is None else _action(action),
            is_cancelled=cancel,
        ),
    )


def _duration(text: str) -> dt.timedelta:
    try:
        return durations.parse(text)
    except errors.UsageError as error:
        raise errors.UsageError(f"in: {error}") from error


def _node(text: str) -> NodeName:
    name = identifiers.parse_node_name(text)
    if name is None:
        raise errors.MalformedMessage(f"node: {text[:60]!r} is not the name of a node")
    return name


def _kind(text: str) -> EventKind:
    try:
        return EventKind(text)
    except ValueError as cause:
        kinds = ", ".join(notices.KINDS)
        raise errors.MalformedMessage(f"kind: {text[:60]!r} is none of {kinds}") from cause


def _action(text: str) -> InterruptionAction:
    try:
        return InterruptionAction(text)
    except ValueError as cause:
        actions = ", ".join(InterruptionAction)
        raise errors.MalformedMessage(f"action: {text[:60]!r} is none of {actions}") from cause


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """Everything that is announced to one instance. Times are fixed when a notice begins.

    Attributes:
        scheduled: The scheduled events that are active.
        history: Those that are over.
    """

    spot_action: InterruptionAction = InterruptionAction.TERMINATE
    spot_at: dt.datetime | None = None
    rebalance_at: dt.datetime | None = None
    scheduled: tuple[ScheduledEvent, ...] = ()
    history: tuple[ScheduledEvent, ...] = ()
    is_terminated_by_group: bool = False

    def after(self, announcement: Announcement, *, now: dt.datetime) -> "tuple[Announced, str]":
        """Return the same with one more announcement, and what identifies it: an id or a time.

        A second Spot interruption or rebalance recommendation replaces the first; a node may have
        any number of scheduled events.

        Raises:
            UsageError: There is nothing to cancel.
        """
        at = announcement.takes_place_at(now)
        match announcement.kind:
            case EventKind.SPOT_INTERRUPTION:
                action = announcement.action or InterruptionAction.TERMINATE
                changed = dataclasses.replace(self, spot_action=action, spot_at=at)
                return changed, imds_bodies.termination_time(at)
            case EventKind.REBALANCE_RECOMMENDATION:
                changed = dataclasses.replace(self, rebalance_at=at)
                return changed, imds_bodies.termination_time(at)
            case EventKind.SCHEDULED_CHANGE if announcement.is_cancelled:
                return self._without_scheduled()
            case EventKind.SCHEDULED_CHANGE:
                event = ScheduledEvent(event_id=_new_event_id(), starts_at=at)
                return dataclasses.replace(self, scheduled=(*self.scheduled, event)), event.event_id
            case _:
                changed = dataclasses.replace(self, is_terminated_by_group=True)
                return changed, notices.TARGET_TERMINATED

    def _without_scheduled(self) -> "tuple[Announced, str]":
        if not self.scheduled:
            raise errors.UsageError("no scheduled change to cancel")
        over = tuple(event.cancelled() for event in self.scheduled)
        changed = dataclasses.replace(self, scheduled=(), history=(*self.history, *over))
        return changed, " ".join(event.event_id for event in over)

    def bodies(self) -> Mapping[str, str]:
        """Return the values of this below `meta-data/`, by path."""
        bodies: dict[str, str] = {
            MetadataPath.SCHEDULED: imds_bodies.scheduled_events(self.scheduled),
            MetadataPath.HISTORY: imds_bodies.scheduled_events(self.history),
            MetadataPath.TARGET_STATE: notices.TARGET_TERMINATED
            if self.is_terminated_by_group
            else imds_bodies.IN_SERVICE,
        }
        if self.spot_at is not None:
            bodies[MetadataPath.INSTANCE_ACTION] = imds_bodies.instance_action(
                self.spot_action, self.spot_at
            )
            # It is only there for an instance that is "marked for termination".
            if self.spot_action is InterruptionAction.TERMINATE:
                bodies[MetadataPath.TERMINATION_TIME] = imds_bodies.termination_time(self.spot_at)
        if self.rebalance_at is not None:
            bodies[MetadataPath.REBALANCE] = imds_bodies.rebalance_recommendation(self.rebalance_at)
        return bodies


def _new_event_id() -> str:
    return f"instance-event-{secrets.token_hex(9)[:17]}"
