"""Ways to wait, on the real event loop."""

import asyncio
import itertools

from queue_processor.controller.waiting import Turnstile


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
