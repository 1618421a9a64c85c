import asyncio
import contextlib
import json
import os
import pathlib
import pty
import select
import signal
import subprocess
import sys
import termios
import threading
import time
import urllib.request
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
import typer.testing

from queue_processor import cli
from queue_processor.simulator.aws import records, simulator, stacks
from queue_processor.simulator.kube import api, clock, http
from queue_processor.simulator.kube.cluster import SimulatedCluster

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

_Result = TypeVar("_Result")

# Nobody is there: no AWS, no credentials, no cluster, no settings.
NOWHERE = {
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/nonexistent/config",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent/credentials",
    "KUBECONFIG": "/nonexistent/kubeconfig",
}


class Result:
    """The exit code of a command, and its output."""

    def __init__(self, result: Any) -> None:  # noqa: ANN401 click's result has another name in typer
        self.code: int = result.exit_code
        self.out: str = result.stdout
        self.err: str = result.stderr
        # An unexpected error would show as a traceback.
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception

    def data(self) -> Any:  # noqa: ANN401 it is JSON
        """Return the JSON on stdout."""
        return json.loads(self.out)

    @property
    def line(self) -> str:
        """Return the only line on stderr."""
        (line,) = self.err.splitlines()
        return line


class Terminal:
    """Runs the commands of a group of `queue-processor` in this process."""

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        group: str = "messages",
    ) -> None:
        self.environment = dict(environment)
        self._group = group

    def __call__(
        self, *arguments: str, stdin: str | bytes | None = None, **variables: str
    ) -> Result:
        runner = typer.testing.CliRunner()
        env = {**NOWHERE, **self.environment, **variables}
        return Result(runner.invoke(cli.app, [self._group, *arguments], input=stdin, env=env))


