"""A rehearsal from its start to its verdict."""

import asyncio
import contextlib
import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import IO, Protocol

from queue_processor.simulator.demo import checks, evidence, operator, scenario, score, stage

_READY_LIMIT_SECONDS = 30.0
# There is no event for what happens in AWS; this is as often as people can read.
_LOOK_SECONDS = 0.125


class OperatorFailedError(Exception):
    """The operator never began to read the queue."""


class Audience(Protocol):
    """Is shown what happens."""

    def step(self, text: str) -> None:
        """Something begins."""

    def progress(self, told: Sequence[evidence.NodeStory]) -> None:
        """Something may have changed; called several times a second."""

    def outcome(
        self,
        known: evidence.Evidence,
        figures: score.Score,
        judged: Sequence[checks.Check],
    ) -> None:
        """The work is done; the operator has still to stop."""


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """How it came out.

    Attributes:
        figures: The score.
        failed: The checks that did not pass.
        failed_late: Those of them that the audience has not been told of.
    """

    figures: score.Score
    failed: tuple[checks.Check, ...]
    failed_late: tuple[checks.Check, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Files:
    """What a rehearsal writes.

    Attributes:
        kubeconfig: Where the operator finds the cluster.
        log: Takes what the operator logs.
    """

    kubeconfig: pathlib.Path
    log: IO[str]


async def rehearse(plan: scenario.Scenario, audience: Audience, files: Files) -> Verdict:
    """Play the scenario against the operator and judge what came of it.

    Raises:
        OperatorFailedError: The operator never began to work.
    """
    place = stage.Stage(plan)
    async with contextlib.AsyncExitStack() as stack:
        audience.step("Starting AWS: the queue and its rules, from the template …")
        stack.push_async_callback(place.stop)
        await place.start_aws()
        audience.step(f"Starting a cluster: {len(plan.nodes)} nodes, {plan.pods} pods …")
        await place.start_cluster()
        audience.step("Starting the operator …")
        running = operator.running(_environment(place, files), log=files.log)
        child = await stack.enter_async_context(running)
        await _until_ready(place, child)
        audience.step(f"Playing {plan.name}: events {plan.events}, messages {plan.messages} …")
        await _play(place, child, audience)
        known = place.evidence()
        judged = checks.of_the_work(known)
        audience.outcome(known, score.of(known, is_right=_is_right(judged)), judged)
        exit_code = await child.stop()
        known = place.evidence(exit_code=exit_code)
        judged_late = (*checks.of_the_work(known), *checks.of_the_end(known))
        figures = score.of(known, is_right=_is_right(judged_late))
    told = {check.name for check in judged if not check.passed}
    failed = tuple(check for check in judged_late if not check.passed)
    return Verdict(figures, failed, tuple(check for check in failed if check.name not in told))


def _is_right(judged: Sequence[checks.Check]) -> bool:
    return all(check.passed for check in judged)


def _environment(place: stage.Stage, files: Files) -> dict[str, str]:
    place.server.write_kubeconfig(files.kubeconfig)
    return {
        **place.aws.environment(),
        "KUBECONFIG": str(files.kubeconfig),
        "QUEUE_PROCESSOR_QUEUE_URL": place.queue_url,
        "QUEUE_PROCESSOR_HTTP__BIND": "127.0.0.1:0",
    }


async def _until_ready(place: stage.Stage, child: operator.OperatorProcess) -> None:
    """Wait until the operator reads the queue: it does so only as the holder of the Lease."""
    await place.knock()
    try:
        async with asyncio.timeout(_READY_LIMIT_SECONDS):
            await _until(place.is_answered, child)
    except TimeoutError:
        raise OperatorFailedError(
            f"the operator did not read its queue within {_READY_LIMIT_SECONDS:.0f} s"
        ) from None
    if child.exit_code is not None:
        raise OperatorFailedError(f"the operator ended with exit code {child.exit_code}")


async def _play(place: stage.Stage, child: operator.OperatorProcess, audience: Audience) -> None:
    """Play until all is done, the time is over or the operator has ended."""
    playing = asyncio.create_task(place.play(), name="scenario")

    def is_over() -> bool:
        known = place.evidence()
        audience.progress(evidence.stories(known))
        return playing.done() and evidence.is_at_rest(known)

    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(place.scenario.limit_seconds):
                await _until(is_over, child)
    finally:
        playing.cancel()
        await asyncio.wait((playing,))
    if not playing.cancelled():
        playing.result()


async def _until(is_so: Callable[[], bool], child: operator.OperatorProcess) -> None:
    """Look again and again, until it is so or the operator has ended."""
    while not is_so() and child.exit_code is None:
        await asyncio.wait((child.ended,), timeout=_LOOK_SECONDS)
