"""The operator and the watchers as processes, with the same code as in a cluster."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import IO

_STOP_LIMIT_SECONDS = 20.0
# The prefixes of the variables by which a program finds an AWS, or the cluster that it runs in.
_OTHER_PLACES = ("AWS_", "KUBERNETES_SERVICE_")
# Two operators on a machine need two ports.
_ANY_PORT = {"QUEUE_PROCESSOR_HTTP__BIND": "127.0.0.1:0"}
# Files of the SDKs name endpoints and roles, and a proxy does not lead to this machine.
THIS_MACHINE = {
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "NO_PROXY": "127.0.0.1",
    "no_proxy": "127.0.0.1",
}


def isolate() -> None:
    """Remove every AWS and every cluster from the environment of this process and its children.

    moto opens sessions while it is imported, so call this before that.
    """
    for name in [name for name in os.environ if name.startswith(_OTHER_PLACES)]:
        del os.environ[name]
    os.environ.update(THIS_MACHINE)


@contextlib.asynccontextmanager
async def running(
    environment: Mapping[str, str], *, log: IO[str]
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the operator, and kill it at the end if it still runs.

    Args:
        environment: Where its AWS and its cluster are, on top of the environment of this
            process, which must not name any others.
        log: Takes its standard output and error.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "queue_processor", "run"),
        env={**os.environ, **_ANY_PORT, **environment},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        # Ctrl-C goes to the demo, which then stops the operator.
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@contextlib.asynccontextmanager
async def watching(arguments: Sequence[str], *, log: IO[str]) -> AsyncIterator[None]:
    """Run the watchers, from when they have polled each node once.

    Args:
        arguments: Those of `watchers.main`.
        log: Takes what they log.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "queue_processor.simulator.demo.watchers", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=log,
        start_new_session=True,
    )
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    try:
        # At the end of the process there is a line, too: an empty one.
        await process.stdout.readline()
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def stop(process: asyncio.subprocess.Process) -> int:
    """Stop it as Kubernetes does, and return its exit code."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(_STOP_LIMIT_SECONDS):
            return await process.wait()
    except TimeoutError:
        process.kill()
    return await process.wait()
