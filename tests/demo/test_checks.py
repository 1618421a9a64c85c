"""Every check passes where all came out right, and fails when what it is about did not."""

import dataclasses
from collections.abc import Callable

import pytest

from queue_processor.simulator.aws import lifecycle, records
from queue_processor.simulator.demo import checks
from queue_processor.simulator.demo.results import Observations
from queue_processor.simulator.kube import history, store
from tests.demo import samples

Break = Callable[[Observations], Observations]


def failures(observed: Observations) -> set[str]:
    return {check.name for check in checks.assess(observed).failed}


def with_pod(observed: Observations, name: str, **facts: object) -> Observations:
    pods = [
        dataclasses.replace(pod, **facts) if pod.name == name else pod  # type: ignore[arg-type]
        for pod in observed.pods
    ]
    return dataclasses.replace(observed, pods=pods)


def with_message(observed: Observations, mark: str, **facts: object) -> Observations:
    messages = [
        dataclasses.replace(one, **facts) if one.message_id == f"message-{mark}" else one  # type: ignore[arg-type]
        for one in observed.messages
    ]
    return dataclasses.replace(observed, messages=messages)


def with_action(observed: Observations, token: str, **facts: object) -> Observations:
    actions = [
        dataclasses.replace(one, **facts) if one.token == token else one  # type: ignore[arg-type]
        for one in observed.actions
    ]
    return dataclasses.replace(observed, actions=actions)


def with_cordon(observed: Observations, node: str, seconds: float) -> Observations:
    record = history.CordonRecord(node, samples.at(seconds), "operator")
    return dataclasses.replace(observed, cordons={**observed.cordons, node: record})


def without_cordon(observed: Observations, node: str) -> Observations:
    left = {name: record for name, record in observed.cordons.items() if name != node}
    return dataclasses.replace(observed, cordons=left)


BREAKS: dict[str, list[Break]] = {
    "every message came into the queue, or onto its Node": [
        lambda right: dataclasses.replace(right, messages=right.messages[1:]),
        lambda right: dataclasses.replace(
            right, messages=[*right.messages, samples.message("stray", deleted=1)]
        ),
    ],
    "no message is left there": [lambda right: dataclasses.replace(right, left=1)],
    "every message was settled": [
        lambda right: with_message(right, "spot", ending=None, ended_at=None),
        lambda right: with_message(right, "spot", ending=records.MessageEnding.DEAD_LETTERED),
    ],
    "malformed messages are in the dead-letter queue, and nothing else is": [
        lambda right: dataclasses.replace(right, dead_letters=()),
        lambda right: dataclasses.replace(right, dead_letters=(samples.GARBAGE,) * 2),
        lambda right: dataclasses.replace(right, dead_letters=('{"id": "spot"}',)),
    ],
    "a message is deleted only when its nodes are done": [
        lambda right: with_message(right, "spot", ended_at=samples.at(6.9)),
        lambda right: with_message(right, "leaving", ended_at=samples.at(1.9)),
        lambda right: with_message(right, "coming", ended_at=samples.at(3.9)),
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
        lambda right: with_cordon(right, "b", 5.1),
        lambda right: dataclasses.replace(right, cordons={}),
    ],
    "nodes are drained before their deadlines": [
        lambda right: with_pod(right, "licence-1", removed=samples.at(36)),
        lambda right: with_pod(right, "licence-1", removed=None),
    ],
    "budgets are kept until a deadline is near": [
        lambda right: with_pod(right, "licence-1", removal_requested=samples.at(1)),
        lambda right: dataclasses.replace(
            right, breaches=[*right.breaches, samples.breach("web-1", store.Cause.EVICTION)]
        ),
        lambda right: dataclasses.replace(
            right, breaches=[*right.breaches, samples.breach("web-3", store.Cause.DELETE)]
        ),
    ],
    "only pods whose budget never allows an eviction are deleted at the deadline": [
        lambda right: with_pod(
            right, "web-1", removal_cause=store.Cause.DELETE, removal_requested=samples.at(6)
        ),
        lambda right: with_pod(right, "licence-1", removal_cause=store.Cause.EVICTION),
    ],
    "no pod is evicted twice": [
        lambda right: dataclasses.replace(
            right, evictions=[*right.evictions, *right.evictions[-1:]]
        ),
    ],
    "every pod that moved got its SIGTERM and the time to exit": [
        lambda right: with_pod(right, "web-1", termination=history.PodTermination.KILLED),
        lambda right: with_pod(right, "web-1", termination=history.PodTermination.REMOVED),
        lambda right: with_pod(right, "web-1", signalled=None),
    ],
    "pods on other nodes stay, and so do those of the DaemonSet": [
        lambda right: with_pod(right, "web-3", removal_requested=samples.at(1)),
        lambda right: dataclasses.replace(
            right, agents=[samples.moved("agent-1", "a", since=1, gone=2)]
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
        lambda right: with_action(right, "leaving", completed_at=samples.at(1.9)),
        lambda right: with_action(right, "coming", completed_at=samples.at(3.9)),
        lambda right: dataclasses.replace(right, ready_at={}),
    ],
    "the operator stops on SIGTERM": [
        lambda right: dataclasses.replace(right, exit_code=1),
        lambda right: dataclasses.replace(right, exit_code=None),
    ],
    "the Lease is released": [lambda right: dataclasses.replace(right, lease_holder="pod-1")],
}


def test_where_everything_came_out_right_every_check_passes() -> None:
    assert failures(samples.success()) == set()


def test_there_is_no_check_that_is_not_proved_to_fail() -> None:
    right = samples.success()
    assert [check.name for check in checks.assess(right).checks] == list(BREAKS)


@pytest.mark.parametrize(
    ("name", "break_it"),
    [(name, break_it) for name, ways in BREAKS.items() for break_it in ways],
)
def test_a_check_fails_when_its_condition_is_broken(name: str, break_it: Break) -> None:
    assert name in failures(break_it(samples.success()))


def test_nothing_sent_and_nothing_done_is_not_right() -> None:
    assert failures(Observations(scenario=samples.PLAN)) >= {
        "every message came into the queue, or onto its Node",
        "every message was settled",
        "they are drained",
        "every workload is complete again",
        "the operator stops on SIGTERM",
    }


def test_a_pod_that_never_started_needs_no_signal_to_end() -> None:
    observed = with_pod(samples.success(), "web-1", signalled=None, ready=None)
    assert failures(observed) == set()


def test_a_failed_check_has_what_was_expected_and_what_was_observed() -> None:
    observed = dataclasses.replace(samples.success(), left=2)
    (failed,) = checks.assess(observed).failed
    assert (failed.name, failed.expected, failed.observed) == ("no message is left there", "0", "2")
