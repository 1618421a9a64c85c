"""Run the checks, the builds and the tests side by side, and print how long each of them took.

Most tests wait: for sockets, processes, a control plane. So more processes run than there are cores
and the checks run beside them. Tests that need programs in Go or Python environments are marked
`built`. They run in a session of their own that starts when the builds have ended: on a new machine
the builds take minutes, and all other tests run meanwhile.

All parts run, even if others fail. `python -m tests.parts --help` lists the options.
"""

import asyncio
import collections
import dataclasses
import os
import pathlib
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated

import rich.console
import rich.table
import typer

# pytest's own property, set by the test that measures how long the control plane takes to start.
READY_PROPERTY = "seconds until a pod ran"

_ROOT = pathlib.Path(__file__).parents[1]
_PROGRAMS = pathlib.Path(sys.executable).parent
_LONGEST_LINE = 2**20
_SLOWEST = 10
_LONGEST_REASON = 200
# Processes of the session of most tests: more than nine would only start. The other session has one
# for the control plane, one for ministack, and a third where there is a core for it.
_CORES = min(max(2, os.cpu_count() or 1), 8)
_WORKERS, _BUILT_WORKERS = _CORES + 1, min(_CORES, 3)
_FAILURES = frozenset({"failed", "error"})
_OUTCOMES = {"failure": "failed", "error": "error", "skipped": "skipped"}
# Where the tests are that are marked `built`; their session collects no others.
BUILT_FOLDERS = ("tests/cluster", "tests/contracts", "tests/deploy", "tests/infra", "tests/release")


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """A command that `make test` runs.

    Attributes:
        name: Its name in the output and in the table.
        command: A program of the environment, and its arguments.
        after: The parts that end before this one starts.
        is_pytest: True if the command takes the options of pytest; its tests get into the table.
    """

    name: str
    command: Sequence[str]
    after: Sequence["Part"] = ()
    is_pytest: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """One test, as pytest reports it.

    Attributes:
        name: The test's module and function.
        seconds: The duration of the test with its fixtures.
        outcome: `passed`, `failed`, `error` or `skipped`.
        reason: The reason of a skip, or the first line of a failure.
    """

    name: str
    seconds: float
    outcome: str
    reason: str = ""

    @property
    def folder(self) -> str:
        """The folder under `tests`, such as `tests/domain`; `tests` for modules without one."""
        tests, *names = self.name.partition("::")[0].split(".")
        return f"{tests}/{names[0]}" if len(names) > 1 else tests


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """The tests of a session, and the seconds until the control plane ran a pod."""

    cases: Sequence[Case] = ()
    ready_seconds: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Finished:
    """A part that has ended."""

    name: str
    seconds: float
    code: int
    report: Report


def _pytest(name: str, workers: int, *arguments: str, after: Sequence[Part] = ()) -> Part:
    """Return a session of pytest whose tests run in several processes."""
    parallel = ("-n", str(workers), "--no-loadscope-reorder")
    return Part(name, ("pytest", "-q", *parallel, *arguments), after=after, is_pytest=True)


CHECKS = (
    Part("formatter", ("ruff", "format", "--check", ".")),
    Part("linter", ("ruff", "check", ".")),
    Part("types", ("mypy", "queue_processor", "tests", "benchmarks")),
    Part("import contracts", ("lint-imports", "--no-logo")),
)
CONTROL_PLANE = Part("control plane", ("python", "-m", "tests.cluster.assets"))
BUILDS = (
    CONTROL_PLANE,
    # They share packages with the control plane, which are compiled once.
    Part("Helm, promtool", ("python", "-m", "tests.deploy.programs"), after=(CONTROL_PLANE,)),
    Part("environments", ("python", "-m", "tests.pyenvironments")),
)
_BUILT = ("--dist=loadgroup", "-m", "built", *BUILT_FOLDERS)
TESTS = (
    _pytest("built tests", _BUILT_WORKERS, *_BUILT, after=BUILDS),
    _pytest("tests", _WORKERS, "--dist=loadfile", "-m", "not built"),
)
_QUICK = ("tests/domain", "tests/settings", "tests/controller", "tests/adapters")
QUICK_TESTS = _pytest("tests", _WORKERS, "--dist=loadfile", *_QUICK)


