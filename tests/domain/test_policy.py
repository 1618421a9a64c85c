import dataclasses
import datetime as dt
import itertools
import re
from collections.abc import Mapping
from types import MappingProxyType

import pytest

from queue_processor.domain import deadlines, errors, policy
from queue_processor.domain.deadlines import Deadline
from queue_processor.domain.events import (
    AutoScalingGroup,
    BodyShape,
    EventKind,
    EventScope,
    InstanceState,
    InterruptionEvent,
    LifecycleAction,
    LifecycleHook,
    LifecycleTransition,
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
from queue_processor.domain.policy import (
    CompleteNeverJoined,
    GroupEvidence,
    Mode,
    Policy,
    UnknownInstancePolicy,
)

NOON = dt.datetime(2026, 8, 27, 12, 0, tzinfo=dt.UTC)
NOW = NOON + dt.timedelta(seconds=10)
SECOND = dt.timedelta(seconds=1)
MINUTE = dt.timedelta(minutes=1)
HOUR = dt.timedelta(hours=1)
FIRST, SECOND_ONE, THIRD = (InstanceId(f"i-0000000{number}") for number in (1, 2, 3))

ACTIONS = dict.fromkeys(EventKind, Action.CORDON_AND_DRAIN) | {
    EventKind.AUTOSCALING_LAUNCH: Action.AWAIT_READY
}
POLICY = Policy(
    actions=ACTIONS,
    timeouts=deadlines.DrainTimeouts(soft=30 * MINUTE, lifecycle=HOUR),
    unknown_instance=UnknownInstancePolicy.DELETE,
    unknown_instance_grace=MINUTE,
)
RELEASING = dataclasses.replace(POLICY, unknown_instance=UnknownInstancePolicy.RELEASE)

SPOT = InterruptionEvent(
    event_id="event-1",
    kind=EventKind.SPOT_INTERRUPTION,
    shape=BodyShape.EVENTBRIDGE,
    instance_ids=(FIRST,),
    occurred_at=NOON,
)
LIFECYCLE_ACTION = LifecycleAction(
    hook=LifecycleHook(group="workers", name="drain"),
    transition=LifecycleTransition.TERMINATING,
    instance_id=FIRST,
    token=None,
)
TERMINATION = dataclasses.replace(
    SPOT, kind=EventKind.AUTOSCALING_TERMINATION, lifecycle_action=LIFECYCLE_ACTION
)
LAUNCHING = dataclasses.replace(LIFECYCLE_ACTION, transition=LifecycleTransition.LAUNCHING)
LAUNCH = dataclasses.replace(SPOT, kind=EventKind.AUTOSCALING_LAUNCH, lifecycle_action=LAUNCHING)
SCHEDULED = dataclasses.replace(
    SPOT, kind=EventKind.SCHEDULED_CHANGE, instance_ids=(FIRST, SECOND_ONE, THIRD)
)
CANCELLED = dataclasses.replace(SCHEDULED, is_cancelled=True)
NODE = NodeView(
    name=NodeName("node-1"),
    uid="uid-1",
    resource_version="1",
    instance_id=FIRST,
    is_ready=True,
    is_unschedulable=False,
    taints=(),
)


def held(at: dt.datetime, *, event_id: str = "event-1", is_hard: bool = True) -> NodeView:
    """Return a node with a hold of an event, and this deadline."""
    hold = Hold(
        id=event_id,
        event_id=event_id,
        kind=SPOT.kind,
        action=Action.CORDON_AND_DRAIN,
        occurred_at=NOON,
        since=NOON,
        deadline=Deadline(at=at, is_hard=is_hard),
    )
    return dataclasses.replace(NODE, holds=(hold,))


def plan(event: InterruptionEvent, node: NodeView = NODE, *, decisions: Policy = POLICY) -> Plan:
    return policy.plan_for(event, node, policy=decisions, now=NOW)


def outcome(
    event: InterruptionEvent,
    *endings: InstanceResult,
    decisions: Policy = POLICY,
    receive_count: int = 1,
    evidence: GroupEvidence = policy.NOT_LOOKED_UP,
) -> Outcome:
    reports = [
        InstanceReport(instance_id=instance_id, result=result)
        for instance_id, result in zip(event.instance_ids, endings, strict=True)
    ]
    return policy.outcome_of(
        event, reports, policy=decisions, receive_count=receive_count, evidence=evidence
    )


# Whose events are for us.

SCOPE = EventScope(accounts=frozenset({"111122223333"}), region="eu-west-1")


@pytest.mark.parametrize(
    ("account", "region"),
    [
        ("111122223333", "eu-west-1"),
        # A notification of Auto Scaling states no Region, and an event of a person maybe neither.
        ("111122223333", None),
        (None, None),
    ],
)
def test_an_event_of_our_account_and_region_is_handled(
    account: str | None, region: str | None
) -> None:
    event = dataclasses.replace(SPOT, account=account, region=region)

    assert dataclasses.replace(POLICY, scope=SCOPE).ignore_reason(event) is None


@pytest.mark.parametrize(
    ("account", "region", "reason"),
    [
        ("444455556666", "eu-west-1", "444455556666.*sources.sqs.accounts"),
        ("", None, "sources.sqs.accounts"),
        ("111122223333", "us-east-1", "us-east-1.*the queue is in eu-west-1"),
        (None, "us-east-1", "us-east-1"),
    ],
)
def test_an_event_of_another_account_or_region_is_ignored_with_a_reason(
    account: str | None, region: str | None, reason: str
) -> None:
    event = dataclasses.replace(SPOT, account=account, region=region)

    ignored = dataclasses.replace(POLICY, scope=SCOPE).ignore_reason(event)

    assert ignored is not None
    assert re.search(reason, ignored)


def test_a_policy_without_a_scope_handles_events_of_everywhere() -> None:
    event = dataclasses.replace(SPOT, account="444455556666", region="us-east-1")

    assert POLICY.ignore_reason(event) is None


# The plan.


def test_a_plan_says_what_is_done_with_which_node_until_when() -> None:
    assert plan(SPOT) == Plan(
        event_id="event-1",
        hold_id="event-1",
        kind=EventKind.SPOT_INTERRUPTION,
        occurred_at=NOON,
        since=NOW,
        action=Action.CORDON_AND_DRAIN,
        instance_id=FIRST,
        node_name=NodeName("node-1"),
        deadline=Deadline(at=NOON + 120 * SECOND, is_hard=True),
    )


def test_every_node_of_an_event_gets_a_plan_of_its_own() -> None:
    other = dataclasses.replace(NODE, name=NodeName("node-2"), instance_id=SECOND_ONE)

    assert plan(SCHEDULED).node_name == "node-1"
    assert plan(SCHEDULED, other).node_name == "node-2"
    assert plan(SCHEDULED, other).instance_id == SECOND_ONE


@pytest.mark.parametrize("kind", list(EventKind))
@pytest.mark.parametrize("action", [Action.CORDON_AND_DRAIN, Action.CORDON, Action.IGNORE])
def test_the_owner_decides_what_is_done_about_each_kind(kind: EventKind, action: Action) -> None:
    decisions = dataclasses.replace(POLICY, actions=ACTIONS | {kind: action})

    for each in EventKind:
        event = dataclasses.replace(SPOT, kind=each)
        expected = action if each is kind else ACTIONS[each]
        assert plan(event, decisions=decisions).action is expected


def test_a_withdrawn_change_is_undone() -> None:
    assert plan(CANCELLED).action is Action.UNCORDON


def test_a_withdrawn_change_of_a_kind_that_is_ignored_is_ignored() -> None:
    ignoring = dataclasses.replace(
        POLICY, actions=ACTIONS | {EventKind.SCHEDULED_CHANGE: Action.IGNORE}
    )

    assert plan(CANCELLED, decisions=ignoring).action is Action.IGNORE


@pytest.mark.parametrize(
    ("state", "is_gone"),
    [
        (InstanceState.STOPPING, False),
        (InstanceState.SHUTTING_DOWN, False),
        (InstanceState.STOPPED, True),
        (InstanceState.TERMINATED, True),
    ],
)
def test_a_plan_knows_whether_anything_still_runs(state: InstanceState, *, is_gone: bool) -> None:
    changed = dataclasses.replace(SPOT, kind=EventKind.STATE_CHANGE, instance_state=state)

    assert plan(changed).is_instance_gone is is_gone


def test_the_hooks_own_timeout_reaches_the_plan() -> None:
    action = dataclasses.replace(LIFECYCLE_ACTION, heartbeat_timeout=30 * SECOND)
    planned = plan(dataclasses.replace(TERMINATION, lifecycle_action=action))

    assert planned.deadline == Deadline(at=NOON + 3000 * SECOND, is_hard=True)


# The deadline that an earlier process wrote on the node.


def test_an_earlier_deadline_on_the_node_rules() -> None:
    assert plan(SPOT, held(NOON + MINUTE)).deadline == Deadline(at=NOON + MINUTE, is_hard=True)


def test_an_earlier_deadline_on_the_node_makes_nothing_hard() -> None:
    recommended = dataclasses.replace(SPOT, kind=EventKind.REBALANCE_RECOMMENDATION)

    assert plan(recommended, held(NOON + MINUTE)).deadline == Deadline(
        at=NOON + MINUTE, is_hard=False
    )


@pytest.mark.parametrize(
    "node",
    [
        held(NOON + HOUR),
        held(NOON - HOUR),
        held(NOW),
        held(NOON + MINUTE, event_id="event-2"),
    ],
)
def test_no_other_deadline_on_the_node_moves_the_plans(node: NodeView) -> None:
    assert plan(SPOT, node).deadline == plan(SPOT).deadline


# How long an instance may take to become a node.


def test_an_instance_that_is_no_node_may_be_joining() -> None:
    assert POLICY.join_timeout(SPOT) == MINUTE
    assert POLICY.join_timeout(TERMINATION) == MINUTE


@pytest.mark.parametrize("state", list(InstanceState))
def test_an_instance_on_its_way_out_joins_no_more(state: InstanceState) -> None:
    changed = dataclasses.replace(SPOT, kind=EventKind.STATE_CHANGE, instance_state=state)

    assert POLICY.join_timeout(changed) == dt.timedelta()


def test_a_message_that_may_be_anothers_is_not_held_back() -> None:
    assert RELEASING.join_timeout(SPOT) == dt.timedelta()


# The outcome, for every result.

WORKED = [
    InstanceResult.DRAINED,
    InstanceResult.CORDONED,
    InstanceResult.UNCORDONED,
    InstanceResult.READY,
    InstanceResult.NODE_GONE,
    InstanceResult.PAST_DEADLINE,
    InstanceResult.GAVE_UP,
    InstanceResult.CANCELLED,
    InstanceResult.HELD_BY_ANOTHER,
    InstanceResult.STILL_RUNNING,
    InstanceResult.OBSERVED,
]
NOT_FOR_US = [InstanceResult.UNKNOWN_INSTANCE, InstanceResult.NOT_MANAGED]


def test_every_ending_has_a_case() -> None:
    assert {*WORKED, *NOT_FOR_US, InstanceResult.NEVER_READY} == set(InstanceResult)


@pytest.mark.parametrize("result", [*WORKED, InstanceResult.NEVER_READY])
def test_work_that_has_come_to_an_end_is_done(result: InstanceResult) -> None:
    settled = outcome(SPOT, result)

    assert settled.kind is OutcomeKind.DONE
    assert settled.completes is None
    assert FIRST in settled.reason
    assert result in settled.reason


@pytest.mark.parametrize("result", NOT_FOR_US)
def test_an_instance_that_is_not_ours_is_ignored(result: InstanceResult) -> None:
    settled = outcome(SPOT, result)

    assert settled.kind is OutcomeKind.IGNORED
    assert settled.completes is None
    assert result in settled.reason


@pytest.mark.parametrize("result", WORKED)
def test_a_termination_lets_its_group_go_on_however_the_work_ended(result: InstanceResult) -> None:
    settled = outcome(TERMINATION, result)

    assert settled.kind is OutcomeKind.DONE
    assert settled.completes == LIFECYCLE_ACTION


def test_a_termination_of_an_instance_that_never_joined_completes_for_a_group_of_ours() -> None:
    evidence = GroupEvidence(is_ours=True, reason="the node node-2 is in the group workers")

    settled = outcome(TERMINATION, InstanceResult.UNKNOWN_INSTANCE, evidence=evidence)

    assert settled.kind is OutcomeKind.IGNORED
    assert (settled.completes, settled.leaves) == (LIFECYCLE_ACTION, None)
    assert settled.reason.endswith(evidence.reason)


@pytest.mark.parametrize("evidence", [policy.NOT_LOOKED_UP, policy.no_evidence("a reason")])
def test_a_termination_of_an_instance_that_never_joined_is_left_without_evidence(
    evidence: GroupEvidence,
) -> None:
    settled = outcome(TERMINATION, InstanceResult.UNKNOWN_INSTANCE, evidence=evidence)

    assert settled.kind is OutcomeKind.IGNORED
    assert (settled.completes, settled.leaves) == (None, LIFECYCLE_ACTION)
    assert settled.reason.endswith(evidence.reason)


def test_a_termination_of_one_that_never_joined_is_left_open_where_the_owner_says_so() -> None:
    careful = dataclasses.replace(POLICY, complete_never_joined=CompleteNeverJoined.NEVER)

    settled = outcome(
        TERMINATION,
        InstanceResult.UNKNOWN_INSTANCE,
        decisions=careful,
        evidence=GroupEvidence(is_ours=True, reason="it does not matter"),
    )

    assert settled.kind is OutcomeKind.IGNORED
    assert (settled.completes, settled.leaves) == (None, None)


def evidence_about(
    *nodes_of_group: NodeName,
    unmapped: tuple[str, ...] = (),
    cluster_name: str | None = "ours",
    tags: Mapping[str, str] = MappingProxyType({}),
) -> GroupEvidence:
    group = AutoScalingGroup(name="workers", instance_ids=frozenset({FIRST}), tags=tags)
    return policy.group_evidence(
        group,
        nodes_of_group=nodes_of_group,
        unmapped=unmapped,
        policy=dataclasses.replace(POLICY, cluster_name=cluster_name),
    )


def test_a_group_with_a_node_of_ours_is_ours() -> None:
    evidence = evidence_about(NodeName("node-2"), cluster_name=None)

    assert evidence == GroupEvidence(is_ours=True, reason="the node node-2 is in the group workers")


@pytest.mark.parametrize("value", ["owned", "shared"])
def test_a_group_whose_tag_names_our_cluster_is_ours(value: str) -> None:
    assert evidence_about(tags={"kubernetes.io/cluster/ours": value}).is_ours


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {"kubernetes.io/cluster/ours": ""},
        {"kubernetes.io/cluster/theirs": "owned"},
        {"kubernetes.io/cluster/ours-too": "owned"},
        {"cluster": "ours"},
    ],
)
def test_a_group_whose_tags_do_not_name_our_cluster_is_not_ours(tags: dict[str, str]) -> None:
    assert not evidence_about(tags=tags).is_ours


