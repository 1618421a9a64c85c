import itertools
import json

import pytest

from queue_processor.domain import errors, notices
from queue_processor.domain.events import EventKind
from tests.watcher import scripted_imds, world
from tests.watcher.scripted_imds import Response

SPOT = notices.annotation_name(EventKind.SPOT_INTERRUPTION)
REBALANCE = notices.annotation_name(EventKind.REBALANCE_RECOMMENDATION)
TERMINATION = notices.annotation_name(EventKind.AUTOSCALING_TERMINATION)
CHANGE_ID = "instance-event-0d59937288b749b32"
CHANGE = notices.annotation_name(EventKind.SCHEDULED_CHANGE, change_id=CHANGE_ID)

INSTANCE_ACTION = '{"action": "terminate", "time": "2026-11-29T12:02:10Z"}'
HTML = "<!DOCTYPE html><html><body>Please sign in</body></html>"


def scheduled(*event_ids: str, state: str = "active") -> str:
    """The list as the EC2 user guide prints it."""
    return json.dumps(
        [
            {
                "NotBefore": "21 Jan 2027 09:00:43 GMT",
                "Code": "system-reboot",
                "Description": "scheduled reboot",
                "EventId": event_id,
                "NotAfter": "21 Jan 2027 09:17:23 GMT",
                "State": state,
            }
            for event_id in event_ids
        ]
    )


def kinds(node: world.FakeNode) -> list[EventKind]:
    return [event.kind for event in node.events()]


def test_an_instance_without_notices_costs_no_request_to_the_api_server() -> None:
    stage = world.make()
    stage.imds.bodies[scripted_imds.TARGET_STATE] = "InService"

    stage.run_until(3600)

    assert stage.node.patches == []
    assert stage.imds.count("GET", scripted_imds.INSTANCE_ACTION) == 1801
    assert stage.log_events() == []


def test_a_notice_is_on_the_node_within_one_interval_and_written_once() -> None:
    stage = world.make()
    stage.at(
        7.5, lambda: stage.imds.bodies.update({scripted_imds.INSTANCE_ACTION: INSTANCE_ACTION})
    )

    stage.run_until(60)

    assert stage.node.patches == [(8.0, [SPOT])]
    (event,) = stage.node.events()
    assert event.kind is EventKind.SPOT_INTERRUPTION
    assert event.instance_ids == (world.INSTANCE,)
    assert json.loads(stage.node.annotations[SPOT]) == {
        "instance": world.INSTANCE,
        "seen": "2026-11-29T12:00:08.000+00:00",
        "said": INSTANCE_ACTION,
    }


def test_all_that_is_new_goes_into_one_patch() -> None:
    stage = world.make()
    stage.imds.bodies |= {
        scripted_imds.INSTANCE_ACTION: INSTANCE_ACTION,
        scripted_imds.REBALANCE: '{"noticeTime": "2026-11-29T11:58:00Z"}',
        scripted_imds.SCHEDULED: scheduled(CHANGE_ID, "instance-event-2"),
        scripted_imds.TARGET_STATE: "Terminated",
    }

    stage.run_until(10)

    assert [len(names) for _, names in stage.node.patches] == [5]
    assert sorted(kinds(stage.node)) == [
        EventKind.AUTOSCALING_TERMINATION,
        EventKind.REBALANCE_RECOMMENDATION,
        EventKind.SCHEDULED_CHANGE,
        EventKind.SCHEDULED_CHANGE,
        EventKind.SPOT_INTERRUPTION,
    ]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (scripted_imds.INSTANCE_ACTION, INSTANCE_ACTION),
        (scripted_imds.REBALANCE, '{"noticeTime": "2026-11-29T11:58:00Z"}'),
        (scripted_imds.TARGET_STATE, "Terminated"),
    ],
)
def test_what_is_never_taken_back_stays_when_it_is_not_shown_any_more(path: str, body: str) -> None:
    stage = world.make()
    stage.imds.bodies[path] = body
    stage.run_until(10)
    recorded = dict(stage.node.annotations)

    del stage.imds.bodies[path]
    stage.run_until(100)

    assert stage.node.annotations == recorded
    assert len(stage.node.patches) == 1


