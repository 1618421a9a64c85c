"""The command, its exit code and its output: in this process, but for what only a process shows.

The operator is a process of its own each time.
"""

import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias
from unittest import mock

import pytest

from queue_processor import cli
from tests.messages.conftest import Screen

_LIMIT_SECONDS = 100

Finished: TypeAlias = subprocess.CompletedProcess[str]
Demo: TypeAlias = Callable[..., Finished]


@pytest.fixture
def demo(capfd: pytest.CaptureFixture[str]) -> Demo:
    """Run the command with arguments, and with variables that end with it."""

    def run(*arguments: str, **variables: str) -> Finished:
        with mock.patch.dict(os.environ, variables), pytest.raises(SystemExit) as end:
            cli.app(["demo", *arguments])
        printed = capfd.readouterr()
        code = end.value.code
        assert isinstance(code, int)
        return subprocess.CompletedProcess(arguments, code, printed.out, printed.err)

    return run


@pytest.fixture
def temporary(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> pathlib.Path:
    """The folder for temporary files."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def run_python(*arguments: str, **variables: str) -> Finished:
    return subprocess.run(  # noqa: S603 our own program
        [sys.executable, *arguments],
        capture_output=True,
        check=False,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=_LIMIT_SECONDS,
    )


def summary_of(done: Finished) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


@pytest.mark.parametrize(
    ("scenario", "drained", "messages"), [("imds", 9, 10), ("mixed-sources", 8, 16)]
)
def test_notices_of_instance_metadata_pass_every_check(
    demo: Demo, scenario: str, drained: int, messages: int
) -> None:
    done = demo("--scenario", scenario, "--output", "json")

    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    figures = summary_of(done)
    assert figures["failed_checks"] == []
    assert figures["cordoned"] == figures["drained"] == drained
    assert (figures["messages_deleted"], figures["messages_left"]) == (messages, 0)


def test_the_storm_passes_every_check(demo: Demo) -> None:
    done = demo("--output", "json")

    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    figures = summary_of(done)
    assert figures["ok"] is True
    assert figures["failed_checks"] == []
    assert (figures["scenario"], figures["nodes"], figures["events"]) == ("storm", 50, 20)
    assert figures["cordoned"] == figures["drained"] == 21
    assert (figures["messages_deleted"], figures["messages_left"]) == (20, 0)
    assert figures["messages_dead_lettered"] == 1
    assert figures["lifecycle_actions_completed"] == 1
    assert figures["pods_evicted"] >= 200
    assert (figures["pods_deleted_at_deadline"], figures["budget_violations"]) == (0, 0)
    assert set(figures["event_to_drained_seconds"]) == {"p50", "p99", "max"}
    # Cordons never wait for drains, however slow this machine is.
    drained_p50 = figures["event_to_drained_seconds"]["p50"]
    assert 0 < figures["event_to_cordon_seconds"]["p99"] < drained_p50
    assert figures["margin_seconds_min"] > 0


def test_single_comes_out_right_whatever_cloud_and_cluster_the_shell_points_to() -> None:
    done = run_python(
        *("-m", "queue_processor", "demo", "--scenario", "single", "--nodes", "4"),
        *("--pods-per-node", "3", "--output", "json"),
        AWS_PROFILE="production",
        AWS_ENDPOINT_URL_SQS="https://sqs.invalid",
        HTTP_PROXY="http://proxy.invalid:3128",
        KUBERNETES_SERVICE_HOST="kubernetes.invalid",
        KUBERNETES_SERVICE_PORT="443",
        QUEUE_PROCESSOR_QUEUE_URL="https://sqs.invalid/1/production",
    )
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    figures = summary_of(done)
    assert (figures["nodes"], figures["events"], figures["pods_evicted"]) == (4, 1, 3)
    assert '"outcome": "done"' in done.stderr


def test_a_run_that_comes_out_right_leaves_its_report_and_nothing_else(
    demo: Demo, temporary: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "report.html"
    done = demo("--scenario", "single", "--pods-per-node", "2", "--report", str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "Everything came out right."
    assert list(temporary.iterdir()) == []
    page = path.read_text(encoding="utf-8")
    assert "21 of 21 checks passed" in page
    assert "node-002" in page


def test_on_a_small_terminal_no_line_is_too_long_and_the_end_fits(temporary: pathlib.Path) -> None:
    screen = Screen(
        ("--scenario", "single", "--pods-per-node", "2"),
        {"TMPDIR": str(temporary)},
        group="demo",
        size=(24, 80),
    )
    with contextlib.closing(screen):
        screen.until("Everything came out right.", limit=_LIMIT_SECONDS)
        assert screen.code == 0
    lines = [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line) for line in screen.text.splitlines()]
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("node-002 ") for line in lines)
    start = max(number for number, line in enumerate(lines) if line.startswith("events "))
    assert lines[-1] == "Everything came out right."
    assert len(lines) - start < 24
    assert list(temporary.iterdir()) == []


def test_own_settings_apply_and_a_drain_that_is_switched_off_fails(
    demo: Demo, temporary: pathlib.Path
) -> None:
    done = demo(
        *("--scenario", "single", "--pods-per-node", "2"),
        QUEUE_PROCESSOR_ACTIONS__SPOT_INTERRUPTION="cordon",
    )
    assert done.returncode == 1
    assert "FAILED  they are drained: expected 1 nodes, found missing node-" in done.stdout
    assert "1 cordoned, 0 drained, of 3" in done.stdout
    assert '"outcome": "done"' in done.stderr
    name, _, path = done.stdout.splitlines()[-1].partition(": ")
    (log,) = temporary.glob("*/*")
    assert (name, path) == ("log of the operator", str(log))
    assert '"outcome": "done"' in log.read_text(encoding="utf-8")


def test_settings_that_the_operator_refuses_are_reported_in_its_own_words(
    demo: Demo, temporary: pathlib.Path
) -> None:
    done = demo("--scenario", "single", QUEUE_PROCESSOR_DRAIN__TAINT_EFFECT="sometimes")
    assert done.returncode == 1
    assert "demo: the operator ended with exit code 2" in done.stderr
    assert "settings: drain.taint_effect: 'sometimes' is not allowed" in done.stderr
    (log,) = temporary.glob("*/*")
    assert done.stdout.splitlines()[-1] == f"log of the operator: {log}"
    assert "Traceback" not in done.stderr


@pytest.fixture
def _heard() -> Iterator[None]:
    """Let this process hear Ctrl-C: a shell that starts it in the background turns that off."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_heard")
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
)
def test_a_signal_ends_it_and_the_operator_with_it(
    number: signal.Signals, code: int, demo: Demo, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = os.pipe()
    printed: list[str] = []

    def interrupt() -> None:
        with os.fdopen(reading, encoding="utf-8") as lines:
            for line in lines:
                printed.append(line)
                if "leadership_acquired" in line:
                    os.kill(os.getpid(), number)

    watching = threading.Thread(target=interrupt)
    watching.start()
    with os.fdopen(writing, "w", encoding="utf-8") as errors:
        monkeypatch.setattr(sys, "stderr", errors)
        # A storm is not over before the signal, however busy the machine is.
        done = demo("--nodes", "24", "--output", "json")
    # The pipe ends only when the operator, which has it too, is gone.
    watching.join(timeout=20)
    assert not watching.is_alive()
    assert done.returncode == code
    assert "Traceback" not in "".join(printed)
    assert not done.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--nodes", "20"), "the events interrupt 20 nodes, and only 19 are there"),
        (("--nodes", "24", "--pods-per-node", "100"), "leave 3 of 24 nodes"),
        (("--scenario", "mixed", "--events", "3"), "--events has to be 12 or more"),
        (("--scenario", "drizzle"), "'drizzle' is not one of"),
        (("--nodes", "1"), "Input should be greater than or equal to 2"),
        (("--output", "xml"), "'xml' is not one of"),
        (("--keep", "--output", "json"), "leave --output json out"),
        (("--report", "/proc/version/report.html"), "cannot be written to /proc/version/"),
    ],
)
def test_wrong_usage_is_refused_before_anything_starts(
    arguments: tuple[str, ...], complaint: str, demo: Demo
) -> None:
    done = demo(*arguments)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout


