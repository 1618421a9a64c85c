"""`queue-processor-watcher` as a process: what it does, what it costs, and how it ends."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
import trustme

from queue_processor.domain import notices
from queue_processor.domain.events import EventKind
from tests.watcher import scripted_imds
from tests.watcher.scripted_imds import Response, ScriptedImds
from tests.watcher.servers import FakeApiServer, LocalServer, imds_server
from tests.watcher.world import INSTANCE

ROOT = pathlib.Path(__file__).parents[2]
WATCHER = (sys.executable, "-m", "queue_processor.watcher")
SCRIPT = str(pathlib.Path(sys.executable).with_name("queue-processor-watcher"))
SPOT = notices.annotation_name(EventKind.SPOT_INTERRUPTION)
INSTANCE_ACTION = '{"action": "terminate", "time": "2026-11-29T12:02:10Z"}'
# Others wait for it only if they fail.
PATIENCE_SECONDS = 60
MEBIBYTE = 1024  # in the unit of /proc
LARGEST_MEMORY = 24 * MEBIBYTE
LARGEST_SHARE_OF_A_CORE = 0.0015
POLL_SECONDS = 2


def environment() -> dict[str, str]:
    """Ours, but with bytecode, as in the image: to compile takes memory."""
    return {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


class Process:
    """A watcher, and the log that it writes."""

    def __init__(self, variables: dict[str, str]) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - the program under test
            WATCHER, env=environment() | variables, cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        self.lines: list[dict[str, Any]] = []

    @property
    def pid(self) -> int:
        return self._process.pid

    def until(self, event: str) -> dict[str, Any]:
        """Read the log until a line about an event."""
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.lines.append(json.loads(line))
            if self.lines[-1]["event"] == event:
                return self.lines[-1]
        raise AssertionError(self.lines)

    def events(self) -> list[str]:
        return [line["event"] for line in self.lines]

    def end(self, number: int) -> int:
        """Send a signal, and return the exit code."""
        self._process.send_signal(number)
        return self._process.wait(PATIENCE_SECONDS)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stderr is not None
        self._process.stderr.close()


class Instance:
    """An EC2 instance that runs a Node: instance metadata, and an API server.

    Attributes:
        variables: The environment of a watcher.
    """

    def __init__(self, api_server: FakeApiServer, variables: dict[str, str]) -> None:
        self.imds = ScriptedImds(time.monotonic)
        self.imds.bodies = {scripted_imds.INSTANCE_ID: INSTANCE, scripted_imds.SCHEDULED: "[]"}
        self.api_server = api_server
        self.server: LocalServer = imds_server(self.imds)
        self.variables = variables | {"IMDS_ENDPOINT": f"http://127.0.0.1:{self.server.port}"}

    def announce(self) -> None:
        self.imds.bodies[scripted_imds.INSTANCE_ACTION] = INSTANCE_ACTION

    @contextlib.contextmanager
    def watched(self, **variables: str) -> Iterator[Process]:
        with contextlib.closing(Process(self.variables | variables)) as process:
            yield process

    def wait_for_requests(self, count: int) -> None:
        """Wait for so many requests to instance metadata."""
        assert self.server.wait_for(lambda: len(self.imds.requests) >= count, PATIENCE_SECONDS)


@pytest.fixture
def instance(
    api_server: FakeApiServer, service_account: pathlib.Path, tmp_path: pathlib.Path
) -> Iterator[Instance]:
    started = Instance(
        api_server,
        {
            "NODE_NAME": "node-1",
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": str(api_server.server.port),
            "SERVICE_ACCOUNT_FOLDER": str(service_account),
            "HEARTBEAT_FILE": str(tmp_path / "heartbeat"),
            "POLL_SECONDS": "1",
        },
    )
    with contextlib.closing(started.server):
        yield started


@pytest.fixture(scope="module", autouse=True)
def _bytecode() -> None:
    """Let one process write the bytecode that the others read."""
    finished = subprocess.run(  # noqa: S603 - the program under test
        [*WATCHER, "--help"], env=environment(), cwd=ROOT, capture_output=True, check=False
    )
    assert finished.returncode == 0


def test_a_notice_is_written_on_the_node_and_both_are_logged(instance: Instance) -> None:
    with instance.watched() as process:
        process.until("watcher_started")
        instance.announce()
        process.until("notices_recorded")
        code = process.end(signal.SIGTERM)

    assert code == 0
    assert json.loads(instance.api_server.nodes["node-1"][SPOT])["said"] == INSTANCE_ACTION
    assert instance.api_server.nodes["node-1"]["owner"] == "kubelet"
    assert len(instance.api_server.requests) == 1
    assert process.events() == ["watcher_started", "notice_seen", "notices_recorded"]
    assert {line["node"] for line in process.lines} == {"node-1"}
    assert {line["level"] for line in process.lines} == {"info"}


def test_instance_metadata_and_the_api_server_are_never_asked_through_a_proxy(
    instance: Instance,
) -> None:
    nowhere = "http://127.0.0.1:9"
    proxies = {"HTTP_PROXY": nowhere, "HTTPS_PROXY": nowhere, "http_proxy": nowhere}
    instance.announce()

    with instance.watched(**proxies, https_proxy=nowhere) as process:
        process.until("notices_recorded")

    assert SPOT in instance.api_server.nodes["node-1"]


def test_what_the_api_server_refuses_is_logged_with_its_cure_and_written_later(
    instance: Instance,
) -> None:
    instance.announce()
    instance.api_server.refusal = (403, 'nodes "node-1" is forbidden')

    with instance.watched() as process:
        refused = process.until("notices_not_recorded")
        instance.api_server.refusal = None
        process.until("notices_recorded")

    assert 'nodes "node-1" is forbidden' in refused["cause"]
    assert "ClusterRole" in refused["cause"]
    assert SPOT in instance.api_server.nodes["node-1"]


def test_a_notice_survives_the_death_of_its_watcher(instance: Instance) -> None:
    instance.announce()
    instance.api_server.refusal = (503, "unavailable")
    with instance.watched() as process:
        process.until("notices_not_recorded")
        assert process.end(signal.SIGKILL) == -signal.SIGKILL
    instance.api_server.refusal = None

    with instance.watched() as process:
        process.until("notices_recorded")

    assert SPOT in instance.api_server.nodes["node-1"]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(scripted_imds.text("<html>Sign in</html>"), id="HTML for everything"),
        pytest.param(Response(body=b"x" * 10 * 2**20), id="10 MiB for everything"),
    ],
)
def test_a_body_that_is_not_understood_ends_neither_the_process_nor_reaches_the_node(
    answer: Response, instance: Instance
) -> None:
    instance.imds.always = answer

    with instance.watched() as process:
        process.until("imds_body_not_understood")
        instance.imds.always = None
        instance.announce()
        process.until("notices_recorded")

    assert "imds_available" in process.events()
    assert instance.api_server.nodes["node-1"].keys() == {"owner", SPOT}


def test_a_hop_limit_is_seen_on_a_real_connection(instance: Instance) -> None:
    instance.imds.is_token_required = False
    instance.imds.script_tokens(scripted_imds.HANGS)
    instance.announce()

    with instance.watched() as process:
        assert "hostNetwork" in process.until("imds_hop_limit")["cause"]
        process.until("notices_recorded")

    assert SPOT in instance.api_server.nodes["node-1"]


def test_each_turn_is_a_heartbeat(instance: Instance, tmp_path: pathlib.Path) -> None:
    instance.announce()

    with instance.watched() as process:
        process.until("notices_recorded")
        # From a later turn.
        instance.imds.bodies[scripted_imds.TARGET_STATE] = "Terminated"
        process.until("notices_recorded")

    assert (tmp_path / "heartbeat").exists()


def test_a_folder_that_is_not_there_costs_the_heartbeat_only(
    instance: Instance, tmp_path: pathlib.Path
) -> None:
    with instance.watched(HEARTBEAT_FILE=str(tmp_path / "missing" / "heartbeat")) as process:
        process.until("heartbeat_not_written")
        instance.announce()
        process.until("notices_recorded")

    assert process.events().count("heartbeat_not_written") == 1


# Its end.


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_at_once_in_a_request_that_hangs(number: int, instance: Instance) -> None:
    instance.imds.always = scripted_imds.HANGS
    with instance.watched() as process:
        instance.wait_for_requests(1)
        code = process.end(number)
        requests = len(instance.imds.requests)

    assert code == 0
    assert requests == 1
    assert process.events() == []


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 - the program under test
        [*WATCHER, *arguments],
        env={"PATH": "/usr/bin:/bin", **variables},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def test_without_the_name_of_its_node_it_exits_with_one_line() -> None:
    finished = run()

    assert finished.returncode == 2
    (line,) = finished.stderr.splitlines()
    assert line.startswith("queue-processor-watcher: NODE_NAME is not set: ")
    assert "spec.nodeName" in line


def test_an_argument_is_refused_with_one_line() -> None:
    finished = run("--poll", "2", NODE_NAME="node-1")

    assert finished.returncode == 2
    (line,) = finished.stderr.splitlines()
    assert "'--poll'" in line


def test_the_installed_program_explains_itself_with_examples() -> None:
    finished = subprocess.run(  # noqa: S603 - the program under test
        [SCRIPT, "--help"], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )

    assert finished.returncode == 0
    assert "NODE_NAME" in finished.stdout
    assert "Examples:" in finished.stdout


# Its cost.


def memory_of(pid: int) -> dict[str, int]:
    """The memory of a process in KiB. https://man7.org/linux/man-pages/man5/proc_pid_status.5.html."""
    lines = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return {name: int(fields[name].split()[0]) for name in ("VmRSS", "VmHWM")}