def test_without_a_cluster_name_no_tag_is_evidence() -> None:
    assert not evidence_about(
        cluster_name=None, tags={"kubernetes.io/cluster/None": "owned"}
    ).is_ours


def test_while_some_nodes_have_no_instance_nothing_shows_that_one_never_joined() -> None:
    evidence = evidence_about(
        NodeName("node-2"), unmapped=("node-9",), tags={"kubernetes.io/cluster/ours": "owned"}
    )

    assert not evidence.is_ours


def test_a_termination_that_is_not_managed_is_left_to_its_owner() -> None:
    settled = outcome(TERMINATION, InstanceResult.NOT_MANAGED)

    assert settled.kind is OutcomeKind.IGNORED
    assert settled.completes is None


def test_a_launch_whose_node_is_ready_lets_its_group_go_on() -> None:
    assert outcome(LAUNCH, InstanceResult.READY).completes == LAUNCHING


def test_a_launch_whose_node_never_got_ready_is_left_to_the_groups_own_timeout() -> None:
    settled = outcome(LAUNCH, InstanceResult.NEVER_READY)

    assert settled.kind is OutcomeKind.DONE
    assert settled.completes is None


@pytest.mark.parametrize("result", NOT_FOR_US)
def test_a_launch_that_is_not_ours_is_not_completed(result: InstanceResult) -> None:
    assert outcome(LAUNCH, result).completes is None


