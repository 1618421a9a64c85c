"""Runs of scenarios: one, and as many as a report is made of."""

import collections
import dataclasses
import gc
import random
import time
from collections.abc import Iterable, Iterator
from concurrent import futures

import structlog

from tests.simulation import loop, scenario
from tests.simulation.oracle import Violation
from tests.simulation.scenario import Scenario
from tests.simulation.world import SimulationWorld

_CHUNK = 20


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """The end of one run.

    Attributes:
        violation: None if no rule was violated.
        digest: Equal for runs that are equal.
    """

    seed: int
    violation: str | None
    rule: int | None
    digest: str
    trace: tuple[str, ...]
    seconds: float
    faults: dict[str, int]
    incidents: dict[str, int]
    signals: dict[str, int]
    evictions: int

    def without_trace(self) -> "RunResult":
        """Return the same without the trace, which is long."""
        return dataclasses.replace(self, trace=())


def run(played: Scenario, *, world: type[SimulationWorld] = SimulationWorld) -> RunResult:
    """Play a scenario."""
    random.seed(played.seed)
    started_at = time.perf_counter()
    worlds: list[SimulationWorld] = []
    violation: Violation | None = None

    async def play(running: loop.VirtualLoop) -> None:
        made = world(played)
        worlds.append(made)
        structlog.configure(
            processors=[made.oracle.on_log],
            wrapper_class=structlog.make_filtering_bound_logger("warning"),
            cache_logger_on_first_use=False,
        )
        await made.play()
        if running.unhandled:
            raise Violation(6, f"nobody handled {running.unhandled[0]}")

    try:
        loop.run(play)
    except Violation as error:
        violation = error
    except loop.EndlessLoopError as error:
        violation = Violation(6, str(error))
    finally:
        structlog.reset_defaults()
    (made,) = worlds
    return RunResult(
        seed=played.seed,
        violation=None if violation is None else str(violation),
        rule=None if violation is None else violation.rule,
        digest=made.oracle.digest,
        trace=tuple(made.oracle.trace),
        seconds=time.perf_counter() - started_at,
        faults=dict(made.fault_counts),
        incidents=dict(collections.Counter(each.incident.value for each in played.occurrences)),
        signals=dict(collections.Counter(each.signal.value for each in played.sendings)),
        evictions=made.oracle.evictions,
    )


def run_seed(seed: int) -> RunResult:
    """Draw the scenario of a seed and play it."""
    result = run(scenario.draw(seed)).without_trace()
    collect_garbage(seed)
    return result


def collect_garbage(seed: int) -> None:
    """Collect garbage after some of the seeds: the collector is off while a world runs."""
    if seed % _CHUNK == 0:
        gc.collect()


def run_seeds(seeds: Iterable[int], *, processes: int) -> Iterator[RunResult]:
    """Play the scenarios of seeds in several processes; results come in the order of the seeds."""
    if processes == 1:
        yield from map(run_seed, seeds)
        return
    with futures.ProcessPoolExecutor(processes) as pool:
        yield from pool.map(run_seed, seeds, chunksize=_CHUNK)
