"""All measurements of a run, several rounds of each.

A round measures everything once, so that what slows the machine down for a while does not hit the
rounds of one row alone, and a storm has its baseline and its disturbed versions beside it.
"""

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

from benchmarks import baseline, control_groups, idle, killed, notices, storm
from benchmarks.control_groups import NoControlGroupError
from benchmarks.environment import Load, OperatorEndedError, StormFailedError
from benchmarks.figures import Figures, Row, Rows
from benchmarks.measurements import OTHERS

_SINGLES = Load(20)
_SLOW = "5s"
# More makes the figures those of the other programs, too.
_OTHERS_PERCENT = 5.0
_PLACES = {"in the same pod": True, "in another pod": False}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """The numbers of nodes of each kind of measurement.

    Attributes:
        storms: Of those that are interrupted at once.
        slow: The same, with pods that take seconds to stop.
        kills: The same, while the operator is killed.
        limits: The same, with an operator that has little CPU and memory.
        indexes: Of those that nothing happens to.
        watched: Of those that instance metadata interrupts.
    """

    storms: Sequence[int] = ()
    slow: Sequence[int] = ()
    kills: Sequence[int] = ()
    limits: Sequence[int] = ()
    indexes: Sequence[int] = ()
    watched: Sequence[int] = ()

    @property
    def loads(self) -> Sequence[Load]:
        """Return the loads of the storms; a disturbed one is compared with an undisturbed one."""
        plain = dict.fromkeys((*self.storms, *self.kills, *self.limits))
        return [*map(Load, plain), *(Load(count, exits_after=_SLOW) for count in self.slow)]


class Rounds:
    """The rounds of a run."""

    def __init__(self, sizes: Sizes, count: int, report: Callable[[str], None]) -> None:
        """Prepare so many rounds; `report` gets a line about each step."""
        self._sizes = sizes
        self._count = count
        self._report = report
        self._rows = Rows()
        self._concurrency: dict[Load, int] = {}
        self._round = 0

    async def run(self) -> AsyncIterator[Mapping[str, Sequence[Row]]]:
        """Measure, and yield all rows so far after each round."""
        for load in self._sizes.loads:
            self._concurrency[load] = await self._find_concurrency(load)
        for number in range(1, self._count + 1):
            self._round = number
            await self._measure()
            yield self._rows.sections()

    async def _find_concurrency(self, load: Load) -> int:
        async def seconds(at_once: int) -> float:
            self._report(f"bare evictions of {load.name}, {at_once} at once")
            return (await baseline.bare_evictions(load, at_once))["pods gone max"]

        curve = await baseline.concurrency_curve(seconds)
        self._rows.add(
            "curves",
            load.name,
            {f"{at_once} at once": seconds for at_once, seconds in curve.items()},
        )
        return baseline.best_concurrency(curve)

    async def _measure(self) -> None:
        """Measure everything once."""
        singles = f"{_SINGLES.name} one by one"
        self._begin(singles)
        with self._failing_alone("storms", singles):
            self._add("storms", singles, await storm.storm(_SINGLES, at_once=1))
        storms: dict[Load, Figures] = {}
        for load in self._sizes.loads:
            with self._failing_alone("storms", load.name):
                storms[load] = await self._storm(load)
        for count in self._sizes.kills:
            if undisturbed := storms.get(Load(count)):
                for place, is_same_pod in _PLACES.items():
                    await self._kill(Load(count), place, undisturbed, is_same_pod=is_same_pod)
        for count in self._sizes.limits:
            if unlimited := storms.get(Load(count)):
                await self._limit(Load(count), unlimited)
        for count in self._sizes.indexes:
            self._begin(f"{count} nodes, idle")
            self._add("idle", f"{count} nodes", await idle.idle(count))
        for count in self._sizes.watched:
            self._begin(f"{count} nodes, notices")
            self._add("notices", f"{count} nodes", await notices.notices(count))

    async def _storm(self, load: Load) -> Figures:
        at_once = self._concurrency[load]
        self._begin(f"bare evictions of {load.name}, {at_once} at once")
        bare = await baseline.bare_evictions(load, at_once)
        self._begin(f"storm of {load.name}")
        figures = await storm.storm(load)
        self._add("storms", load.name, figures)
        compared = {"at once": float(at_once), OTHERS: bare[OTHERS]}
        for each in ("p99", "max"):
            name = f"pods gone {each}"
            compared[f"bare {each}"], compared[f"storm {each}"] = bare[name], figures[name]
            compared[f"ratio {each}"] = figures[name] / bare[name]
        name = "CPU a node, ms"
        compared[f"bare {name}"], compared[f"ratio of {name}"] = (
            bare[name],
            figures[name] / bare[name],
        )
        self._add("baseline", load.name, compared)
        return figures

    async def _kill(
        self, load: Load, place: str, undisturbed: Figures, *, is_same_pod: bool
    ) -> None:
        name = f"{load.name}, started again {place}"
        self._begin(f"kill in a storm of {name}")
        with self._failing_alone("kills", name):
            figures = await killed.killed_storm(load, is_same_pod=is_same_pod)
            self._add("kills", name, {**figures, "undisturbed": undisturbed["pods gone max"]})

    async def _limit(self, load: Load, unlimited: Figures) -> None:
        name = f"{load.name}, {control_groups.NAME}"
        self._begin(f"storm of {name}")
        compared = {f"{each}, unlimited": unlimited[each] for each in ("ready", "pods gone max")}
        with self._failing_alone("limits", name), control_groups.limited() as group:
            figures = await storm.storm(load, group=group)
            self._add("limits", name, {**figures, **compared, "OOM kills": group.oom_kills})

    @contextlib.contextmanager
    def _failing_alone(self, section: str, name: str) -> Iterator[None]:
        """Let a storm that fails cost its own row, which says why, and not a run of an hour."""
        try:
            yield
        except NoControlGroupError as error:
            self._rows.skip(section, name, f"skipped: {error}")
        except (OperatorEndedError, StormFailedError) as error:
            reason, _, _ = str(error).partition("\n")
            self._rows.skip(section, name, f"failed: {reason}")
            self._report(f"warning: {section}, {name}: failed: {reason}")

    def _begin(self, name: str) -> None:
        self._report(f"{name}, round {self._round} of {self._count}")

    def _add(self, section: str, name: str, figures: Figures) -> None:
        self._rows.add(section, name, figures)
        if figures[OTHERS] > _OTHERS_PERCENT:
            self._report(
                f"warning: {section}, {name}: others used {figures[OTHERS]:.0f} % of the CPU time"
            )
