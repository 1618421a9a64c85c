"""Plays a scenario from its start to its exit code."""

import asyncio
import contextlib
import dataclasses
import datetime as dt
import json
import pathlib
import signal
import sys
import tempfile
from collections.abc import Callable
from typing import IO

import rich.console

from queue_processor.simulator.demo import checks, display, operator
from queue_processor.simulator.demo.environment import Environment
from queue_processor.simulator.demo.scenario import Scenario

_READY_LIMIT_SECONDS = 30.0
# Nothing notifies us of what happens in AWS; this is as often as people can read.
_POLL_SECONDS = 0.125
_LOG_LINES = 20
_KUBECONFIG = "kubeconfig"
_FOLDER_PREFIX = "queue-processor-demo-"

_PASSED = 0
_FAILED = 1
_INTERRUPTED = 130
_TERMINATED = 143


class OperatorFailedError(Exception):
    """The operator did not begin to work."""


def run(scenario: Scenario, *, as_json: bool) -> int:
    """Play a scenario, print what happens, and return the exit code."""
    errors = rich.console.Console(stderr=True)
    try:
        return _print_json(scenario, errors) if as_json else _print_text(scenario, errors)
    except OperatorFailedError as error:
        errors.print(f"demo: {error}", highlight=False, soft_wrap=True)
        return _FAILED
    except KeyboardInterrupt:
        errors.print("interrupted")
        return _INTERRUPTED
    except asyncio.CancelledError:
        errors.print("terminated")
        return _TERMINATED


def _print_json(scenario: Scenario, errors: rich.console.Console) -> int:
    with tempfile.TemporaryDirectory(prefix=_FOLDER_PREFIX) as folder:
        playing = _play(scenario, display.Reporter(errors), pathlib.Path(folder), sys.stderr)
        assessment = asyncio.run(playing)
    figures = dataclasses.asdict(assessment.summary)
    figures["failed_checks"] = [
        {"name": check.name, "expected": check.expected, "found": check.observed}
        for check in assessment.failed
    ]
    sys.stdout.write(json.dumps(figures, indent=2) + "\n")
    return _FAILED if assessment.failed else _PASSED


def _print_text(scenario: Scenario, errors: rich.console.Console) -> int:
    console = rich.console.Console()
    folder = pathlib.Path(tempfile.mkdtemp(prefix=_FOLDER_PREFIX))
    log = folder / "operator.log"
    reporter = _reporter(console)
    try:
        with log.open("w", encoding="utf-8") as lines:
            assessment = asyncio.run(_play(scenario, reporter, folder, lines))
    except OperatorFailedError:
        _print_end_of(log, errors)
        raise
    finally:
        reporter.close()
        (folder / _KUBECONFIG).unlink(missing_ok=True)
        console.print(f"log of the operator: {log}", highlight=False, soft_wrap=True)
    if assessment.failed:
        _print_end_of(log, errors)
        console.print("[bold red]Something did not come out right.")
        return _FAILED
    console.print("[bold green]Everything came out right.")
    return _PASSED


def _reporter(console: rich.console.Console) -> display.Reporter:
    if console.is_terminal:
        return display.TableReporter(console, lambda: dt.datetime.now(tz=dt.UTC))
    return display.LineReporter(console)


def _print_end_of(log: pathlib.Path, errors: rich.console.Console) -> None:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_LINES:]
    for line in lines:
        errors.print(line, markup=False, highlight=False, soft_wrap=True)


async def _play(
    scenario: Scenario, reporter: display.Reporter, folder: pathlib.Path, log: IO[str]
) -> checks.Assessment:
    """Play the scenario against the operator, and check what happened.

    Args:
        scenario: What to play.
        reporter: Reports what happens.
        folder: For the kubeconfig of the operator.
        log: Takes what the operator logs.

    Raises:
        OperatorFailedError: The operator did not begin to work.
    """
    # SIGTERM ends it as Ctrl-C does, so that nothing is left behind.
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    nodes, pods = len(scenario.nodes), scenario.pod_count
    events, messages = scenario.event_count, scenario.message_count
    environment = Environment(scenario)
    async with contextlib.AsyncExitStack() as stack:
        if scenario.has_queue:
            reporter.step("Starting AWS: the queue and its rules, from the template …")
        stack.push_async_callback(environment.stop)
        await environment.start_aws()
        reporter.step(f"Starting a cluster: {nodes} nodes, {pods} pods …")
        await environment.start_cluster()
        reporter.step("Starting the operator …")
        kubeconfig = folder / _KUBECONFIG
        environment.server.write_kubeconfig(kubeconfig)
        variables = {
            **environment.operator_variables(),
            "KUBECONFIG": str(kubeconfig),
            "QUEUE_PROCESSOR_HTTP__BIND": "127.0.0.1:0",
        }
        process = await stack.enter_async_context(operator.running(variables, log=log))
        await _until_ready(environment, process)
        if (arguments := environment.watcher_arguments()) is not None:
            reporter.step("Starting the watchers of instance metadata …")
            await stack.enter_async_context(operator.watching(arguments, log=log))
        reporter.step(f"Playing {scenario.name}: events {events}, messages {messages} …")
        await _until_at_rest(environment, process, reporter)
        exit_code = await operator.stop(process)
        assessment = checks.assess(environment.observe(exit_code=exit_code))
    reporter.outcome(assessment)
    return assessment


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
