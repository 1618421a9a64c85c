"""(event, node, policy, now) → Plan, and (event, reports) → Outcome: every decision, pure."""

import dataclasses
import datetime as dt
import enum
from collections.abc import Collection, Mapping, Sequence
from typing import assert_never

from queue_processor.domain import deadlines, errors
from queue_processor.domain.events import (
    EVERYWHERE,
    AutoScalingGroup,
    EventKind,
    EventScope,
    InterruptionEvent,
)
from queue_processor.domain.holds import Hold
from queue_processor.domain.identifiers import InstanceId, NodeName
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
_CLUSTER_TAG_VALUES = frozenset({"owned", "shared"})
_NOT_FOR_US = frozenset({InstanceResult.UNKNOWN_INSTANCE, InstanceResult.NOT_MANAGED})


class Mode(enum.StrEnum):
    """The choice between carrying plans out and only reporting them."""

    DRAIN = "drain"
    OBSERVE = "observe"


class UnknownInstancePolicy(enum.StrEnum):
    """The outcome of a message about an instance that no node of ours runs on."""

    DELETE = "delete"
    RELEASE = "release"


class CompleteNeverJoined(enum.StrEnum):
    """The condition to complete the termination hook of an instance that never became a node."""

    EVIDENCE = "evidence"
    NEVER = "never"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GroupEvidence:
    """The evidence that an Auto Scaling group is our cluster's, or the reason why there is none."""

    is_ours: bool
    reason: str


NOT_LOOKED_UP = GroupEvidence(is_ours=False, reason="its group was not looked up")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Decisions from the settings.

    Attributes:
        scope: Whose events are for us.
        cluster_name: The cluster that the tags of an Auto Scaling group name if it is ours; None
            if no tag is evidence.
        mode: What happens to a plan.
    """

    actions: Mapping[EventKind, Action]
    timeouts: deadlines.DrainTimeouts
    unknown_instance: UnknownInstancePolicy
    unknown_instance_grace: dt.timedelta
    complete_never_joined: CompleteNeverJoined = CompleteNeverJoined.EVIDENCE
    cluster_name: str | None = None
    scope: EventScope = EVERYWHERE
    mode: Mode = Mode.DRAIN

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
        return self.scope.exclusion_reason(event)


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
        lifecycle_action=event.lifecycle_action,
    )


def outcome_of(
    event: InterruptionEvent,
    reports: Sequence[InstanceReport],
    *,
    policy: Policy,
    receive_count: int,
    evidence: GroupEvidence = NOT_LOOKED_UP,
) -> Outcome:
    """Decide the outcome of a message whose every instance has its report.

    Args:
        event: The event.
        reports: One for each of its instances.
        policy: The settings.
        receive_count: How often the message was received.
        evidence: About the group of a lifecycle action that `needs_evidence`.
    """
    outcome = _outcome_of_work(
        event, reports, policy=policy, receive_count=receive_count, evidence=evidence
    )
    match policy.mode:
        case Mode.DRAIN:
            return outcome
        case Mode.OBSERVE:
            return _observed(outcome)
        case _:
            assert_never(policy.mode)


def _outcome_of_work(
    event: InterruptionEvent,
    reports: Sequence[InstanceReport],
    *,
    policy: Policy,
    receive_count: int,
    evidence: GroupEvidence,
) -> Outcome:
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
    if needs_evidence(event, reports, policy=policy):
        return Outcome(
            kind=OutcomeKind.IGNORED,
            reason=f"{reason}; {evidence.reason}",
            completes=event.lifecycle_action if evidence.is_ours else None,
            leaves=None if evidence.is_ours else event.lifecycle_action,
        )
    if all(result in _NOT_FOR_US for result in endings):
        return Outcome(kind=OutcomeKind.IGNORED, reason=reason)
    action = None if _LEAVES_ACTION_OPEN.intersection(endings) else event.lifecycle_action
    return Outcome(kind=OutcomeKind.DONE, reason=reason, completes=action)


def _observed(outcome: Outcome) -> Outcome:
    """Return the outcome of a message for which nothing was done, where something would have been.

    It completes no lifecycle action; its message is deleted.
    """
    if outcome.kind is OutcomeKind.DONE or outcome.completes is not None:
        return dataclasses.replace(outcome, kind=OutcomeKind.OBSERVED)
    return outcome


def needs_evidence(
    event: InterruptionEvent, reports: Sequence[InstanceReport], *, policy: Policy
) -> bool:
    """Return True if it takes evidence about its group to complete the event's lifecycle action.

    The group of an instance that became a node is ours. One that never did may be another
    cluster's, where its pods are running.
    """
    return (
        event.kind is EventKind.AUTOSCALING_TERMINATION
        and any(report.result is InstanceResult.UNKNOWN_INSTANCE for report in reports)
        and policy.unknown_instance is UnknownInstancePolicy.DELETE
        and policy.complete_never_joined is CompleteNeverJoined.EVIDENCE
    )


def group_evidence(
    group: AutoScalingGroup,
    *,
    nodes_of_group: Collection[NodeName],
    unmapped: Collection[str],
    policy: Policy,
) -> GroupEvidence:
    """Decide whether a group is our cluster's.

    Args:
        group: The group.
        nodes_of_group: The nodes that run on its instances.
        unmapped: The nodes of which nobody can tell on which instance they run: each of them may
            be the one that does not seem to exist.
        policy: The settings.
    """
    if unmapped:
        return no_evidence(f"the instances of {len(unmapped)} nodes are unknown")
    if nodes_of_group:
        node = min(nodes_of_group)
        return GroupEvidence(is_ours=True, reason=f"the node {node} is in the group {group.name}")
    # https://docs.aws.amazon.com/eks/latest/userguide/eks-using-tags.html
    tag = f"kubernetes.io/cluster/{policy.cluster_name}"
    if policy.cluster_name is not None and group.tags.get(tag) in _CLUSTER_TAG_VALUES:
        return GroupEvidence(is_ours=True, reason=f"the group {group.name} has the tag {tag}")
    return no_evidence(f"the group {group.name} has no node of ours, and no tag with cluster_name")


def no_evidence(reason: str) -> GroupEvidence:
    """Return that nothing shows a group to be ours, and why."""
    return GroupEvidence(is_ours=False, reason=reason)


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
