"""Works out what the operator would do with a message, and why, without doing it."""

import dataclasses
import datetime as dt
import enum
from collections.abc import Mapping, Sequence

from queue_processor.domain import deadlines, errors, parsing, policy
from queue_processor.domain.events import BodyShape, EventKind, Ignored, InterruptionEvent
from queue_processor.domain.identifiers import InstanceId
from queue_processor.domain.messages import QueueMessage
from queue_processor.domain.nodes import NodeView
from queue_processor.domain.plan import Action, InstanceReport, InstanceResult, Outcome
from queue_processor.domain.policy import Policy

_RESULT_OF = {
    Action.CORDON_AND_DRAIN: InstanceResult.DRAINED,
    Action.CORDON: InstanceResult.CORDONED,
    Action.UNCORDON: InstanceResult.UNCORDONED,
    Action.AWAIT_READY: InstanceResult.READY,
}


class MessageVerdict(enum.StrEnum):
    """The three things that a message can be to the operator."""

    INTERRUPTION = "interruption"
    IGNORED = "ignored"
    MALFORMED = "malformed"


class ExclusionReason(enum.StrEnum):
    """A reason not to act on the node of an instance."""

    NO_NODE = "no node of this cluster runs on it"
    NOT_SELECTED = "node_selector does not select its node"
    NOT_TAGGED = "it does not carry the managed_tag"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NodeMatch:
    """The node of an instance.

    Attributes:
        node: None if no node of the cluster runs on the instance.
        excluded: None if the operator acts on the node.
    """

    node: NodeView | None = None
    excluded: ExclusionReason | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """A message as the operator sees it.

    Attributes:
        reason: Why nothing is done, or not to every instance. None if all of it is done.
        shape: None for a malformed body.
        event_id: None if neither the body nor the message has one.
        event: None for a malformed body, or an event that the operator does not know.
        action: What is done to each node of the event.
        terminates_at: When the instances terminate by the event, which may have passed. None if it
            sets no time, or nothing is done.
        drained_by: When a drain that begins now ends, finished or not.
        matches: The nodes, by instance. None if nothing looked for them.
        outcome: The outcome of the message if everything succeeds.
    """

    verdict: MessageVerdict
    outcome: Outcome
    reason: str | None = None
    shape: BodyShape | None = None
    event_id: str | None = None
    event: InterruptionEvent | None = None
    action: Action | None = None
    terminates_at: dt.datetime | None = None
    drained_by: deadlines.Deadline | None = None
    matches: Mapping[InstanceId, NodeMatch] | None = None

    @property
    def kind(self) -> EventKind | None:
        """Return the kind of the event."""
        return None if self.event is None else self.event.kind

    @property
    def instances(self) -> str | None:
        """Return the instances of the event, for people."""
        return None if self.event is None else " ".join(self.event.instance_ids)

    def fields(self, *names: str) -> dict[str, object]:
        """Return the named fields in their order, or all of them, as values that JSON can hold."""
        event = self.event
        hook = None if event is None else event.lifecycle_action and event.lifecycle_action.hook
        every: dict[str, object] = {
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
        return {name: every[name] for name in names or every}

    def node_names(self) -> list[str] | None:
        """Return the nodes that the operator acts on; None if nothing looked for them."""
        if self.matches is None:
            return None
        return [
            str(match.node.name)
            for match in self.matches.values()
            if match.node is not None and match.excluded is None
        ]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedMessage:
    """A message, and what the operator would do with it."""

    message: QueueMessage
    explanation: Explanation

    def fields(self, *names: str) -> dict[str, object]:
        """Return the id of the message and the named fields of the explanation."""
        return {"message_id": self.message.message_id, **self.explanation.fields(*names)}


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
    """Explain a body, without looking at the cluster.

    Args:
        body: The body of a message.
        message_id: None for a body that is not in a message yet.
        sent_at: When the queue took the message (UTC).
        now: The present (UTC).
        decisions: The operator's settings, as decisions.
    """
    try:
        content = parsing.parse(body, message_id=message_id or "", sent_at=sent_at)
    except errors.MalformedMessage as error:
        return malformed(error)
    if isinstance(content, Ignored):
        return Explanation(
            verdict=MessageVerdict.IGNORED,
            outcome=policy.ignored(content.reason),
            reason=content.reason,
            shape=content.shape,
            event_id=content.event_id or None,
        )
    return explain_event(content, now=now, decisions=decisions)


def explain_message(message: QueueMessage, *, now: dt.datetime, decisions: Policy) -> Explanation:
    """Explain a message of a queue or a recording, without looking at the cluster."""
    return explain(
        message.body,
        message_id=message.message_id,
        sent_at=message.sent_at or now,
        now=now,
        decisions=decisions,
    )


def malformed(error: errors.MalformedMessage) -> Explanation:
    """Explain a body that is not an event."""
    return Explanation(
        verdict=MessageVerdict.MALFORMED, reason=str(error), outcome=policy.dead_letter(error)
    )


def explain_event(event: InterruptionEvent, *, now: dt.datetime, decisions: Policy) -> Explanation:
    """Explain an event, without looking at the cluster."""
    action, ignore_reason = decisions.action_for(event), decisions.ignore_reason(event)
    explained = Explanation(
        verdict=MessageVerdict.INTERRUPTION if ignore_reason is None else MessageVerdict.IGNORED,
        outcome=_outcome(event, {}, decisions)
        if ignore_reason is None
        else policy.ignored(ignore_reason),
        reason=ignore_reason or "; ".join(_resolved(event)) or None,
        shape=event.shape,
        event_id=event.event_id or None,
        event=event,
        action=action,
    )
    if action in {Action.IGNORE, Action.UNCORDON}:
        return explained
    timeouts = decisions.timeouts
    return dataclasses.replace(
        explained,
        terminates_at=deadlines.terminates_at(event, now=now, timeouts=timeouts),
        drained_by=deadlines.deadline_for(event, now=now, timeouts=timeouts),
    )


def with_nodes(
    explained: Explanation, matches: Mapping[InstanceId, NodeMatch], *, decisions: Policy
) -> Explanation:
    """Return the explanation with the nodes of its instances.

    Args:
        explained: What the body states. Anything but an interruption is returned as it is.
        matches: By instance. An instance that is missing has no node.
        decisions: The operator's settings, as decisions.
    """
    event = explained.event
    if event is None or explained.verdict is not MessageVerdict.INTERRUPTION:
        return explained
    no_node = NodeMatch(excluded=ExclusionReason.NO_NODE)
    of_event = {each: matches.get(each, no_node) for each in event.instance_ids}
    reasons = [
        f"{instance_id}: {match.excluded}{_wait_for_node(event, match.excluded, decisions)}"
        for instance_id, match in of_event.items()
        if match.excluded is not None
    ]
    return dataclasses.replace(
        explained,
        matches=of_event,
        outcome=_outcome(event, of_event, decisions),
        reason="; ".join([*_resolved(event), *reasons]) or None,
    )


def _resolved(event: InterruptionEvent) -> Sequence[str]:
    return [
        f"{instance_id}: resolved, so its node is uncordoned"
        for instance_id in event.instance_ids
        if instance_id in event.resolved_ids
    ]


def _wait_for_node(event: InterruptionEvent, excluded: ExclusionReason, decisions: Policy) -> str:
    if excluded is ExclusionReason.NOT_TAGGED:
        return ""
    if decisions.action_for(event) is Action.AWAIT_READY:
        return ", so the operator waits for one"
    timeout = decisions.join_timeout(event).total_seconds()
    return f", so the operator waits for one, {timeout:.0f} s at most" if timeout else ""


def _outcome(
    event: InterruptionEvent, matches: Mapping[InstanceId, NodeMatch], decisions: Policy
) -> Outcome:
    reports = [
        InstanceReport(
            instance_id=instance_id,
            result=_expected(
                _RESULT_OF[decisions.action_for(event.about(instance_id))], matches.get(instance_id)
            ),
        )
        for instance_id in event.instance_ids
    ]
    return policy.outcome_of(event, reports, policy=decisions, receive_count=1)


def _expected(success: InstanceResult, node: NodeMatch | None) -> InstanceResult:
    match node and node.excluded:
        case None:
            return success
        case ExclusionReason.NOT_TAGGED:
            return InstanceResult.NOT_MANAGED
        case _:
            # A node that the operator waits for may still join.
            return success if success is InstanceResult.READY else InstanceResult.UNKNOWN_INSTANCE
