"""The command as people run it: a process, its exit code and its output."""

import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

_LIMIT_SECONDS = 60


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603 our own program
        [sys.executable, "-m", "queue_processor", "demo", *arguments],
        capture_output=True,
        check=False,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=_LIMIT_SECONDS,
    )


def score_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_storm_comes_out_right_within_forty_seconds() -> None:
    began = time.monotonic()
    done = run("--output", "json")
    took = time.monotonic() - began

    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    figures = score_of(done)
    assert figures["ok"] is True
    assert figures["failed_checks"] == []
    assert (figures["scenario"], figures["nodes"], figures["events"]) == ("storm", 50, 20)
    assert figures["cordoned"] == figures["drained"] == 21
    assert (figures["messages_deleted"], figures["messages_left"]) == (20, 0)
    assert figures["messages_dead_lettered"] == 1
    assert figures["lifecycle_actions_completed"] == 1
    assert figures["pods_evicted"] >= 200
    assert (figures["pods_deleted_at_deadline"], figures["budget_violations"]) == (0, 0)
    assert 0 < figures["event_to_cordon_seconds"]["p99"] <= 1.5
    assert set(figures["event_to_drained_seconds"]) == {"p50", "p99", "max"}
    assert figures["margin_seconds_min"] > 0
    assert took < 40


def test_single_comes_out_right_whatever_cloud_and_cluster_the_shell_points_to() -> None:
    done = run(
        *("--scenario", "single", "--nodes", "4", "--pods-per-node", "3", "--output", "json"),
        AWS_PROFILE="production",
        AWS_ENDPOINT_URL_SQS="https://sqs.invalid",
        HTTP_PROXY="http://proxy.invalid:3128",
        KUBERNETES_SERVICE_HOST="kubernetes.invalid",
        KUBERNETES_SERVICE_PORT="443",
        QUEUE_PROCESSOR_QUEUE_URL="https://sqs.invalid/1/production",
    )
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    figures = score_of(done)
    assert (figures["nodes"], figures["events"], figures["pods_evicted"]) == (4, 1, 3)
    assert '"outcome": "done"' in done.stderr


def test_the_settings_of_whoever_rehearses_apply_and_a_drain_that_is_switched_off_fails() -> None:
    done = run(
        *("--scenario", "single", "--pods-per-node", "2"),
        QUEUE_PROCESSOR_ACTIONS__SPOT_INTERRUPTION="cordon",
    )
    assert done.returncode == 1
    assert "FAILED  they are drained: expected 1 nodes, found missing node-" in done.stdout
    assert "1 cordoned, 0 drained, of 3" in done.stdout
    assert "log of the operator: /" in done.stdout
    assert '"outcome": "done"' in done.stderr


def test_settings_that_the_operator_refuses_are_told_with_its_own_words() -> None:
    done = run("--scenario", "single", QUEUE_PROCESSOR_DRAIN__TAINT_EFFECT="sometimes")
    assert done.returncode == 1
    assert "demo: the operator ended with exit code 2" in done.stderr
    assert "settings: drain.taint_effect: 'sometimes' is not allowed" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"]
)
def test_a_signal_ends_it_and_the_operator_with_it(number: signal.Signals, code: int) -> None:
    command = [sys.executable, "-m", "queue_processor", "demo", "--output", "json"]
    with subprocess.Popen(  # noqa: S603 our own program
        command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        told = ""
        while "leadership_acquired" not in told:
            told = process.stderr.readline()
            assert told
        process.send_signal(number)
        # The pipes close only when the operator, who has them too, is gone.
        output, errors = process.communicate(timeout=20)
    assert process.returncode == code
    assert "Traceback" not in errors
    assert not output


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--nodes", "20"), "the events interrupt 20 nodes, and only 19 are there"),
        (("--nodes", "24", "--pods-per-node", "100"), "leave 3 of 24 nodes"),
        (("--scenario", "mixed", "--events", "3"), "--events has to be 12 or more"),
        (("--scenario", "drizzle"), "'drizzle' is not one of"),
        (("--nodes", "1"), "Input should be greater than or equal to 2"),
        (("--output", "xml"), "'xml' is not one of"),
    ],
)
def test_wrong_usage_is_refused_before_anything_starts(
    arguments: tuple[str, ...], complaint: str
) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
    assert not done.stdout


def test_an_impossible_combination_is_told_in_one_line() -> None:
    (line,) = run("--nodes", "20").stderr.splitlines()
    assert line.startswith("demo: the events interrupt 20 nodes")


def test_without_the_extra_it_says_how_to_install_it() -> None:
    program = (
        "import sys; sys.modules['moto'] = None; sys.argv = ['queue-processor', 'demo'];"
        "from queue_processor import __main__; __main__.main()"
    )
    done = subprocess.run(  # noqa: S603 our own program
        [sys.executable, "-c", program],
        capture_output=True,
        check=False,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=_LIMIT_SECONDS,
    )
    assert done.returncode == 1
    assert done.stderr == ("demo: moto is not installed: pip install 'queue-processor[demo]'\n")


def test_other_commands_do_not_load_the_simulator() -> None:
    program = (
        "import sys; from queue_processor import cli;"
        "sys.exit(any(name == 'moto' or name.startswith('queue_processor.simulator')"
        " for name in sys.modules))"
    )
    subprocess.run(  # noqa: S603 our own program
        [sys.executable, "-c", program],
        check=True,
        stdin=subprocess.DEVNULL,
        timeout=_LIMIT_SECONDS,
    )


def test_the_help_has_the_options_and_examples() -> None:
    told = run("--help").stdout
    for text in ("--scenario", "--pods-per-node", "--seed", "Examples:"):
        assert text in told
    assert "queue-processor demo --scenario mixed" in [line.strip() for line in told.splitlines()]
