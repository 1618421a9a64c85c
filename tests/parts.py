"""Every check and every test, a part after the other, and how long each of them took.

All parts run, whatever became of those before. `python -m tests.parts --help` says more.
"""

import collections
import dataclasses
import pathlib
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated

import rich.console
import rich.table
import typer

# pytest's own property, set by whoever starts the control plane.
READY_PROPERTY = "seconds until a pod ran"

_ROOT = pathlib.Path(__file__).parents[1]
_PROGRAMS = pathlib.Path(sys.executable).parent
# What tests are called, by the folder that they lie in; all others are unit tests.
_UNIT = "unit"
_KINDS = {"tests.contracts.": "contract", "tests.cluster.": "cluster"}


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """A command and what it is called."""

    name: str
    command: Sequence[str]


CHECKS = (
    Part("formatter", ("ruff", "format", "--check", ".")),
    Part("linter", ("ruff", "check", ".")),
    Part("types", ("mypy", "queue_processor", "tests", "benchmarks")),
    Part("import contracts", ("lint-imports",)),
)
CHART_PROGRAMS = Part("Helm and promtool", ("python", "-m", "tests.deploy.programs"))
CONTROL_PLANE = Part("control plane", ("python", "-m", "tests.cluster.assets"))
TESTS = Part("tests", ("pytest",))


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """A line of the table: what ran, for how many seconds, and what came of it."""

    name: str
    seconds: float
    outcome: str


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """One test, as pytest reports it.

    Attributes:
        kind: `unit`, `contract` or `cluster`.
        outcome: `passed`, `failed`, `error` or `skipped`.
        reason: Why it was skipped.
    """

    kind: str
    seconds: float
    outcome: str
    reason: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """What pytest says about its tests, and how long the control plane took to be ready."""

    cases: Sequence[Case]
    ready_seconds: float | None


def run(parts: Iterable[Part], tests: Part | None, *, folder: pathlib.Path = _ROOT) -> int:
    """Run everything, print the table, and return the exit code.

    Args:
        parts: What runs first.
        tests: A command that takes the options of pytest; None: no tests.
        folder: Where they run.
    """
    lines: list[Line] = []
    codes: list[int] = []
    for part in parts:
        seconds, code = _run(part, folder)
        lines.append(Line(part.name, seconds, "FAILED" if code else "passed"))
        codes.append(code)
    skips: list[str] = []
    if tests is not None:
        with tempfile.TemporaryDirectory() as place:
            path = pathlib.Path(place, "report.xml")
            reporting = dataclasses.replace(
                tests, command=(*tests.command, f"--junit-xml={path}", "-o", "junit_logging=no")
            )
            seconds, code = _run(reporting, folder)
            codes.append(code)
            report = read(path)
        lines += _lines_of(report, seconds, has_failed=bool(code))
        skips += _skips_in(report.cases)
    _print_table(lines)
    for skip in skips:
        typer.echo(skip)
    return int(any(codes))


def _run(part: Part, folder: pathlib.Path) -> tuple[float, int]:
    program, *arguments = part.command
    typer.echo(f"\n$ {' '.join(part.command)}")
    sys.stdout.flush()
    began = time.monotonic()
    finished = subprocess.run(  # noqa: S603 commands of our own
        [str(_PROGRAMS / program), *arguments], cwd=folder, check=False
    )
    return time.monotonic() - began, finished.returncode


def read(path: pathlib.Path) -> Report:
    """Read the report of pytest; an empty one when it did not come to that."""
    if not path.exists():
        return Report((), None)
    root = ET.parse(path).getroot()  # noqa: S314 what pytest wrote a moment ago
    ready = root.find(f".//property[@name='{READY_PROPERTY}']")
    return Report(
        cases=tuple(_case(found) for found in root.iter("testcase")),
        ready_seconds=None if ready is None else float(ready.attrib["value"]),
    )


def _case(found: "ET.Element[str]") -> Case:
    outcome, reason = "passed", ""
    for child in found:
        match child.tag:
            case "failure":
                outcome = "failed"
            case "error":
                outcome = "error"
            case "skipped":
                outcome, reason = "skipped", child.attrib["message"]
            case _:
                pass
    return Case(
        kind=_kind_of(found.attrib["classname"]),
        seconds=float(found.attrib["time"]),
        outcome=outcome,
        reason=reason,
    )


def _kind_of(name: str) -> str:
    return next((kind for prefix, kind in _KINDS.items() if name.startswith(prefix)), _UNIT)


def _lines_of(report: Report, seconds: float, *, has_failed: bool) -> Iterator[Line]:
    """The lines about the tests; what is not theirs is pytest's own time."""
    for kind in (_UNIT, *_KINDS.values()):
        cases = [case for case in report.cases if case.kind == kind]
        if cases:
            yield Line(f"{kind} tests", sum(case.seconds for case in cases), _counted(cases))
    if report.ready_seconds is not None:
        yield Line("  from nothing to a running pod", report.ready_seconds, "")
    own = seconds - sum(case.seconds for case in report.cases)
    yield Line("finding the tests", own, "FAILED" if has_failed and not report.cases else "")


def _counted(cases: Iterable[Case]) -> str:
    counts = collections.Counter(case.outcome for case in cases)
    told = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items()))
    return f"FAILED: {told}" if counts.keys() & {"failed", "error"} else told


def _skips_in(cases: Iterable[Case]) -> Iterator[str]:
    """A line for each reason, loud enough not to be overlooked."""
    skips = collections.Counter(
        (case.kind, case.reason) for case in cases if case.outcome == "skipped"
    )
    for (kind, reason), count in skips.items():
        yield f"{count} {kind.upper()} TEST{'S' * (count > 1)} SKIPPED: {reason}"


def _print_table(lines: Sequence[Line]) -> None:
    table = rich.table.Table("part", "seconds", "outcome", box=None, pad_edge=False)
    table.columns[1].justify = "right"
    for line in lines:
        table.add_row(line.name, f"{line.seconds:.1f}", line.outcome)
    typer.echo()
    rich.console.Console(highlight=False).print(table)


def _main(
    *,
    without_tests: Annotated[bool, typer.Option(help="Leave the tests out.")] = False,
) -> None:
    """Run the checks and the tests, and say at the end how long each part took."""
    if without_tests:
        raise typer.Exit(run(CHECKS, None))
    raise typer.Exit(run((*CHECKS, CHART_PROGRAMS, CONTROL_PLANE), TESTS))


if __name__ == "__main__":
    typer.run(_main)