class Running:
    """A command that runs as a process of its own, without a terminal."""

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        group: str = "messages",
    ) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - the program under test
            [sys.executable, "-m", "queue_processor", group, *arguments],
            env={"PATH": os.environ["PATH"], **NOWHERE, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def line(self) -> str:
        """Wait for the next line on stdout."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().rstrip("\n")

    def until(self, holds: Callable[[], bool], *, limit: float = 60.0) -> None:
        """Wait until something holds, as long as the command runs."""
        ends_at = time.monotonic() + limit
        while not holds():
            assert self._process.poll() is None, self._process.communicate()
            assert time.monotonic() < ends_at, f"it does not hold after {limit} s"
            time.sleep(0.02)

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it with SIGKILL."""
        self._process.kill()

    def ended(self, *, limit: float = 60.0) -> tuple[int, str, str]:
        """Wait for its end: exit code, stdout and stderr."""
        out, err = self._process.communicate(timeout=limit)
        assert "Traceback" not in err
        return self._process.returncode, out, err

    def close(self) -> None:
        """Kill it if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


class Screen:
    """A command on a terminal of its own, on which a person types."""

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        *,
        group: str = "messages",
        size: tuple[int, int] = (50, 200),
    ) -> None:
        self.text = ""
        self._ours, theirs = pty.openpty()
        termios.tcsetwinsize(self._ours, size)
        self._process = subprocess.Popen(  # noqa: S603 - the program under test
            [sys.executable, "-m", "queue_processor", group, *arguments],
            env={"PATH": os.environ["PATH"], "TERM": "xterm", **NOWHERE, **environment},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)

    def until(self, text: str, *, limit: float = 60.0) -> None:
        """Read until a text is on the screen."""
        ends_at = time.monotonic() + limit
        while text not in self.text:
            assert self._read(ends_at - time.monotonic()), f"no {text!r} in {self.text!r}"

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._ours, keys.encode())

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    @property
    def code(self) -> int:
        """Wait for the end of the command; return its exit code."""
        ends_at = time.monotonic() + 20
        while self._read(ends_at - time.monotonic()):
            pass
        return self._process.wait(timeout=60)

    def _read(self, limit: float) -> bool:
        readable, _, _ = select.select([self._ours], [], [], max(limit, 0))
        try:
            more = os.read(self._ours, 65_536) if readable else b""
        except OSError:
            # That is how the end of a terminal looks on Linux.
            more = b""
        self.text += more.decode(errors="replace")
        return bool(more)

    def close(self) -> None:
        """Kill it if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        os.close(self._ours)


class ThreadedCluster:
    """A simulated cluster over HTTP, whose loop runs in a thread of its own."""

    def __init__(self, folder: pathlib.Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._world = SimulatedCluster(clock.Delays(exit_seconds=0.1))
        self.server = api.SimulatedApiServer(self._world)
        self._http = http.HttpServer(self.server)
        self.kubeconfig = folder / "kubeconfig"

    @classmethod
    @contextlib.contextmanager
    def running(
        cls, folder: pathlib.Path, build: Callable[[SimulatedCluster], None] = lambda _: None
    ) -> Iterator["ThreadedCluster"]:
        """Start a cluster, with what `build` puts into it, and stop it at the end."""
        made = cls(folder)
        made.start()
        made.do(build)
        yield made
        made.stop()

    def start(self) -> None:
        self._thread.start()
        self._wait(self._http.start())
        self._http.write_kubeconfig(self.kubeconfig)

    def stop(self) -> None:
        self._wait(self._http.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def do(self, deed: Callable[[SimulatedCluster], _Result]) -> _Result:
        """Change the cluster in the thread of its loop."""

        async def doing() -> _Result:
            return deed(self._world)

        return self._wait(doing())

    def _wait(self, deed: Coroutine[None, None, _Result]) -> _Result:
        return asyncio.run_coroutine_threadsafe(deed, self._loop).result(timeout=60)

    def environment(self) -> dict[str, str]:
        """Return the variables that name it to a command."""
        return {"KUBECONFIG": str(self.kubeconfig)}


@pytest.fixture
def terminal() -> Terminal:
    """A terminal on a machine where nothing is set up."""
    return Terminal({})


@pytest.fixture
def cluster(tmp_path: pathlib.Path) -> Iterator[ThreadedCluster]:
    with ThreadedCluster.running(tmp_path) as made:
        yield made


class CliHarness:
    """A queue with a dead-letter queue, and a terminal for which it is the one of the settings."""

    def __init__(
        self, aws: simulator.AwsSimulator, stack: stacks.Stack, terminal: Terminal
    ) -> None:
        self.aws = aws
        self.url = stack.queue_url
        self.dead_letters_url = stack.dead_letter_queue_url
        self.run = terminal
        terminal.environment |= {**aws.environment(), "QUEUE_PROCESSOR_QUEUE_URL": self.url}
        self._processes: list[Running | Screen] = []
        self.sqs: SQSClient = aws.session.client("sqs", endpoint_url=aws.endpoint_url)

    def allow_only(self, *actions: str) -> None:
        """Run the next commands as a user who is allowed these actions and no others."""
        statement = {"Effect": "Allow", "Action": actions, "Resource": "*"}
        policy = {"Version": "2012-10-17", "Statement": [statement]}
        with contextlib.closing(
            self.aws.session.client("iam", endpoint_url=self.aws.endpoint_url)
        ) as iam:
            iam.create_user(UserName="person")
            iam.put_user_policy(
                UserName="person", PolicyName="p", PolicyDocument=json.dumps(policy)
            )
            key = iam.create_access_key(UserName="person")["AccessKey"]
        self.run.environment |= {
            "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
        }
        self._check_permissions(after_requests="0")

    def start(self, *arguments: str, **variables: str) -> Running:
        """Start a command as a process."""
        process = Running(arguments, {**self.run.environment, **variables})
        self._processes.append(process)
        return process

    def start_on_terminal(self, *arguments: str, **variables: str) -> Screen:
        """Start a command on a terminal."""
        screen = Screen(arguments, {**self.run.environment, **variables})
        self._processes.append(screen)
        return screen

    def close(self) -> None:
        """Stop what runs, and reset AWS for the next test."""
        for process in self._processes:
            process.close()
        self._check_permissions(after_requests="inf")
        self.sqs.close()
        self.aws.reset()

    def _check_permissions(self, *, after_requests: str) -> None:
        request = urllib.request.Request(  # noqa: S310 - our own server
            f"{self.aws.endpoint_url}/moto-api/reset-auth",
            data=after_requests.encode(),
            headers={"Content-Type": "text/plain"},
        )
        urllib.request.urlopen(request).close()  # noqa: S310 - our own server

    def send(self, *bodies: str) -> list[str]:
        """Put messages on the queue; return their ids."""
        return [self.aws.send_raw(body, queue_url=self.url) for body in bodies]

    def dead_letter(self, *bodies: str) -> list[str]:
        """Put messages on the dead-letter queue, as the operator does; return their ids."""
        return [self.aws.send_raw(body, queue_url=self.dead_letters_url) for body in bodies]

    def contents(self) -> tuple[records.MessageSnapshot, ...]:
        """Return the messages in the queue."""
        return self.aws.contents(self.url)

    def bodies(self) -> list[str]:
        """Return the bodies in the queue."""
        return [message.body for message in self.contents()]

    def dead_bodies(self) -> list[str]:
        """Return the bodies in the dead-letter queue."""
        return [message.body for message in self.aws.contents(self.dead_letters_url)]


@pytest.fixture(scope="module")
def running_aws() -> Iterator[simulator.AwsSimulator]:
    with simulator.AwsSimulator() as aws:
        yield aws


@pytest.fixture
def harness(running_aws: simulator.AwsSimulator, terminal: Terminal) -> Iterator[CliHarness]:
    made = CliHarness(running_aws, running_aws.deploy(), terminal)
    yield made
    made.close()
