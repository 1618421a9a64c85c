"""What the operator would do with a message, and why, without doing it."""

import dataclasses
import datetime as dt
import enum
from collections.abc import Mapping

from queue_processor.domain import deadlines, errors, parsing, policy, recording
from queue_processor.domain.events import BodyShape, EventKind, Ignored, InterruptionEvent
from queue_processor.domain.identifiers import InstanceId
from queue_processor.domain.messages import QueueMessage
from queue_processor.domain.nodes import NodeView
from queue_processor.domain.plan import Action, InstanceReport, InstanceResult, Outcome
from queue_processor.domain.policy import Policy

_ENDING_OF = {
    Action.CORDON_AND_DRAIN: InstanceResult.DRAINED,
    Action.CORDON: InstanceResult.CORDONED,
    Action.UNCORDON: InstanceResult.UNCORDONED,
    Action.AWAIT_READY: InstanceResult.READY,
}


class Verdict(enum.StrEnum):
    """The three things that a message can be to the operator."""

    INTERRUPTION = "interruption"
    IGNORED = "ignored"
    MALFORMED = "malformed"


class Obstacle(enum.StrEnum):
    """Why an instance has no node of ours."""

    NO_NODE = "no node of this cluster runs on it"
    NOT_SELECTED = "node_selector does not select its node"
    NOT_TAGGED = "it does not carry the managed_tag"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """What is known about the node of an instance.

    Attributes:
        node: The node that runs on the instance; None when no node does.
        obstacle: Why there is none of ours; None when there is.
    """

    node: NodeView | None = None
    obstacle: Obstacle | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A message as the operator sees it.

    Attributes:
        reason: Why nothing is done, or not to every instance; None where all goes its way.
        shape: None for a body that is malformed.
        event_id: None where neither the body nor a message gives one.
        event: None for a body that is malformed, or an event of somebody else.
        action: What is done to each node of the event.
        terminates_at: When the instances go by what the event says, which may have passed; None
            where it sets no moment, or nothing is done.
        drained_by: When a drain that begins now ends, finished or not.
        sightings: The nodes, by instance; None where nobody looked.
        outcome: What becomes of the message when everything goes its way.
    """

    verdict: Verdict
    outcome: Outcome
    reason: str | None = None
    shape: BodyShape | None = None
    event_id: str | None = None
    event: InterruptionEvent | None = None
    action: Action | None = None
    terminates_at: dt.datetime | None = None
    drained_by: deadlines.Deadline | None = None
    sightings: Mapping[InstanceId, Sighting] | None = None

    @property
    def kind(self) -> EventKind | None:
        """The kind of its event."""
        return None if self.event is None else self.event.kind

    def fields(self, *names: str) -> dict[str, object]:
        """The same for programs: plain values, None where something does not apply.

        Args:
            names: Which of them, in this order; all where none is named.
        """
        every = self._every_field()
        return {name: every[name] for name in names} if names else every

    def _every_field(self) -> dict[str, object]:
        event = self.event
        hook = None if event is None else event.lifecycle_action and event.lifecycle_action.hook
        return {
            "verdict": self.verdict.value,
            "shape": self.shape and self.shape.value,
            "kind": self.kind and self.kind.value,
            "event_id": self.event_id,
            "instances": event and [str(instance_id) for instance_id in event.instance_ids],
            "occurred_at": event and _iso(event.occurred_at),
            "deadline": self.terminates_at and _iso(self.terminates_at),
            "action": self.action and self.action.value,
            "lifecycle_hook": hook and {"group": hook.group, "name": hook.name},
            "nodes": self.node_names(),
            "reason": self.reason,
        }

    def node_names(self) -> list[str] | None:
        """The nodes of ours on which its instances run; None where nobody looked."""
        if self.sightings is None:
            return None
        return [
            str(sighting.node.name)
            for sighting in self.sightings.values()
            if sighting.node is not None and sighting.obstacle is None
        ]


def _iso(moment: dt.datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def explain(
    body: str,
    *,
    message_id: str | None,
    sent_at: dt.datetime,
    now: dt.datetime,
    decisions: Policy,
) -> Explanation:
    """Tell what the operator would do with a body, as far as the body says.

    Args:
        body: The body of a message.
        message_id: Of the message; None for a body that is no message yet.
        sent_at: When the queue took the message (UTC).
        now: The present (UTC).
        decisions: What the operator's owner decided.
    """
    try:
        found = parsing.parse(body, message_id=message_id or "", sent_at=sent_at)
    except errors.MalformedMessage as error:
        return _malformed(error)
    if isinstance(found, Ignored):
        return Explanation(
            verdict=Verdict.IGNORED,
            outcome=policy.ignored(found.reason),
            reason=found.reason,
            shape=found.shape,
            event_id=found.event_id or None,
        )
    return _of_event(found, now=now, decisions=decisions)


def explain_message(message: QueueMessage, *, now: dt.datetime, decisions: Policy) -> Explanation:
    """The same for a message that lies in a queue, or was recorded."""
    return explain(
        message.body,
        message_id=message.message_id,
        sent_at=message.sent_at or now,
        now=now,
        decisions=decisions,
    )


def explain_file(raw: bytes, *, now: dt.datetime, decisions: Policy) -> Explanation:
    """The same for a file: a body, which may be no text at all, or one recorded message.

    Raises:
        UsageError: It is a recording of several messages.
    """
    try:
        text = raw.decode()
    except UnicodeDecodeError as cause:
        error = errors.MalformedMessage(f"body: not UTF-8: {cause.reason}, byte {cause.start}")
        return _malformed(error)
    message = recording.read_only(text)
    if message is not None:
        return explain_message(message, now=now, decisions=decisions)
    return explain(text, message_id=None, sent_at=now, now=now, decisions=decisions)


def _malformed(error: errors.MalformedMessage) -> Explanation:
    return Explanation(
        verdict=Verdict.MALFORMED, reason=str(error), outcome=policy.dead_letter(error)
    )


def _of_event(event: InterruptionEvent, *, now: dt.datetime, decisions: Policy) -> Explanation:
    action, ignore_reason = decisions.action_for(event), decisions.ignore_reason(event)
    known = Explanation(
        verdict=Verdict.INTERRUPTION if ignore_reason is None else Verdict.IGNORED,
        outcome=_outcome(event, {}, decisions)
        if ignore_reason is None
        else policy.ignored(ignore_reason),
        reason=ignore_reason,
        shape=event.shape,
        event_id=event.event_id or None,
        event=event,
        action=action,
    )
    if action in {Action.IGNORE, Action.UNCORDON}:
        return known
    timeouts = decisions.timeouts
    return dataclasses.replace(
        known,
        terminates_at=deadlines.terminates_at(event, now=now, timeouts=timeouts),
        drained_by=deadlines.deadline_for(event, now=now, timeouts=timeouts),
    )


def located(
    known: Explanation, sightings: Mapping[InstanceId, Sighting], *, decisions: Policy
) -> Explanation:
    """The same explanation, when it is known on which nodes the instances run.

    Args:
        known: What the body says; for anything but an interruption nothing is added.
        sightings: By instance; one that is not in it runs no node.
        decisions: What the operator's owner decided.
    """
    event = known.event
    if event is None or known.verdict is not Verdict.INTERRUPTION:
        return known
    nowhere = Sighting(obstacle=Obstacle.NO_NODE)
    seen = {instance_id: sightings.get(instance_id, nowhere) for instance_id in event.instance_ids}
    obstacles = [
        f"{instance_id}: {sighting.obstacle}{_patience(event, sighting.obstacle, decisions)}"
        for instance_id, sighting in seen.items()
        if sighting.obstacle is not None
    ]
    return dataclasses.replace(
        known,
        sightings=seen,
        outcome=_outcome(event, seen, decisions),
        reason="; ".join(obstacles) or None,
    )


def _patience(event: InterruptionEvent, obstacle: Obstacle, decisions: Policy) -> str:
    if obstacle is Obstacle.NOT_TAGGED:
        return ""
    if decisions.action_for(event) is Action.AWAIT_READY:
        return ", and it is waited for"
    grace = decisions.join_timeout(event).total_seconds()
    return f", and it is waited for, {grace:.0f} s at most" if grace else ""


def _outcome(
    event: InterruptionEvent, sightings: Mapping[InstanceId, Sighting], decisions: Policy
) -> Outcome:
    """What becomes of the message when everything that can be done succeeds."""
    result = _ENDING_OF[decisions.action_for(event)]
    reports = [
        InstanceReport(instance_id=instance_id, result=_ending(result, sightings.get(instance_id)))
        for instance_id in event.instance_ids
    ]
    return policy.outcome_of(event, reports, policy=decisions, receive_count=1)


def _ending(hoped: InstanceResult, sighting: Sighting | None) -> InstanceResult:
    match sighting and sighting.obstacle:
        case None:
            return hoped
        case Obstacle.NOT_TAGGED:
            return InstanceResult.NOT_MANAGED
        case _:
            # A node that is waited for may still come.
            return hoped if hoped is InstanceResult.READY else InstanceResult.UNKNOWN_INSTANCE