@pytest.mark.skipif(not pathlib.Path("/proc/self/status").exists(), reason="Linux only")
def test_it_takes_24_mebibytes_at_most(instance: Instance) -> None:
    with instance.watched() as process:
        process.until("watcher_started")
        instance.announce()
        process.until("notices_recorded")
        instance.imds.bodies[scripted_imds.TARGET_STATE] = "Terminated"
        process.until("notices_recorded")
        memory = memory_of(process.pid)

    assert len(instance.api_server.requests) == 2
    assert memory["VmHWM"] <= LARGEST_MEMORY, memory


def test_it_takes_fifteen_hundredths_of_a_percent_of_a_core_at_most(instance: Instance) -> None:
    """Polls without a pause take as many CPU seconds as those with one."""
    finished = subprocess.run(  # noqa: S603 - our own module
        [sys.executable, "-m", "tests.watcher.polling", instance.variables["IMDS_ENDPOINT"], "100"],
        env=environment(),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )

    assert finished.stderr == ""
    assert float(finished.stdout) <= LARGEST_SHARE_OF_A_CORE * POLL_SECONDS


def test_it_imports_the_standard_library_and_the_domain_only() -> None:
    program = (
        "import sys; before = set(sys.modules)\n"
        "import queue_processor.watcher.__main__\n"
        "print(*sorted(set(sys.modules) - before))"
    )
    finished = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )

    imported = finished.stdout.split()
    others = [name for name in imported if name.partition(".")[0] not in sys.stdlib_module_names]
    assert "queue_processor.watcher.metadata_watcher" in others
    assert {".".join(name.split(".")[:2]) for name in others} == {
        "queue_processor",
        "queue_processor.domain",
        "queue_processor.watcher",
    }


def test_a_service_account_of_another_cluster_is_not_used(
    instance: Instance, service_account: pathlib.Path
) -> None:
    trustme.CA().cert_pem.write_to_path(str(service_account / "ca.crt"))
    instance.announce()

    with instance.watched() as process:
        failed = process.until("notices_not_recorded")

    assert "CERTIFICATE_VERIFY_FAILED" in failed["cause"]
    assert instance.api_server.requests == []
