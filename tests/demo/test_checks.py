"""Every check passes where all came out right, and fails when what it is about did not."""

import dataclasses
from collections.abc import Callable

import pytest

from queue_processor.simulator.aws import lifecycle, records
from queue_processor.simulator.demo import checks, evidence
from queue_processor.simulator.kube import history, store
from tests.demo import told

Evidence = evidence.Evidence
Break = Callable[[Evidence], Evidence]


def failures(known: Evidence) -> set[str]:
    judged = (*checks.of_the_work(known), *checks.of_the_end(known))
    return {check.name for check in judged if not check.passed}


def with_pod(known: Evidence, name: str, **facts: object) -> Evidence:
    pods = [
        dataclasses.replace(pod, **facts) if pod.name == name else pod  # type: ignore[arg-type]
        for pod in known.pods
    ]
    return dataclasses.replace(known, pods=pods)


def with_message(known: Evidence, mark: str, **facts: object) -> Evidence:
    messages = [
        dataclasses.replace(one, **facts) if one.message_id == f"message-{mark}" else one  # type: ignore[arg-type]
        for one in known.messages
    ]
    return dataclasses.replace(known, messages=messages)


def with_action(known: Evidence, token: str, **facts: object) -> Evidence:
    actions = [
        dataclasses.replace(one, **facts) if one.token == token else one  # type: ignore[arg-type]
        for one in known.actions
    ]
    return dataclasses.replace(known, actions=actions)


def with_cordon(known: Evidence, node: str, seconds: float) -> Evidence:
    record = history.CordonRecord(node, told.at(seconds), "operator")
    return dataclasses.replace(known, cordons={**known.cordons, node: record})


def without_cordon(known: Evidence, node: str) -> Evidence:
    left = {name: record for name, record in known.cordons.items() if name != node}
    return dataclasses.replace(known, cordons=left)


