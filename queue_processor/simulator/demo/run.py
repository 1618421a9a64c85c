"""Plays a scenario from its start to its exit code."""

import asyncio
import contextlib
import dataclasses
import json
import pathlib
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from typing import IO

import rich.console

from queue_processor.domain.errors import UsageError
from queue_processor.simulator.demo import (
    checks,
    display,
    operator,
    playground,
    report,
    summary,
)
from queue_processor.simulator.demo.environment import Environment
from queue_processor.simulator.demo.scenario import Scenario

_READY_LIMIT_SECONDS = 30.0
# Nothing notifies us of what happens in AWS; this is as often as people can read.
_POLL_SECONDS = 0.125
_LOG_LINES = 20
_FOLDER_PREFIX = "queue-processor-demo-"
# Without a terminal no line is folded.
_WIDE = 1000

_PASSED = 0
_FAILED = 1
_INTERRUPTED = 130
_TERMINATED = 143


class OperatorFailedError(Exception):
    """The operator did not begin to work, or did not stay at work."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """The options of a run that do not change its scenario.

    Attributes:
        as_json: Print one object on stdout, and logs on stderr.
        details: Print every node, workload and check at the end.
        report: The file for a report in HTML.
        keep: Let everything stay up after the scenario, until Ctrl-C.
    """

    as_json: bool = False
    details: bool = False
    report: pathlib.Path | None = None
    keep: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Workspace:
    """A folder for the files of a run, and the file that takes what the operator logs."""

    folder: pathlib.Path
    log: IO[str]


def run(scenario: Scenario, options: DemoOptions) -> int:
    """Play a scenario, print what happens, and return the exit code.

    Raises:
        UsageError: The report cannot be written.
    """
    errors = rich.console.Console(stderr=True)
    try:
        if options.as_json:
            return _print_json(scenario, options, errors)
        return _print_text(scenario, options, errors)
    except KeyboardInterrupt:
        errors.print("interrupted")
        return _INTERRUPTED
    except asyncio.CancelledError:
        errors.print("terminated")
        return _TERMINATED


def _print_json(scenario: Scenario, options: DemoOptions, errors: rich.console.Console) -> int:
    with tempfile.TemporaryDirectory(prefix=_FOLDER_PREFIX) as folder:
        workspace = Workspace(pathlib.Path(folder), sys.stderr)
        try:
            assessment = asyncio.run(_play(scenario, options, display.Reporter(errors), workspace))
        except OperatorFailedError as error:
            _print_error(error, errors)
            return _FAILED
    sys.stdout.write(json.dumps(summary.fields(assessment), indent=2) + "\n")
    return _FAILED if assessment.failed else _PASSED


def _print_text(scenario: Scenario, options: DemoOptions, errors: rich.console.Console) -> int:
    """Print text, and keep the log of the operator where something went wrong."""
    console = _console()
    folder = pathlib.Path(tempfile.mkdtemp(prefix=_FOLDER_PREFIX))
    log = folder / "operator.log"
    reporter = display.reporter_for(console, details=options.details)
    try:
        with log.open("w", encoding="utf-8") as lines, contextlib.closing(reporter):
            workspace = Workspace(folder, lines)
            assessment = asyncio.run(_play(scenario, options, reporter, workspace))
    except (KeyboardInterrupt, asyncio.CancelledError, UsageError):
        shutil.rmtree(folder)
        raise
    except OperatorFailedError as error:
        _print_end_of(log, errors)
        _print_error(error, errors)
    else:
        if not assessment.failed:
            shutil.rmtree(folder)
            return _PASSED
        _print_end_of(log, errors)
    console.print(f"log of the operator: {log}", highlight=False, soft_wrap=True)
    return _FAILED


def _print_error(error: OperatorFailedError, errors: rich.console.Console) -> None:
    errors.print(f"demo: {error}", highlight=False, soft_wrap=True)


def _console() -> rich.console.Console:
    console = rich.console.Console()
    return console if console.is_terminal else rich.console.Console(width=_WIDE)


def _print_end_of(log: pathlib.Path, errors: rich.console.Console) -> None:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:]
    for line in lines:
        errors.print(line, markup=False, highlight=False, soft_wrap=True)


async def _play(
    scenario: Scenario, options: DemoOptions, reporter: display.Reporter, workspace: Workspace
) -> checks.Assessment:
    """Play the scenario against the operator, and check what happened.

    Raises:
        OperatorFailedError: The operator did not begin to work.
        UsageError: The report cannot be written.
    """
    # SIGTERM ends it as Ctrl-C does, so that nothing is left behind.
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    environment = Environment(scenario)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(environment.stop)
        await _start(environment, reporter)
        kubeconfig = environment.server.write_kubeconfig(workspace.folder / "kubeconfig")
        stack.callback(kubeconfig.unlink)
        variables = {**environment.operator_variables(), "KUBECONFIG": str(kubeconfig)}
        process = await stack.enter_async_context(operator.running(variables, log=workspace.log))
        await _until_ready(environment, process)
        if (arguments := environment.watcher_arguments()) is not None:
            reporter.step("Starting the watchers of instance metadata …")
            await stack.enter_async_context(operator.watching(arguments, log=workspace.log))
        events, messages = scenario.event_count, scenario.message_count
        reporter.step(f"Playing {scenario.name}: events {events}, messages {messages} …")
        await _until_at_rest(environment, process, reporter)
        exit_code = await operator.stop(process)
        assessment = checks.assess(environment.observe(exit_code=exit_code))
        reporter.outcome(assessment)
        if options.report is not None:
            report.write(options.report, assessment)
        if options.keep:
            await _keep(environment, variables, reporter, workspace)
    return assessment


async def _start(environment: Environment, reporter: display.Reporter) -> None:
    scenario = environment.scenario
    nodes, pods = len(scenario.nodes), scenario.pod_count
    if scenario.has_queue:
        reporter.step("Starting AWS: the queue and its rules, from the template …")
    await environment.start_aws()
    reporter.step(f"Starting a cluster: {nodes} nodes, {pods} pods …")
    await environment.start_cluster()
    reporter.step("Starting the operator …")


async def _keep(
    environment: Environment,
    variables: Mapping[str, str],
    reporter: display.Reporter,
    workspace: Workspace,
) -> None:
    """Let everything stay up until Ctrl-C or SIGTERM, with an operator at work.

    It is a new one: that of the scenario was stopped, because the checks want to see that.

    Raises:
        OperatorFailedError: The operator ended.
    """
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with operator.running(variables, log=workspace.log) as process:
        await _until_ready(environment, process)
        shell = {**operator.THIS_MACHINE, **variables}
        script = playground.write_script(workspace.folder, shell)
        for line in playground.instructions(script):
            reporter.step(line)
        await _poll(stop.is_set, process)
        script.unlink()
        _check_running(process)
        reporter.step("Stopping …")
        await operator.stop(process)


async def _until_ready(environment: Environment, process: asyncio.subprocess.Process) -> None:
    """Wait until the operator works, which it does only as the holder of the Lease."""
    await environment.send_probe()
    try:
        async with asyncio.timeout(_READY_LIMIT_SECONDS):
            await _poll(environment.is_operator_at_work, process)
    except TimeoutError:
        raise OperatorFailedError(
            f"the operator did not begin to work within {_READY_LIMIT_SECONDS:.0f} s"
        ) from None
    _check_running(process)


def _check_running(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        raise OperatorFailedError(f"the operator ended with exit code {process.returncode}")


async def _until_at_rest(
    environment: Environment, process: asyncio.subprocess.Process, reporter: display.Reporter
) -> None:
    """Play until everything is done, the time is over, or the operator has ended."""
    playing = asyncio.create_task(environment.play(), name="scenario")

    def is_over() -> bool:
        observed = environment.observe()
        reporter.progress(observed.timelines)
        return playing.done() and observed.is_at_rest

    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(environment.scenario.limit_seconds):
                await _poll(is_over, process)
    finally:
        playing.cancel()
        await asyncio.wait((playing,))
    if not playing.cancelled():
        playing.result()


async def _poll(condition: Callable[[], bool], process: asyncio.subprocess.Process) -> None:
    """Wait until the condition holds or the operator has ended."""
    while not condition() and process.returncode is None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_POLL_SECONDS):
                await process.wait()
