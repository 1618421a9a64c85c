import datetime as dt
import json

import hypothesis
import pytest
from hypothesis import strategies as st

from queue_processor.domain import deadlines, policy
from queue_processor.domain.events import EventKind
from queue_processor.domain.identifiers import InstanceId, NodeName
from queue_processor.domain.nodes import NodeView
from queue_processor.domain.plan import Action, OutcomeKind
from queue_processor.domain.policy import CompleteNeverJoined
from queue_processor.messages import explain as explain_command
from queue_processor.messages import explanation
from queue_processor.messages.explanation import (
    ExclusionReason,
    Explanation,
    MessageVerdict,
    NodeMatch,
)

NOW = dt.datetime(2026, 8, 27, 12, 0, tzinfo=dt.UTC)
INSTANCE = InstanceId("i-1234567890abcdef0")
NODE = NodeView(
    name=NodeName("node-1"),
    uid="uid-1",
    resource_version="1",
    instance_id=INSTANCE,
    is_ready=True,
    is_unschedulable=False,
    taints=(),
)


def decisions(**changes: object) -> policy.Policy:
    settings: dict[str, object] = {
        "actions": {
            kind: Action.AWAIT_READY
            if kind is EventKind.AUTOSCALING_LAUNCH
            else Action.CORDON_AND_DRAIN
            for kind in EventKind
        },
        "timeouts": deadlines.DrainTimeouts(
            soft=dt.timedelta(minutes=30), lifecycle=dt.timedelta(hours=1)
        ),
        "unknown_instance": policy.UnknownInstancePolicy.DELETE,
        "unknown_instance_grace": dt.timedelta(minutes=1),
    }
    return policy.Policy(**settings | changes)  # type: ignore[arg-type] # fields by name


def explain(body: str, settings: policy.Policy | None = None) -> Explanation:
    return explanation.explain(
        body, message_id="message-1", sent_at=NOW, now=NOW, decisions=settings or decisions()
    )


def lifecycle(verb: str, transition: str) -> str:
    return json.dumps(
        {
            "source": "aws.autoscaling",
            "detail-type": f"EC2 Instance-{verb} Lifecycle Action",
            "detail": {
                "AutoScalingGroupName": "workers",
                "LifecycleHookName": "drain",
                "EC2InstanceId": INSTANCE,
                "LifecycleTransition": f"autoscaling:EC2_INSTANCE_{transition}",
            },
        }
    )


TERMINATE = lifecycle("terminate", "TERMINATING")
LAUNCH = lifecycle("launch", "LAUNCHING")


def locate(
    body: str, excluded: ExclusionReason | None, settings: policy.Policy | None = None
) -> Explanation:
    node = None if excluded is ExclusionReason.NO_NODE else NODE
    matches = {INSTANCE: NodeMatch(node=node, excluded=excluded)}
    settings = settings or decisions()
    return explanation.with_nodes(explain(body, settings), matches, decisions=settings)


def test_a_message_gives_its_id_to_an_event_that_has_none() -> None:
    assert explain(TERMINATE).event_id == "message-1"


def test_a_termination_with_its_node_completes_the_lifecycle_action() -> None:
    explained = locate(TERMINATE, None)

    assert explained.node_names() == ["node-1"]
    assert explained.reason is None
    assert explained.outcome.kind is OutcomeKind.DONE
    assert explained.outcome.completes is not None


@pytest.mark.parametrize(
    ("setting", "hook"),
    [(CompleteNeverJoined.EVIDENCE, "drain"), (CompleteNeverJoined.NEVER, None)],
)
def test_the_hook_of_an_instance_that_never_joined_is_left_unless_its_group_is_ours(
    setting: CompleteNeverJoined, hook: str | None
) -> None:
    settings = decisions(complete_never_joined=setting)
    explained = locate(TERMINATE, ExclusionReason.NO_NODE, settings)

    assert explained.node_names() == []
    assert explained.outcome.kind is OutcomeKind.IGNORED
    assert explained.outcome.completes is None
    left = explained.outcome.leaves
    assert (None if left is None else left.hook.name) == hook


def test_an_instance_without_the_tag_is_not_waited_for() -> None:
    explained = locate(TERMINATE, ExclusionReason.NOT_TAGGED)

    assert explained.reason == f"{INSTANCE}: it does not carry the managed_tag"
    assert (explained.outcome.kind, explained.outcome.completes) == (OutcomeKind.IGNORED, None)


def test_a_launch_waits_for_its_node_and_then_completes_the_action() -> None:
    explained = locate(LAUNCH, ExclusionReason.NO_NODE)

    assert explained.action is Action.AWAIT_READY
    assert (
        explained.reason
        == f"{INSTANCE}: no node of this cluster runs on it, so the operator waits for one"
    )
    assert explained.outcome.kind is OutcomeKind.DONE
    assert explained.outcome.completes is not None


def test_nodes_make_no_difference_to_what_is_no_interruption() -> None:
    explained = explain("nonsense")

    assert explanation.with_nodes(explained, {}, decisions=decisions()) is explained


@hypothesis.given(st.binary(max_size=200))
def test_any_file_has_a_verdict(raw: bytes) -> None:
    explained = explain_command.explain_file(raw, now=NOW, decisions=decisions())

    assert explained.verdict in {MessageVerdict.IGNORED, MessageVerdict.MALFORMED}
    assert explained.reason