# Several instances.


@pytest.mark.parametrize(
    "endings", [*itertools.product([InstanceResult.DRAINED, *NOT_FOR_US], repeat=3)]
)
def test_a_message_is_done_when_one_of_its_instances_was_ours(
    endings: tuple[InstanceResult, ...],
) -> None:
    settled = outcome(SCHEDULED, *endings)

    was_ours = InstanceResult.DRAINED in endings
    assert settled.kind is (OutcomeKind.DONE if was_ours else OutcomeKind.IGNORED)
    assert all(instance_id in settled.reason for instance_id in SCHEDULED.instance_ids)


# Another cluster reads the same queue.


@pytest.mark.parametrize("event", [SPOT, TERMINATION])
def test_an_unknown_instance_is_left_for_its_owner(event: InterruptionEvent) -> None:
    settled = outcome(event, InstanceResult.UNKNOWN_INSTANCE, decisions=RELEASING)

    assert settled.kind is OutcomeKind.RETRY
    assert settled.completes is None
    assert settled.visible_after > dt.timedelta()


def test_one_unknown_instance_among_ours_leaves_the_message_for_its_owner() -> None:
    settled = outcome(
        SCHEDULED,
        InstanceResult.DRAINED,
        InstanceResult.UNKNOWN_INSTANCE,
        InstanceResult.NODE_GONE,
        decisions=RELEASING,
    )

    assert settled.kind is OutcomeKind.RETRY


