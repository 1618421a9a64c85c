"""(event, node, policy, now) → Plan, and (event, reports) → Outcome: every decision, pure."""

import dataclasses
import datetime as dt
import enum
from collections.abc import Mapping, Sequence
from typing import assert_never

from queue_processor.domain import deadlines, errors
from queue_processor.domain.events import EventKind, InterruptionEvent
from queue_processor.domain.holds import Hold
from queue_processor.domain.identifiers import InstanceId
from queue_processor.domain.nodes import NodeView
from queue_processor.domain.plan import (
    Action,
    InstanceReport,
    InstanceResult,
    Outcome,
    OutcomeKind,
    Plan,
)

_RETRY_FIRST = dt.timedelta(seconds=2)
_RETRY_LIMIT = dt.timedelta(minutes=1)

# The pod may still run, or nobody knows: the group's own timeout decides.
_LEAVES_ACTION_OPEN = frozenset({InstanceResult.NEVER_READY})
_NOT_FOR_US = frozenset({InstanceResult.UNKNOWN_INSTANCE, InstanceResult.NOT_MANAGED})


class UnknownInstancePolicy(enum.StrEnum):
    """The outcome of a message about an instance that no node of ours runs on."""

    DELETE = "delete"
    RELEASE = "release"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Decisions from the settings.

    Attributes:
        completes_never_joined: True to complete the termination hook of an instance that never
            became a node, so that it does not hang.
    """

    actions: Mapping[EventKind, Action]
    timeouts: deadlines.DrainTimeouts
    unknown_instance: UnknownInstancePolicy
    unknown_instance_grace: dt.timedelta
    completes_never_joined: bool = True

    def join_timeout(self, event: InterruptionEvent) -> dt.timedelta:
        """Return how long the event's instance, if it is not a node, may take to become one.

        An instance that is on its way out joins no more; and where other clusters read the
        same queue, one of them may need the message now.
        """
        if (
            event.instance_state is not None
            or event.is_cancelled
            or self.unknown_instance is UnknownInstancePolicy.RELEASE
        ):
            return dt.timedelta()
        return self.unknown_instance_grace

    def action_for(self, event: InterruptionEvent) -> Action:
        """Return what to do about an event, whichever node it names."""
        action = self.actions[event.kind]
        if event.is_cancelled and action is not Action.IGNORE:
            return Action.UNCORDON
        return action

    def ignore_reason(self, event: InterruptionEvent) -> str | None:
        """Return why there is nothing to do about an event; None if there is."""
        if self.action_for(event) is Action.IGNORE:
            return f"actions.{event.kind} is ignore"
        return None


def plan_for(
    event: InterruptionEvent,
    node: NodeView,
    *,
    policy: Policy,
    now: dt.datetime,
) -> Plan:
    """Decide what to do with one node of an event, and until when."""
    plan = plan_without_node(event, node.instance_id, policy=policy, now=now)
    plan = dataclasses.replace(plan, node_name=node.name)
    # A process that was killed wrote its deadline down: starting over does not move it.
    held = node.hold(event.hold_id)
    if held is None or held.event_id != event.event_id:
        return plan
    if not now < held.deadline.at < plan.deadline.at:
        return plan
    deadline = dataclasses.replace(plan.deadline, at=held.deadline.at)
    return dataclasses.replace(plan, deadline=deadline, since=min(held.since, now))


def plan_of(hold: Hold, node: NodeView) -> Plan:
    """Return the plan that a hold was made from."""
    return Plan(
        event_id=hold.event_id,
        hold_id=hold.id,
        kind=hold.kind,
        occurred_at=hold.occurred_at,
        since=hold.since,
        action=hold.action,
        instance_id=node.instance_id,
        node_name=node.name,
        deadline=hold.deadline,
        is_instance_gone=hold.is_instance_gone,
    )


def plan_to_resume(hold: Hold, node: NodeView, *, now: dt.datetime) -> Plan:
    """Return the plan to go on with what another process has left unfinished.

    Where its deadline has passed meanwhile, the pods that are left still get a SIGTERM.
    """
    plan = plan_of(hold, node)
    if plan.deadline.last_at > now:
        return plan
    deadline = deadlines.Deadline(at=now + deadlines.LATE_WINDOW, is_hard=plan.deadline.is_hard)
    return dataclasses.replace(plan, deadline=deadline)


def plan_without_node(
    event: InterruptionEvent,
    instance_id: InstanceId,
    *,
    policy: Policy,
    now: dt.datetime,
) -> Plan:
    """Decide what to do about one instance of an event, whichever node it is or will be."""
    return Plan(
        event_id=event.event_id,
        hold_id=event.hold_id,
        kind=event.kind,
        occurred_at=event.occurred_at,
        since=now,
        action=policy.action_for(event),
        instance_id=instance_id,
        node_name=None,
        deadline=deadlines.deadline_for(event, now=now, timeouts=policy.timeouts),
        is_instance_gone=deadlines.is_instance_gone(event),
    )


def outcome_of(
    event: InterruptionEvent,
    reports: Sequence[InstanceReport],
    *,
    policy: Policy,
    receive_count: int,
) -> Outcome:
    """Decide the outcome of a message whose every instance has its report."""
    endings = [report.result for report in reports]
    reason = ", ".join(f"{report.instance_id}: {report.result}" for report in reports)
    if InstanceResult.UNKNOWN_INSTANCE in endings:
        match policy.unknown_instance:
            case UnknownInstancePolicy.RELEASE:
                return retry(f"left to its owner: {reason}", receive_count=receive_count)
            case UnknownInstancePolicy.DELETE:
                pass
            case _:
                assert_never(policy.unknown_instance)
    if all(result in _NOT_FOR_US for result in endings):
        completes = (
            event.kind is EventKind.AUTOSCALING_TERMINATION
            and InstanceResult.UNKNOWN_INSTANCE in endings
            and policy.completes_never_joined
        )
        action = event.lifecycle_action if completes else None
        return Outcome(kind=OutcomeKind.IGNORED, reason=reason, completes=action)
    action = None if _LEAVES_ACTION_OPEN.intersection(endings) else event.lifecycle_action
    return Outcome(kind=OutcomeKind.DONE, reason=reason, completes=action)


def ignored(reason: str) -> Outcome:
    """Return the outcome of an event that asks for nothing."""
    return Outcome(kind=OutcomeKind.IGNORED, reason=reason)


def dead_letter(error: errors.MalformedMessage) -> Outcome:
    """Return the outcome of a body that cannot be understood."""
    return Outcome(kind=OutcomeKind.DEAD_LETTER, reason=str(error))


def retry(reason: str, *, receive_count: int) -> Outcome:
    """Return the outcome of work that failed and may succeed: later each time."""
    doublings = min(max(receive_count - 1, 0), 16)
    return Outcome(
        kind=OutcomeKind.RETRY,
        reason=reason,
        visible_after=min(_RETRY_FIRST * 2**doublings, _RETRY_LIMIT),
    )


def release(reason: str) -> Outcome:
    """Return the outcome of work that another process takes over at once."""
    return Outcome(kind=OutcomeKind.RETRY, reason=reason)