def run(parts: Sequence[Part], *, folder: pathlib.Path = _ROOT) -> int:
    """Run the parts in a folder, print the table, and return the exit code."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as reports:
        finished = asyncio.run(_run_all(parts, folder, pathlib.Path(reports)))
    _print_tables(finished, time.monotonic() - began)
    return int(any(part.code for part in finished))


async def _run_all(
    parts: Sequence[Part], folder: pathlib.Path, reports: pathlib.Path
) -> list[Finished]:
    tasks: dict[Part, asyncio.Task[Finished]] = {}
    width = max(len(part.name) for part in parts)
    async with asyncio.TaskGroup() as group:
        for number, part in enumerate(parts):
            running = _run(part, tasks, folder, reports / f"{number}.xml", width)
            tasks[part] = group.create_task(running, name=part.name)
    return [task.result() for task in tasks.values()]


async def _run(
    part: Part,
    tasks: Mapping[Part, asyncio.Task[Finished]],
    folder: pathlib.Path,
    report: pathlib.Path,
    width: int,
) -> Finished:
    if part.after:
        await asyncio.wait([tasks[earlier] for earlier in part.after])
    program, *arguments = part.command
    if part.is_pytest:
        arguments += [f"--junit-xml={report}", "-o", "junit_logging=no"]
        arguments += ["--color=yes"] if sys.stdout.isatty() else []
    began = time.monotonic()
    _print(part, width, f"$ {' '.join(part.command)}")
    process = await asyncio.create_subprocess_exec(
        *(str(_PROGRAMS / program), *arguments),
        cwd=folder,
        env=_environment(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        limit=_LONGEST_LINE,
    )
    assert process.stdout is not None
    try:
        async for line in process.stdout:
            _print(part, width, line.decode(errors="replace").rstrip())
    finally:
        # Ctrl-C reaches the process, too: it clears up before it ends.
        code = await process.wait()
    return Finished(part.name, time.monotonic() - began, code, read(report))


def _environment() -> dict[str, str]:
    """Return our environment, but with bytecode: hundreds of tests start a Python."""
    return {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def _print(part: Part, width: int, line: str) -> None:
    sys.stdout.write(f"{part.name:>{width}} | {line}\n")
    sys.stdout.flush()


def read(path: pathlib.Path) -> Report:
    """Read the report of pytest; an empty one when pytest has not written any."""
    if not path.exists():
        return Report()
    root = ET.parse(path).getroot()  # noqa: S314 what pytest wrote a moment ago
    ready = root.find(f".//property[@name='{READY_PROPERTY}']")
    return Report(
        cases=tuple(_case(element) for element in root.iter("testcase")),
        ready_seconds=None if ready is None else float(ready.attrib["value"]),
    )


def _case(element: "ET.Element[str]") -> Case:
    outcome, reason = "passed", ""
    for child in element:
        if child.tag in _OUTCOMES:
            outcome = _OUTCOMES[child.tag]
            reason = child.attrib["message"].partition("\n")[0]
    # A module that cannot be imported has no class name.
    names = filter(None, (element.attrib["classname"], element.attrib["name"]))
    return Case("::".join(names), float(element.attrib["time"]), outcome, reason)


# The tables.


def _print_tables(finished: Sequence[Finished], seconds: float) -> None:
    cases = [case for part in finished for case in part.report.cases]
    console = rich.console.Console(highlight=False, soft_wrap=True)
    console.print()
    if cases:
        console.print("slowest tests")
    for case in sorted(cases, key=lambda case: -case.seconds)[:_SLOWEST]:
        console.print(f"{case.seconds:7.1f}  {case.name}", markup=False)
    console.print()
    table = rich.table.Table("part", "seconds", "outcome", box=None, pad_edge=False)
    table.columns[1].justify = "right"
    for name, duration, outcome in _rows(finished, cases, seconds):
        table.add_row(name, f"{duration:.1f}", outcome)
    console.print(table)
    console.print()
    for line in (*_skips_in(cases), *_failures_in(cases)):
        console.print(line, markup=False)


def _rows(
    finished: Sequence[Finished], cases: Sequence[Case], seconds: float
) -> Iterator[tuple[str, float, str]]:
    """Yield the rows of the table: the parts, then the tests by folder."""
    for part in finished:
        yield part.name, part.seconds, "FAILED" if part.code else "passed"
        if part.report.ready_seconds is not None:
            yield "  from nothing to a running pod", part.report.ready_seconds, ""
    yield "all, side by side", seconds, ""
    for folder in sorted({case.folder for case in cases}):
        inside = [case for case in cases if case.folder == folder]
        yield folder, sum(case.seconds for case in inside), _counted(inside)


def _counted(cases: Iterable[Case]) -> str:
    counts = collections.Counter(case.outcome for case in cases)
    text = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
    return f"FAILED: {text}" if counts.keys() & _FAILURES else text


def _skips_in(cases: Iterable[Case]) -> Iterator[str]:
    """Yield a line for each reason, loud enough not to be overlooked."""
    skips = collections.Counter(
        (case.folder, case.reason) for case in cases if case.outcome == "skipped"
    )
    for (folder, reason), count in skips.items():
        yield f"{count} TEST{'S' * (count > 1)} IN {folder.upper()} SKIPPED: {reason}"


def _failures_in(cases: Iterable[Case]) -> Iterator[str]:
    """Yield a line for each test that failed: a record of a run often keeps only its last lines."""
    for case in cases:
        if case.outcome in _FAILURES:
            yield f"{case.outcome.upper()} {case.name}: {case.reason[:_LONGEST_REASON]}"


def _main(
    *,
    without_tests: Annotated[bool, typer.Option(help="Run the checks only.")] = False,
    quick: Annotated[bool, typer.Option(help="Run the checks and the fast tests.")] = False,
) -> None:
    """Run checks, builds and tests, and print at the end how long each of them took."""
    tests = () if without_tests else (QUICK_TESTS,) if quick else (*BUILDS, *TESTS)
    raise typer.Exit(run((*CHECKS, *tests)))


if __name__ == "__main__":
    typer.run(_main)
