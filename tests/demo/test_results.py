import dataclasses
import json

import pytest

from queue_processor.domain.events import EventKind
from queue_processor.simulator.aws import records
from queue_processor.simulator.demo import results
from queue_processor.simulator.demo.results import Observations, SentMessage, Spread
from queue_processor.simulator.demo.scenario import PlannedMessage
from queue_processor.simulator.kube import store
from tests.demo import samples


def test_the_figures_are_those_of_the_cluster_and_the_queue() -> None:
    assert results.summarize(samples.success(), ok=True) == results.Summary(
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
        event_to_cordon_seconds=Spread(p50=0.1, p99=0.3, max=0.3),
        event_to_drained_seconds=Spread(p50=2.0, p99=7.0, max=7.0),
        margin_seconds_min=28.0,
        ok=True,
    )


def test_a_summary_of_nothing_is_empty_and_still_json() -> None:
    figures = results.summarize(Observations(scenario=samples.PLAN), ok=False)
    assert figures.event_to_cordon_seconds == Spread(None, None, None)
    assert figures.margin_seconds_min is None
    assert json.loads(json.dumps(dataclasses.asdict(figures)))["drained"] == 0


def test_a_node_that_joins_late_is_measured_from_when_it_joined() -> None:
    right = samples.success()
    observed = dataclasses.replace(right, joined={**right.joined, "b": samples.at(0.25)})
    first, second = observed.timelines
    assert (first.measured_from, second.measured_from) == (samples.at(0), samples.at(0.25))
    assert second.interrupted_at == samples.at(0)


def test_a_node_that_has_not_joined_yet_is_not_measured() -> None:
    right = samples.success()
    observed = dataclasses.replace(right, joined={"a": samples.at(-10)})
    assert observed.timelines[1].measured_from is None


def test_a_node_that_two_events_name_is_measured_from_the_first_and_has_the_earlier_deadline() -> (
    None
):
    right = samples.success()
    rebalance = PlannedMessage(EventKind.REBALANCE_RECOMMENDATION, ("a",))
    earlier = dataclasses.replace(samples.message("earlier", deleted=7.1), sent_at=samples.at(-1))
    observed = dataclasses.replace(
        right,
        sent=(*right.sent, SentMessage(planned=rebalance, mark="earlier")),
        messages=(*right.messages, earlier),
    )
    line = observed.timelines[0]
    assert line.labels == ("spot_interruption", "rebalance_recommendation")
    assert line.measured_from == samples.at(-1)
    assert line.deadline == samples.at(35)


def test_an_empty_node_is_drained_when_it_is_cordoned() -> None:
    right = samples.success()
    observed = dataclasses.replace(right, pods=())
    assert [line.drained_at for line in observed.timelines] == [samples.at(0.1), samples.at(0.3)]


@pytest.mark.parametrize(
    ("seconds", "is_in_time"), [(4.0, True), (6.0, True), (3.0, False), (0.5, False)]
)
def test_a_pod_is_deleted_at_the_deadline_only_when_its_grace_period_is_all_that_is_left(
    seconds: float, *, is_in_time: bool
) -> None:
    right = samples.success()
    pods = [
        dataclasses.replace(pod, removal_requested=samples.at(seconds))
        if pod.name == "licence-1"
        else pod
        for pod in right.pods
    ]
    figures = results.summarize(dataclasses.replace(right, pods=pods), ok=True)
    assert figures.pods_deleted_at_deadline == int(is_in_time)
    assert figures.budget_violations == int(not is_in_time)


def test_a_pod_that_is_deleted_where_no_deadline_is_set_breaks_its_budget() -> None:
    right = samples.success()
    sent = [dataclasses.replace(one, deadline=None) for one in right.sent]
    figures = results.summarize(dataclasses.replace(right, sent=sent), ok=True)
    assert (figures.pods_deleted_at_deadline, figures.budget_violations) == (0, 1)


def test_an_eviction_that_breaks_a_budget_is_a_violation_at_any_time() -> None:
    right = samples.success()
    observed = dataclasses.replace(
        right, breaches=[samples.breach("licence-1", store.Cause.EVICTION)]
    )
    assert len(observed.violations) == 1


def test_two_equal_bodies_of_which_one_was_dead_lettered_are_one_settled_message() -> None:
    twice = [samples.message(mark, body=samples.GARBAGE, deleted=1) for mark in ("x", "y")]
    observed = dataclasses.replace(samples.success(), messages=twice)
    assert observed.settled_count == 1


def test_a_message_in_flight_is_not_settled() -> None:
    waiting = records.MessageRecord(message_id="m", body="{}", sent_at=samples.at(0))
    observed = dataclasses.replace(samples.success(), messages=[waiting])
    assert observed.settled_count == 0


def test_percentiles_are_values_that_occurred() -> None:
    assert Spread.of([4, None, 1, 3, 2]) == Spread(p50=2, p99=4, max=4)
    assert Spread.of(range(1, 201)) == Spread(p50=100, p99=198, max=200)


def test_a_cluster_is_at_rest_when_nothing_is_on_its_way() -> None:
    right = samples.success()
    assert right.is_at_rest
    starting = dataclasses.replace(samples.resting("web-9", "d"), ready=None)
    ending = dataclasses.replace(samples.moved("web-9", "a", since=1, gone=2), removed=None)
    open_action = dataclasses.replace(right.actions[0], ending=None)
    for change in (
        {"left": 1},
        {"pods": [*right.pods, starting]},
        {"pods": [*right.pods, ending]},
        {"actions": [open_action]},
    ):
        assert not dataclasses.replace(right, **change).is_at_rest
