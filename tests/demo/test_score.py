import dataclasses
import json

import pytest

from queue_processor.simulator.aws import records
from queue_processor.simulator.demo import evidence, scenario, score
from queue_processor.simulator.kube import store
from tests.demo import told


def test_the_figures_are_those_of_the_cluster_and_the_queue() -> None:
    assert score.of(told.of_success(), is_right=True) == score.Score(
        scenario="small",
        nodes=4,
        events=3,
        cordoned=2,
        drained=2,
        messages_deleted=3,
        messages_dead_lettered=1,
        messages_left=0,
        lifecycle_actions_completed=2,
        pods_evicted=2,
        pods_deleted_at_deadline=1,
        budget_violations=0,
        event_to_cordon_seconds=score.Spread(p50=0.1, p99=0.3, max=0.3),
        event_to_drained_seconds=score.Spread(p50=2.0, p99=7.0, max=7.0),
        margin_seconds_min=28.0,
        ok=True,
    )


def test_a_score_without_any_facts_is_empty_and_still_json() -> None:
    figures = score.of(evidence.Evidence(scenario=told.PLAN), is_right=False)
    assert figures.event_to_cordon_seconds == score.Spread(None, None, None)
    assert figures.margin_seconds_min is None
    assert json.loads(json.dumps(dataclasses.asdict(figures)))["drained"] == 0


def test_a_node_that_joins_late_is_measured_from_when_it_joined() -> None:
    right = told.of_success()
    known = dataclasses.replace(right, joined={**right.joined, "b": told.at(0.25)})
    first, second = evidence.stories(known)
    assert (first.counts_from, second.counts_from) == (told.at(0), told.at(0.25))
    assert second.told_at == told.at(0)


def test_a_node_that_has_not_joined_yet_is_not_measured() -> None:
    right = told.of_success()
    known = dataclasses.replace(right, joined={"a": told.at(-10)})
    assert evidence.stories(known)[1].counts_from is None


def test_a_node_that_two_events_name_counts_from_the_first_and_has_the_earlier_deadline() -> None:
    right = told.of_success()
    rebalance = scenario.Sending(kind=scenario.Kind.REBALANCE, nodes=("a",))
    earlier = dataclasses.replace(told.message("earlier", deleted=7.1), sent_at=told.at(-1))
    known = dataclasses.replace(
        right,
        sent=(*right.sent, evidence.Sent(sending=rebalance, mark="earlier")),
        messages=(*right.messages, earlier),
    )
    story = evidence.stories(known)[0]
    assert story.kinds == (scenario.Kind.SPOT, scenario.Kind.REBALANCE)
    assert story.counts_from == told.at(-1)
    assert story.deadline == told.at(35)


def test_an_empty_node_is_drained_when_it_is_cordoned() -> None:
    right = told.of_success()
    known = dataclasses.replace(right, pods=())
    assert [story.drained_at for story in evidence.stories(known)] == [told.at(0.1), told.at(0.3)]


@pytest.mark.parametrize(
    ("asked", "is_in_time"), [(4.0, True), (6.0, True), (3.0, False), (0.5, False)]
)
def test_a_pod_is_deleted_at_the_deadline_only_when_its_grace_period_is_all_that_is_left(
    asked: float, *, is_in_time: bool
) -> None:
    right = told.of_success()
    pods = [
        dataclasses.replace(pod, removal_requested=told.at(asked))
        if pod.name == "licence-1"
        else pod
        for pod in right.pods
    ]
    figures = score.of(dataclasses.replace(right, pods=pods), is_right=True)
    assert figures.pods_deleted_at_deadline == int(is_in_time)
    assert figures.budget_violations == int(not is_in_time)


def test_a_pod_that_is_deleted_where_no_deadline_is_set_breaks_its_budget() -> None:
    right = told.of_success()
    sent = [dataclasses.replace(one, deadline=None) for one in right.sent]
    figures = score.of(dataclasses.replace(right, sent=sent), is_right=True)
    assert (figures.pods_deleted_at_deadline, figures.budget_violations) == (0, 1)


def test_an_eviction_that_breaks_a_budget_is_a_violation_at_any_time() -> None:
    right = told.of_success()
    known = dataclasses.replace(right, breaches=[told.breach("licence-1", store.Cause.EVICTION)])
    assert len(score.violations(known)) == 1


def test_two_equal_bodies_of_which_one_was_put_aside_are_one_settled_message() -> None:
    twice = [told.message(mark, body=told.GARBAGE, deleted=1) for mark in ("x", "y")]
    known = dataclasses.replace(told.of_success(), messages=twice)
    assert score.settled_messages(known) == 1


def test_a_message_in_flight_is_not_settled() -> None:
    waiting = records.MessageRecord(message_id="m", body="{}", sent_at=told.at(0))
    known = dataclasses.replace(told.of_success(), messages=[waiting])
    assert score.settled_messages(known) == 0


def test_percentiles_are_values_that_occurred() -> None:
    assert score.spread([4, None, 1, 3, 2]) == score.Spread(p50=2, p99=4, max=4)
    assert score.spread(range(1, 201)) == score.Spread(p50=100, p99=198, max=200)


def test_a_cluster_is_at_rest_when_nothing_is_on_its_way() -> None:
    right = told.of_success()
    assert evidence.is_at_rest(right)
    starting = dataclasses.replace(told.resting("web-9", "d"), ready=None)
    ending = dataclasses.replace(told.moved("web-9", "a", asked=1, gone=2), removed=None)
    open_action = dataclasses.replace(right.actions[0], ending=None)
    for change in (
        {"left": 1},
        {"pods": [*right.pods, starting]},
        {"pods": [*right.pods, ending]},
        {"actions": [open_action]},
    ):
        assert not evidence.is_at_rest(dataclasses.replace(right, **change))
