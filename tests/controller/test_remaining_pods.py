"""The time that the API server needs for the pods that are left."""

import asyncio
import datetime as dt

import pytest

from queue_processor.controller.remaining_pods import RemainingPods

pytestmark = pytest.mark.looptime

DUE_AT = dt.datetime(2026, 1, 2, 3, 4, 0, tzinfo=dt.UTC)


def with_pods(count: int, *, blocked: int = 0) -> RemainingPods:
    remaining = RemainingPods()
    for number in range(count):
        remaining.add(str(number), DUE_AT)
    for number in range(blocked):
        remaining.note_blocked(str(number))
    return remaining


async def test_few_pods_take_no_time_worth_mentioning() -> None:
    remaining = with_pods(100, blocked=100)

    assert remaining.time_for_all(DUE_AT) == dt.timedelta()
    assert remaining.lead(DUE_AT) == dt.timedelta()


async def test_the_best_second_says_how_long_the_others_take() -> None:
    remaining = with_pods(1_000)

    assert remaining.time_for_all(DUE_AT) == dt.timedelta(seconds=1_000 / 50)
    for _ in range(200):
        remaining.count_answer()
    await asyncio.sleep(30)
    remaining.count_answer()
    assert remaining.time_for_all(DUE_AT) == dt.timedelta(seconds=1_000 / 200)
    await asyncio.sleep(120)
    remaining.count_answer()
    assert remaining.time_for_all(DUE_AT) == dt.timedelta(seconds=1_000 / 50)


async def test_only_blocked_pods_have_a_lead_until_they_are_gone() -> None:
    remaining = with_pods(500, blocked=200)
    remaining.note_blocked("of another drain")

    assert remaining.lead(DUE_AT) == dt.timedelta(seconds=200 / 50)
    for number in range(50):
        remaining.discard(str(number))
    assert remaining.lead(DUE_AT) == dt.timedelta(seconds=150 / 50)


async def test_a_deadline_that_moves_takes_its_pods_with_it() -> None:
    remaining = with_pods(500, blocked=200)
    later = DUE_AT + dt.timedelta(minutes=5)
    for number in range(250):
        remaining.add(str(number), later)

    assert remaining.time_for_all(DUE_AT) == dt.timedelta(seconds=250 / 50)
    assert remaining.lead(DUE_AT) == dt.timedelta()
    assert remaining.lead(later) == dt.timedelta(seconds=200 / 50)
    for number in range(500):
        remaining.add(str(number), None)
    assert remaining.time_for_all(later) == dt.timedelta()
