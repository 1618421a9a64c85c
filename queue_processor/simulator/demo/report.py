"""The report of a scenario: one HTML page with its own charts, which loads nothing else."""

import contextlib
import dataclasses
import datetime as dt
import importlib.metadata
import importlib.resources
import itertools
import math
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Self

import jinja2

from queue_processor.domain import errors
from queue_processor.simulator.demo import summary, workloads
from queue_processor.simulator.demo.checks import Assessment
from queue_processor.simulator.demo.results import Observations, workload_of
from queue_processor.simulator.demo.timelines import NodeTimeline
from queue_processor.simulator.demo.workloads import WorkloadResult
from queue_processor.simulator.kube import history

_PACKAGE = "queue-processor"
_TEMPLATE = "report.html.j2"
# The charts have coordinates of their own, which the page stretches to the width of the screen.
WIDTH = 1000
HEIGHT = 40
_MOST_TICKS = 6
_TICK_SECONDS = (1, 2, 5, 10, 20, 30, 60)

# Moments and the changes of a count that happened then.
_Changes = Iterable[tuple[dt.datetime, int]]


@dataclasses.dataclass(frozen=True, slots=True)
class TimeAxis:
    """The axis that all charts share, from the first event until nothing moved any more."""

    start: dt.datetime
    seconds: float

    @classmethod
    def over(cls, observed: Observations) -> Self:
        """Return the axis on which everything that happened has its place."""
        lines = observed.timelines
        starts = [line.interrupted_at for line in lines if line.interrupted_at is not None]
        ends = [
            *(line.cordoned_at for line in lines),
            *(line.released_at for line in lines),
            *(moment for pod in observed.pods for moment in (pod.ready, pod.removed)),
        ]
        start = min(starts, default=dt.datetime.fromtimestamp(0, tz=dt.UTC))
        end = max((each for each in ends if each is not None), default=start)
        return cls(start, max((end - start).total_seconds(), 1.0))

    def x(self, at: dt.datetime) -> float:
        """Return the place of a moment; one before the axis is at its start."""
        seconds = (at - self.start).total_seconds()
        return round(WIDTH * max(seconds, 0) / self.seconds, 1)

    def shows(self, at: dt.datetime) -> bool:
        """Return True if the moment is not behind the end."""
        return (at - self.start).total_seconds() <= self.seconds

    def ticks(self) -> Iterator["Tick"]:
        """Yield the labels of the axis, at round times."""
        shortest = self.seconds / _MOST_TICKS
        step = next(
            (each for each in _TICK_SECONDS if each >= shortest), math.ceil(shortest / 60) * 60
        )
        for seconds in range(0, math.floor(self.seconds) + 1, step):
            yield Tick(round(WIDTH * seconds / self.seconds, 1), f"{seconds} s")


@dataclasses.dataclass(frozen=True, slots=True)
class Tick:
    """A label of the axis."""

    x: float
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class ChartMark:
    """A moment on a chart; its kind decides how it looks."""

    kind: str
    x: float
    title: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class NodeChart:
    """The timeline of one node.

    Attributes:
        note: How it ended.
        marks: What happened, in the order of time.
        phases: The moments from which on the node waits, is drained, and is empty.
        pods: The corners of the area that shows how many pods are left.
    """

    name: str
    kinds: str
    note: str
    is_drained: bool
    marks: Sequence[ChartMark]
    phases: Sequence[ChartMark]
    pods: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadChart:
    """The ready replicas of one workload over time.

    Attributes:
        ready: The corners of the area that shows how many are ready.
        need_y: The height of the line that shows how many it needs.
    """

    result: WorkloadResult
    ready: str
    need_y: float


def check_writable(path: pathlib.Path) -> None:
    """Check that the report can be written when the scenario is over.

    Raises:
        UsageError: It cannot.
    """
    with _write_errors_reported(path):
        is_new = not path.exists()
        # Only an attempt shows it: for root, permissions say nothing.
        path.open("a", encoding="utf-8").close()
        if is_new:
            path.unlink()


