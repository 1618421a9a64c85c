"""Ways to wait, on the real event loop."""

import asyncio
import contextlib
import itertools

from queue_processor.controller.waiting import OneTimeEvent, Turnstile


async def test_an_event_that_is_set_wakes_its_waiter_and_lets_none_wait_again() -> None:
    event = OneTimeEvent()
    waiting = asyncio.create_task(event.wait())
    await asyncio.sleep(0)
    assert not waiting.done()

    event.set()
    await asyncio.wait_for(waiting, 5)
    event.set()
    await asyncio.wait_for(event.wait(), 5)
    assert event.is_set()


async def test_an_event_whose_waiter_gave_up_can_be_waited_for_again() -> None:
    event = OneTimeEvent()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), 0.01)
    waiting = asyncio.create_task(event.wait())
    await asyncio.sleep(0)

    event.set()
    await asyncio.wait_for(waiting, 5)


async def test_an_event_may_be_set_after_its_waiter_gave_up() -> None:
    event = OneTimeEvent()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), 0.01)

    event.set()
    await asyncio.wait_for(event.wait(), 5)


async def test_a_crowd_passes_a_few_in_each_iteration_and_others_run_in_between() -> None:
    turnstile, loop = Turnstile(at_once=10), asyncio.get_running_loop()
    passed = 0
    seen: list[int] = []

    async def pass_through() -> None:
        nonlocal passed
        await turnstile.pass_through()
        passed += 1

    def look() -> None:
        """Stand for what waits for a socket: it runs once in each iteration."""
        seen.append(passed)
        if passed < 500:
            loop.call_soon(look)

    crowd = [asyncio.create_task(pass_through()) for _ in range(500)]
    loop.call_soon(look)
    await asyncio.wait(crowd)

    steps = [after - before for before, after in itertools.pairwise(seen)]
    assert max(steps) <= 10
    assert passed == 500