def test_a_notice_that_changes_is_written_again() -> None:
    stage = world.make()
    stage.imds.bodies[scripted_imds.INSTANCE_ACTION] = INSTANCE_ACTION
    stage.run_until(10)

    later = INSTANCE_ACTION.replace("12:02:10", "12:04:00")
    stage.imds.bodies[scripted_imds.INSTANCE_ACTION] = later
    stage.run_until(20)

    assert len(stage.node.patches) == 2
    assert json.loads(stage.node.annotations[SPOT])["said"] == later


def test_a_watcher_that_starts_again_records_again_what_is_announced() -> None:
    stage = world.make()
    stage.imds.bodies[scripted_imds.INSTANCE_ACTION] = INSTANCE_ACTION
    stage.run_until(10)
    (before,) = stage.node.events()

    stage.restart()
    stage.run_until(20)

    (after,) = stage.node.events()
    assert len(stage.node.patches) == 2
    assert after.event_id == before.event_id


# Scheduled events.


def test_a_scheduled_event_that_is_not_listed_any_more_is_cancelled() -> None:
    stage = world.make()
    stage.imds.bodies[scripted_imds.SCHEDULED] = scheduled(CHANGE_ID, "instance-event-2")
    stage.run_until(10)

    stage.imds.bodies[scripted_imds.SCHEDULED] = scheduled("instance-event-2")
    stage.run_until(20)

    assert {event.change_id: event.is_cancelled for event in stage.node.events()} == {
        CHANGE_ID: True,
        "instance-event-2": False,
    }
    assert stage.node.patches[1:] == [(12.0, [CHANGE])]


@pytest.mark.parametrize("state", ["canceled", "completed"])
def test_a_scheduled_event_that_is_over_is_cancelled_once(state: str) -> None:
    stage = world.make()
    stage.imds.bodies[scripted_imds.SCHEDULED] = scheduled(CHANGE_ID)
    stage.run_until(10)

    stage.imds.bodies[scripted_imds.SCHEDULED] = scheduled(CHANGE_ID, state=state)
    stage.run_until(20)
    stage.imds.bodies[scripted_imds.SCHEDULED] = "[]"
    stage.run_until(30)

    (event,) = stage.node.events()
    assert event.is_cancelled
    assert len(stage.node.patches) == 2


def test_a_scheduled_event_that_is_listed_again_is_announced_again() -> None:
    stage = world.make()
    stage.imds.bodies[scripted_imds.SCHEDULED] = scheduled(CHANGE_ID)
    stage.run_until(10)
    stage.imds.bodies[scripted_imds.SCHEDULED] = "[]"
    stage.run_until(20)
    stage.imds.bodies[scripted_imds.SCHEDULED] = scheduled(CHANGE_ID)
    stage.run_until(30)

    (event,) = stage.node.events()
    assert not event.is_cancelled


@pytest.mark.parametrize(
    "answer",
    [
        scripted_imds.HANGS,
        scripted_imds.page(500),
        scripted_imds.text(HTML),
        # EC2 answers `[]` where nothing is scheduled.
        scripted_imds.page(404),
    ],
    ids=["hangs", "500", "HTML", "404"],
)
def test_only_a_list_without_the_event_cancels_it(answer: Response) -> None:
    stage = world.make()
    stage.imds.bodies[scripted_imds.SCHEDULED] = scheduled(CHANGE_ID)
    stage.run_until(10)

    stage.imds.script[scripted_imds.SCHEDULED] = answer
    stage.run_until(100)

    (event,) = stage.node.events()
    assert not event.is_cancelled
    assert len(stage.node.patches) == 1


def test_a_cancellation_while_no_watcher_ran_is_recorded_from_the_history() -> None:
    stage = world.make()
    stage.imds.bodies[scripted_imds.SCHEDULED] = scheduled(CHANGE_ID)
    stage.run_until(10)
    stage.imds.bodies[scripted_imds.SCHEDULED] = "[]"
    stage.imds.bodies[scripted_imds.HISTORY] = scheduled(CHANGE_ID, state="canceled")

    stage.restart()
    stage.run_until(20)

    (event,) = stage.node.events()
    assert event.is_cancelled