def write(path: pathlib.Path, assessment: Assessment) -> None:
    """Write the report.

    Raises:
        UsageError: The file cannot be written.
    """
    text = render(assessment, version=importlib.metadata.version(_PACKAGE))
    with _write_errors_reported(path):
        path.write_text(text, encoding="utf-8")


def render(assessment: Assessment, *, version: str) -> str:
    """Return the page."""
    observed = assessment.observed
    axis, results = TimeAxis.over(observed), workloads.workload_results(observed)
    source = (importlib.resources.files(__package__) / _TEMPLATE).read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(source).render(
        version=version,
        scenario=observed.scenario,
        assessment=assessment,
        figures=summary.figures(assessment, results),
        axis=axis,
        nodes=[_node_chart(line, axis) for line in observed.timelines],
        workloads=[_workload_chart(result, observed, axis) for result in results],
        width=WIDTH,
        height=HEIGHT,
    )


@contextlib.contextmanager
def _write_errors_reported(path: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise errors.UsageError(
            f"the report cannot be written to {path}: {error.strerror}; name another file"
        ) from error


def _node_chart(line: NodeTimeline, axis: TimeAxis) -> NodeChart:
    after = "" if line.drain_seconds is None else f" after {line.drain_seconds:.1f} s"
    return NodeChart(
        name=line.node,
        kinds=" + ".join(line.labels),
        note=f"{line.state}{after}, {line.margin}" if line.drained_at else str(line.state),
        is_drained=line.drained_at is not None,
        marks=_marks(
            axis,
            ("event", line.interrupted_at, "event"),
            ("cordon", line.cordoned_at, "cordoned"),
            ("drained", line.drained_at, "drained"),
            ("gone", line.released_at, "lifecycle action completed, the instance goes"),
            ("deadline", line.deadline, "deadline, the instance goes"),
        ),
        phases=_marks(
            axis,
            ("waits", line.interrupted_at, "not cordoned yet"),
            ("drains", line.cordoned_at, "being drained"),
            ("empty", line.drained_at, "drained"),
        ),
        pods=_area(_pods_left(line.pods), axis, most=len(line.pods)),
    )


def _marks(axis: TimeAxis, *moments: tuple[str, dt.datetime | None, str]) -> Sequence[ChartMark]:
    marks = []
    for kind, at, name in moments:
        if at is not None and axis.shows(at):
            seconds = (at - axis.start).total_seconds()
            marks.append(ChartMark(kind, axis.x(at), f"{name}: {seconds:.2f} s"))
    return marks


def _pods_left(pods: Iterable[history.PodRecord]) -> _Changes:
    for pod in pods:
        if pod.bound is not None:
            yield pod.bound, 1
        if pod.removed is not None:
            yield pod.removed, -1


def _ready_replicas(pods: Iterable[history.PodRecord]) -> _Changes:
    for pod in pods:
        if pod.ready is not None:
            yield pod.ready, 1
            # As for a disruption budget, a pod that is being removed does not count.
            if pod.removal_requested is not None:
                yield pod.removal_requested, -1


def _workload_chart(
    result: WorkloadResult, observed: Observations, axis: TimeAxis
) -> WorkloadChart:
    workload = result.workload
    pods = [pod for pod in observed.pods if workload_of(pod) == workload.name]
    return WorkloadChart(
        result=result,
        ready=_area(_ready_replicas(pods), axis, most=workload.replicas),
        need_y=_y(workload.min_ready, most=workload.replicas),
    )


def _area(changes: _Changes, axis: TimeAxis, *, most: int) -> str:
    """Return the corners of the area below a count that changes in steps."""
    in_order = sorted(changes)
    counts = itertools.accumulate(change for _, change in in_order)
    corners = [(0.0, float(HEIGHT))]
    y = float(HEIGHT)
    for (at, _), count in zip(in_order, counts, strict=True):
        x = axis.x(at)
        corners.append((x, y))
        y = _y(count, most=most)
        corners.append((x, y))
    corners += [(WIDTH, y), (WIDTH, HEIGHT)]
    return " ".join(f"{x:g},{y:g}" for x, y in corners)


def _y(count: int, *, most: int) -> float:
    return round(HEIGHT - HEIGHT * count / max(most, 1), 1)