BREAKS: dict[str, list[Break]] = {
    "every message came into the queue": [
        lambda right: dataclasses.replace(right, messages=right.messages[1:]),
        lambda right: dataclasses.replace(
            right, messages=[*right.messages, told.message("stray", deleted=1)]
        ),
    ],
    "the queue is empty": [lambda right: dataclasses.replace(right, left=1)],
    "every message was settled": [
        lambda right: with_message(right, "spot", ending=None, ended_at=None),
        lambda right: with_message(right, "spot", ending=records.MessageEnding.DEAD_LETTERED),
    ],
    "what is malformed lies in the dead-letter queue, and nothing else": [
        lambda right: dataclasses.replace(right, dead_letters=()),
        lambda right: dataclasses.replace(right, dead_letters=(told.GARBAGE,) * 2),
        lambda right: dataclasses.replace(right, dead_letters=('{"id": "spot"}',)),
    ],
    "a message is deleted only when its nodes are done": [
        lambda right: with_message(right, "spot", ended_at=told.at(6.9)),
        lambda right: with_message(right, "leaving", ended_at=told.at(1.9)),
        lambda right: with_message(right, "coming", ended_at=told.at(3.9)),
    ],
    "the interrupted nodes were cordoned, and no others": [
        lambda right: without_cordon(right, "a"),
        lambda right: with_cordon(right, "d", 1),
    ],
    "they stay cordoned": [
        lambda right: dataclasses.replace(right, unschedulable=frozenset({"a"})),
        lambda right: dataclasses.replace(right, unschedulable=frozenset("abd")),
    ],
    "they are drained": [
        lambda right: with_pod(right, "web-1", removed=None),
        lambda right: without_cordon(right, "b"),
    ],
    "nodes are cordoned at once (p99)": [
        lambda right: with_cordon(right, "b", 1.6),
        lambda right: dataclasses.replace(right, cordons={}),
    ],
    "nodes are drained before their deadlines": [
        lambda right: with_pod(right, "licence-1", removed=told.at(36)),
        lambda right: with_pod(right, "licence-1", removed=None),
    ],
    "budgets are kept until a deadline is near": [
        lambda right: with_pod(right, "licence-1", removal_requested=told.at(1)),
        lambda right: dataclasses.replace(
            right, breaches=[*right.breaches, told.breach("web-1", store.Cause.EVICTION)]
        ),
        lambda right: dataclasses.replace(
            right, breaches=[*right.breaches, told.breach("web-3", store.Cause.DELETE)]
        ),
    ],
    "only pods whose budget never lets them go are deleted at the deadline": [
        lambda right: with_pod(
            right, "web-1", removal_cause=store.Cause.DELETE, removal_requested=told.at(6)
        ),
        lambda right: with_pod(right, "licence-1", removal_cause=store.Cause.EVICTION),
    ],
    "every pod that moved had its SIGTERM and the time to exit": [
        lambda right: with_pod(right, "web-1", termination=history.PodTermination.KILLED),
        lambda right: with_pod(right, "web-1", termination=history.PodTermination.REMOVED),
        lambda right: with_pod(right, "web-1", signalled=None),
    ],
    "pods on other nodes stay, and so do those of the DaemonSet": [
        lambda right: with_pod(right, "web-3", removal_requested=told.at(1)),
        lambda right: dataclasses.replace(
            right, agents=[told.moved("agent-1", "a", asked=1, gone=2)]
        ),
    ],
    "every workload is complete again": [
        lambda right: dataclasses.replace(right, ready={"web": 2, "licence": 1}),
        lambda right: dataclasses.replace(right, ready={"web": 4, "licence": 1}),
    ],
    "every lifecycle hook held up one instance": [
        lambda right: dataclasses.replace(right, actions=right.actions[:1]),
    ],
    "every lifecycle action was completed with CONTINUE": [
        lambda right: with_action(right, "leaving", ending=None, completed_at=None),
        lambda right: with_action(right, "leaving", ending=lifecycle.LifecycleActionEnding.EXPIRED),
        lambda right: with_action(right, "coming", result=lifecycle.LifecycleActionResult.ABANDON),
    ],
    "no lifecycle action was completed before its node was done": [
        lambda right: with_action(right, "leaving", completed_at=told.at(1.9)),
        lambda right: with_action(right, "coming", completed_at=told.at(3.9)),
        lambda right: dataclasses.replace(right, ready_at={}),
    ],
    "the operator stops when asked to": [
        lambda right: dataclasses.replace(right, exit_code=1),
        lambda right: dataclasses.replace(right, exit_code=None),
    ],
    "the Lease is handed back": [lambda right: dataclasses.replace(right, lease_holder="somebody")],
}


def test_where_everything_came_out_right_every_check_passes() -> None:
    assert failures(told.of_success()) == set()


def test_there_is_no_check_that_is_not_proved_to_fail() -> None:
    right = told.of_success()
    judged = (*checks.of_the_work(right), *checks.of_the_end(right))
    assert [check.name for check in judged] == list(BREAKS)


@pytest.mark.parametrize(
    ("name", "break_it"),
    [(name, break_it) for name, ways in BREAKS.items() for break_it in ways],
)
def test_a_check_fails_when_its_condition_is_broken(name: str, break_it: Break) -> None:
    assert name in failures(break_it(told.of_success()))


def test_nothing_sent_and_nothing_done_is_not_right() -> None:
    assert failures(Evidence(scenario=told.PLAN)) >= {
        "every message came into the queue",
        "every message was settled",
        "they are drained",
        "every workload is complete again",
        "the operator stops when asked to",
    }


def test_a_pod_that_never_started_needs_no_signal_to_end() -> None:
    known = with_pod(told.of_success(), "web-1", signalled=None, ready=None)
    assert failures(known) == set()


def test_a_failed_check_tells_what_was_expected_and_what_was_found() -> None:
    known = dataclasses.replace(told.of_success(), left=2)
    (failed,) = (check for check in checks.of_the_work(known) if not check.passed)
    assert (failed.name, failed.expected, failed.found) == ("the queue is empty", "0", "2")