@pytest.mark.parametrize("result", [*WORKED, InstanceResult.NOT_MANAGED])
def test_what_is_no_unknown_instance_is_not_left_to_others(result: InstanceResult) -> None:
    assert outcome(SPOT, result, decisions=RELEASING) == outcome(SPOT, result)


def test_a_message_that_nobody_takes_comes_back_less_and_less_often() -> None:
    waits = [
        outcome(
            SPOT, InstanceResult.UNKNOWN_INSTANCE, decisions=RELEASING, receive_count=count
        ).visible_after
        for count in range(1, 12)
    ]

    assert waits == sorted(waits)
    assert waits[0] < waits[-1]


# The mode `observe`.

OBSERVING = dataclasses.replace(POLICY, mode=Mode.OBSERVE)


def test_what_would_be_done_is_observed_and_names_the_action_that_would_be_completed() -> None:
    settled = outcome(TERMINATION, InstanceResult.OBSERVED, decisions=OBSERVING)

    assert settled.kind is OutcomeKind.OBSERVED
    assert settled.completes == TERMINATION.lifecycle_action


@pytest.mark.parametrize("is_ours", [True, False])
def test_an_action_that_evidence_would_complete_is_observed(*, is_ours: bool) -> None:
    settled = outcome(
        TERMINATION,
        InstanceResult.UNKNOWN_INSTANCE,
        decisions=OBSERVING,
        evidence=GroupEvidence(is_ours=is_ours, reason="a node is in the group"),
    )

    assert settled.kind is (OutcomeKind.OBSERVED if is_ours else OutcomeKind.IGNORED)