def test_the_history_is_read_until_it_is_answered_and_then_no_more() -> None:
    stage = world.make()
    stage.imds.script[scripted_imds.HISTORY] = scripted_imds.page(503)
    stage.at(5, stage.imds.script.clear)

    stage.run_until(100)

    assert stage.imds.count("GET", scripted_imds.HISTORY) == 4
    assert stage.node.patches == []


def test_what_is_scheduled_is_newer_than_the_history() -> None:
    stage = world.make()
    stage.imds.bodies[scripted_imds.SCHEDULED] = scheduled(CHANGE_ID)
    stage.imds.bodies[scripted_imds.HISTORY] = scheduled(CHANGE_ID, state="completed")

    stage.run_until(20)

    (event,) = stage.node.events()
    assert not event.is_cancelled


def test_an_event_that_cannot_be_understood_does_not_hide_the_next_one() -> None:
    stage = world.make()
    listed = json.loads(scheduled("instance-event-1", CHANGE_ID))
    del listed[0]["NotBefore"]
    stage.imds.bodies[scripted_imds.SCHEDULED] = json.dumps(listed)

    stage.run_until(20)

    assert list(stage.node.annotations) == [CHANGE]
    assert stage.log_events().count("imds_body_not_understood") == 1


# The older path of Spot interruptions.


def test_the_older_path_is_read_only_where_it_is_configured() -> None:
    stage = world.make()
    stage.imds.bodies[scripted_imds.TERMINATION_TIME] = "2026-11-29T12:02:10Z"

    stage.run_until(20)

    assert stage.node.patches == []
    assert stage.imds.count("GET", scripted_imds.TERMINATION_TIME) == 0


def test_both_paths_of_a_spot_interruption_make_one_notice() -> None:
    stage = world.make(is_legacy_read=True)
    stage.imds.bodies[scripted_imds.INSTANCE_ACTION] = INSTANCE_ACTION
    stage.imds.bodies[scripted_imds.TERMINATION_TIME] = "2026-11-29T12:02:10Z"

    stage.run_until(20)

    assert stage.node.patches == [(0.0, [SPOT])]
    assert json.loads(stage.node.annotations[SPOT])["said"] == INSTANCE_ACTION


def test_the_older_path_alone_makes_the_same_event() -> None:
    older, newer = world.make(is_legacy_read=True), world.make()
    older.imds.bodies[scripted_imds.TERMINATION_TIME] = "2026-11-29T12:02:10Z"
    newer.imds.bodies[scripted_imds.INSTANCE_ACTION] = INSTANCE_ACTION

    older.run_until(20)
    newer.run_until(20)

    assert older.node.events() == newer.node.events()


def test_what_is_not_a_time_at_the_older_path_is_an_answer_without_a_notice() -> None:
    stage = world.make(is_legacy_read=True)
    stage.imds.bodies[scripted_imds.TERMINATION_TIME] = "not scheduled"

    stage.run_until(20)

    assert stage.node.patches == []
    assert stage.log_events() == []


# Answers without a notice, and what is no answer.