def test_an_impossible_combination_is_reported_in_one_line(demo: Demo) -> None:
    (line,) = demo("--nodes", "20").stderr.splitlines()
    assert line.startswith("demo: the events interrupt 20 nodes")


@pytest.fixture(scope="module")
def without_the_extra() -> Finished:
    """Load all commands, print what came with them of the simulator, and run the demo."""
    return run_python(
        "-c",
        "import sys; sys.modules['moto'] = None; sys.argv = ['queue-processor', 'demo'];"
        "from queue_processor import __main__;"
        "print([name for name in sys.modules if name.startswith('queue_processor.simulator')"
        " or name.startswith('moto.')]);"
        "__main__.main()",
    )


def test_without_the_extra_it_prints_how_to_install_it(without_the_extra: Finished) -> None:
    assert without_the_extra.returncode == 1
    assert without_the_extra.stderr == (
        "demo: moto is not installed: pip install 'queue-processor[demo]'\n"
    )


def test_other_commands_do_not_load_the_simulator(without_the_extra: Finished) -> None:
    assert without_the_extra.stdout == "[]\n"


def test_the_help_has_the_options_and_examples(demo: Demo) -> None:
    text = demo("--help").stdout
    for option in ("--scenario", "--pods-per-node", "--seed", "--details", "--report", "--keep"):
        assert option in text
    assert "Examples:" in text
    assert "queue-processor demo --scenario mixed" in [line.strip() for line in text.splitlines()]
