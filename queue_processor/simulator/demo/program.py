"""The rehearsal as a program: files, signals, and what is printed where."""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import json
import pathlib
import signal
import sys
import tempfile
from collections.abc import Iterator

import rich.console

from queue_processor.simulator.demo import (
    display,
    rehearsal,
    scenario,
    summary,
)

_PASSED = 0
_FAILED = 1
_INTERRUPTED = 130
_TERMINATED = 143
_LOG_LINES = 20


def run(plan: scenario.Scenario, *, as_json: bool) -> int:
    """Rehearse, show it, and return the exit code."""
    errors = rich.console.Console(stderr=True)
    try:
        return _as_json(plan, errors) if as_json else _as_text(plan, errors)
    except KeyboardInterrupt:
        errors.print("interrupted")
        return _INTERRUPTED
    except asyncio.CancelledError:
        errors.print("terminated")
        return _TERMINATED


def _as_json(plan: scenario.Scenario, errors: rich.console.Console) -> int:
    with tempfile.TemporaryDirectory(prefix="queue-processor-demo-") as folder:
        files = rehearsal.Files(pathlib.Path(folder, "kubeconfig"), sys.stderr)
        try:
            verdict = asyncio.run(_watched(plan, display.Steps(errors), files))
        except rehearsal.OperatorFailedError as fault:
            errors.print(f"demo: {fault}", highlight=False, soft_wrap=True)
            return _FAILED
    told = dataclasses.asdict(verdict.figures)
    told["failed_checks"] = [
        {"name": check.name, "expected": check.expected, "found": check.found}
        for check in verdict.failed
    ]
    sys.stdout.write(json.dumps(told, indent=2) + "\n")
    return _PASSED if verdict.figures.ok else _FAILED


def _as_text(plan: scenario.Scenario, errors: rich.console.Console) -> int:
    console = rich.console.Console()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="queue-processor-demo-"))
    log = folder / "operator.log"
    with log.open("w", encoding="utf-8") as lines, _audience(console) as audience:
        files = rehearsal.Files(folder / "kubeconfig", lines)
        try:
            verdict = asyncio.run(_watched(plan, audience, files))
        except rehearsal.OperatorFailedError as fault:
            errors.print(f"demo: {fault}", highlight=False, soft_wrap=True)
            _show_end_of(log, errors)
            return _FAILED
        finally:
            files.kubeconfig.unlink(missing_ok=True)
            console.print(f"log of the operator: {log}", highlight=False, soft_wrap=True)
    for check in verdict.failed_late:
        console.print(summary.failure(check), soft_wrap=True)
    if not verdict.figures.ok:
        _show_end_of(log, errors)
        console.print("[bold red]Something did not come out right.")
        return _FAILED
    console.print("[bold green]Everything came out right.")
    return _PASSED


@contextlib.contextmanager
def _audience(console: rich.console.Console) -> Iterator[rehearsal.Audience]:
    if not console.is_terminal:
        yield display.Lines(console)
        return
    board = display.Board(console, lambda: dt.datetime.now(tz=dt.UTC))
    with board.on_screen():
        yield board


def _show_end_of(log: pathlib.Path, errors: rich.console.Console) -> None:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:]
    for line in lines:
        errors.print(line, markup=False, highlight=False, soft_wrap=True)


async def _watched(
    plan: scenario.Scenario, audience: rehearsal.Audience, files: rehearsal.Files
) -> rehearsal.Verdict:
    """Rehearse; SIGTERM ends it as Ctrl-C does, so that nothing is left behind."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await rehearsal.rehearse(plan, audience, files)