@pytest.mark.parametrize(
    "state",
    [
        "InService",
        "Standby",
        "Detached",
        "Warmed:Hibernated",
        "Warmed:Running",
        "Warmed:Stopped",
        "Warmed:Terminated",
    ],
)
def test_other_target_states_make_no_notice(state: str) -> None:
    stage = world.make()
    stage.imds.bodies[scripted_imds.TARGET_STATE] = state

    stage.run_until(20)

    assert stage.node.patches == []
    assert stage.log_events() == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        pytest.param(scripted_imds.INSTANCE_ACTION, HTML, id="HTML"),
        pytest.param(scripted_imds.INSTANCE_ACTION, INSTANCE_ACTION[:30], id="truncated JSON"),
        pytest.param(scripted_imds.INSTANCE_ACTION, "[]", id="a list"),
        pytest.param(scripted_imds.INSTANCE_ACTION, "", id="empty"),
        pytest.param(scripted_imds.INSTANCE_ACTION, '{"action": "stop"}', id="without a time"),
        pytest.param(
            scripted_imds.INSTANCE_ACTION, INSTANCE_ACTION.ljust(1025, "x"), id="with more behind"
        ),
        pytest.param(
            scripted_imds.INSTANCE_ACTION,
            INSTANCE_ACTION.replace("{", '{"x": "' + "x" * 1024 + '", '),
            id="longer than a notice",
        ),
        pytest.param(scripted_imds.REBALANCE, "{}", id="an empty object"),
        pytest.param(scripted_imds.SCHEDULED, "{}", id="an object for a list"),
        pytest.param(scripted_imds.SCHEDULED, scheduled("a/b"), id="a bad event id"),
        pytest.param(scripted_imds.TARGET_STATE, "OK", id="another text"),
        pytest.param(scripted_imds.TARGET_STATE, HTML, id="HTML for a state"),
    ],
)
def test_a_body_that_is_not_understood_is_never_recorded_and_logged_once(
    path: str, body: str
) -> None:
    stage = world.make()
    stage.run_until(10)
    stage.imds.bodies[path] = body
    stage.run_until(100)

    assert stage.node.patches == []
    (line,) = stage.logged()
    assert line["event"] == "imds_body_not_understood"
    assert line["level"] == "warning"
    assert line["path"] == path
    assert line["cause"]


def test_one_path_without_an_answer_does_not_slow_down_the_others() -> None:
    stage = world.make()
    stage.imds.script[scripted_imds.REBALANCE] = scripted_imds.text(HTML)
    stage.run_until(100)
    stage.imds.bodies[scripted_imds.INSTANCE_ACTION] = INSTANCE_ACTION
    stage.run_until(200)

    assert stage.node.patches == [(102.0, [SPOT])]


def test_a_path_that_hangs_does_not_hide_the_others() -> None:
    stage = world.make()
    stage.imds.script[scripted_imds.INSTANCE_ACTION] = scripted_imds.HANGS
    stage.run_until(20)
    stage.imds.bodies[scripted_imds.TARGET_STATE] = "Terminated"
    stage.run_until(40)

    assert kinds(stage.node) == [EventKind.AUTOSCALING_TERMINATION]


@pytest.mark.parametrize(
    ("answer", "event"),
    [
        pytest.param(scripted_imds.HANGS, "imds_unavailable", id="hangs"),
        pytest.param(scripted_imds.page(401), "imds_unavailable", id="401"),
        pytest.param(scripted_imds.page(403), "imds_unavailable", id="403"),
        pytest.param(scripted_imds.page(500), "imds_unavailable", id="500"),
        pytest.param(scripted_imds.text(HTML), "imds_body_not_understood", id="HTML"),
        pytest.param(scripted_imds.text("ok"), "imds_body_not_understood", id="ok to everything"),
    ],
)
def test_an_outage_of_a_minute_is_logged_at_its_beginning_and_end(
    answer: Response, event: str
) -> None:
    stage = world.make()
    stage.at(10, lambda: setattr(stage.imds, "always", answer))
    stage.at(70, lambda: setattr(stage.imds, "always", None))
    stage.at(70, lambda: stage.imds.bodies.update({scripted_imds.INSTANCE_ACTION: INSTANCE_ACTION}))

    stage.run_until(200)

    assert kinds(stage.node) == [EventKind.SPOT_INTERRUPTION]
    names = stage.log_events()
    assert names == [event, "notice_seen", "imds_available", "notices_recorded"]
    (beginning,) = stage.logged(event)
    assert beginning["path"] == scripted_imds.INSTANCE_ACTION
    (end,) = stage.logged("imds_available")
    assert 50 <= end["seconds"] <= 90


def test_polls_are_ten_seconds_apart_at_most_while_nothing_is_answered() -> None:
    stage = world.make()
    stage.run_until(10)
    stage.imds.requests.clear()
    stage.imds.always = scripted_imds.page(500)

    stage.run_until(210)

    assert 20 <= stage.imds.count("GET", scripted_imds.INSTANCE_ACTION) <= 24


def test_both_causes_of_an_outage_are_logged() -> None:
    stage = world.make()
    stage.imds.always = scripted_imds.page(500)
    stage.at(20, lambda: setattr(stage.imds, "always", scripted_imds.text(HTML)))
    stage.at(60, lambda: setattr(stage.imds, "always", None))

    stage.run_until(100)

    assert stage.log_events() == [
        "imds_unavailable",
        "imds_body_not_understood",
        "imds_available",
    ]