@pytest.mark.parametrize("result", NOT_FOR_US)
def test_an_instance_that_is_not_ours_is_ignored_by_an_observer_too(result: InstanceResult) -> None:
    assert outcome(SPOT, result, decisions=OBSERVING) == outcome(SPOT, result)


def test_an_unknown_instance_is_left_for_its_owner_by_an_observer_too() -> None:
    releasing = dataclasses.replace(RELEASING, mode=Mode.OBSERVE)
    settled = outcome(SPOT, InstanceResult.UNKNOWN_INSTANCE, decisions=releasing)

    assert settled.kind is OutcomeKind.RETRY


# The other outcomes.


def test_a_retry_waits_two_seconds_and_then_longer_each_time() -> None:
    waits = [policy.retry("why", receive_count=count).visible_after for count in (1, 2, 3, 4)]

    assert waits == [2 * SECOND, 4 * SECOND, 8 * SECOND, 16 * SECOND]


@pytest.mark.parametrize("count", [-1, 0, 1, 2, 9, 20, 1000, 10**9])
def test_a_retry_waits_between_two_seconds_and_five_minutes(count: int) -> None:
    retry = policy.retry("the API server is away", receive_count=count)

    assert retry.kind is OutcomeKind.RETRY
    assert 2 * SECOND <= retry.visible_after <= 5 * MINUTE
    assert retry.reason == "the API server is away"
    assert retry.completes is None


def test_a_message_that_is_handed_back_is_there_for_the_next_process_at_once() -> None:
    handed_back = policy.release("stopping")

    assert handed_back.kind is OutcomeKind.RETRY
    assert handed_back.visible_after == dt.timedelta()
    assert handed_back.completes is None


def test_a_malformed_message_becomes_a_dead_letter_with_its_fault() -> None:
    dead = policy.dead_letter(errors.MalformedMessage("detail: missing"))

    assert dead.kind is OutcomeKind.DEAD_LETTER
    assert dead.reason == "detail: missing"
    assert dead.completes is None


def test_an_event_that_asks_for_nothing_is_ignored_with_its_reason() -> None:
    assert policy.ignored("running") == Outcome(kind=OutcomeKind.IGNORED, reason="running")