@pytest.mark.parametrize("answer", [scripted_imds.page(404), scripted_imds.text("node-1")])
def test_without_an_instance_id_nothing_is_recorded_until_there_is_one(answer: Response) -> None:
    stage = world.make()
    stage.imds.script[scripted_imds.INSTANCE_ID] = answer
    stage.imds.bodies[scripted_imds.INSTANCE_ACTION] = INSTANCE_ACTION
    stage.at(30, stage.imds.script.clear)

    stage.run_until(25)
    assert stage.node.patches == []
    (line,) = stage.logged()
    assert line["path"] == scripted_imds.INSTANCE_ID

    stage.run_until(100)
    assert kinds(stage.node) == [EventKind.SPOT_INTERRUPTION]
    stage.run_until(1000)
    assert stage.log_events()[-3:] == ["notice_seen", "imds_available", "notices_recorded"]


def test_the_instance_id_is_read_once() -> None:
    stage = world.make()

    stage.run_until(1000)

    assert stage.imds.count("GET", scripted_imds.INSTANCE_ID) == 1


# The API server.


def test_patches_are_retried_for_as_long_as_they_fail_while_polls_go_on() -> None:
    stage = world.make()
    stage.imds.bodies[scripted_imds.INSTANCE_ACTION] = INSTANCE_ACTION
    stage.node.error = errors.TemporaryError("HTTP 503")
    stage.at(60, lambda: stage.imds.bodies.update({scripted_imds.TARGET_STATE: "Terminated"}))
    stage.at(120, lambda: setattr(stage.node, "error", None))

    stage.run_until(200)

    times = [at for at, _ in stage.node.patches]
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert [round(pause, 1) for pause in pauses[:6]] == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0]
    assert round(max(pauses), 1) == 5.0
    assert stage.node.patches[-1][1] == [TERMINATION, SPOT]
    assert stage.node.patches[-1][0] <= 125
    assert stage.log_events().count("notices_not_recorded") == 1
    assert stage.log_events()[-1] == "notices_recorded"


def test_a_refusal_is_logged_once_per_cause_and_retried_slowly() -> None:
    stage = world.make()
    stage.imds.bodies[scripted_imds.INSTANCE_ACTION] = INSTANCE_ACTION
    stage.node.error = errors.PermanentError("HTTP 403: …")
    stage.at(50, lambda: setattr(stage.node, "error", errors.PermanentError("HTTP 422: …")))
    stage.at(100, lambda: setattr(stage.node, "error", None))

    stage.run_until(200)

    causes = [line["cause"] for line in stage.logged("notices_not_recorded")]
    assert causes == ["HTTP 403: …", "HTTP 422: …"]
    assert 20 <= len(stage.node.patches) <= 22
    assert kinds(stage.node) == [EventKind.SPOT_INTERRUPTION]


def test_a_new_notice_does_not_wait_for_the_next_retry() -> None:
    stage = world.make()
    stage.imds.bodies[scripted_imds.REBALANCE] = '{"noticeTime": "2026-11-29T11:58:00Z"}'
    stage.node.error = errors.PermanentError("HTTP 403: …")
    stage.run_until(5.5)
    stage.imds.bodies[scripted_imds.INSTANCE_ACTION] = INSTANCE_ACTION
    stage.node.error = None

    stage.run_until(6.5)

    assert stage.node.patches[-1] == (6.0, [REBALANCE, SPOT])


def test_a_notice_that_is_cancelled_before_it_was_written_is_written_as_cancelled() -> None:
    stage = world.make()
    stage.imds.bodies[scripted_imds.SCHEDULED] = scheduled(CHANGE_ID)
    stage.node.error = errors.TemporaryError("HTTP 503")
    stage.at(10, lambda: stage.imds.bodies.update({scripted_imds.SCHEDULED: "[]"}))
    stage.at(30, lambda: setattr(stage.node, "error", None))

    stage.run_until(60)

    (event,) = stage.node.events()
    assert event.is_cancelled
