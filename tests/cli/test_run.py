"""`run` that cannot start, seen from outside: exit code, stderr, and no hang."""

import contextlib
import json
import logging
import os
import pathlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any
from unittest import mock

import pytest
import structlog
import typer.testing
from kubernetes.aio.config import kube_config

from queue_processor import cli
from queue_processor.simulator.aws import simulator

ROOT = pathlib.Path(__file__).parents[2]
NOWHERE = "/nonexistent"
SETTINGS_FAULT = 2
FAILURE = 1
SOON = 40

# boto3 finds neither a profile nor the metadata service, the Kubernetes client no cluster.
BARE = {
    "PATH": "/usr/bin:/bin",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": f"{NOWHERE}/config",
    "AWS_SHARED_CREDENTIALS_FILE": f"{NOWHERE}/credentials",
    "QUEUE_PROCESSOR_HTTP__BIND": "127.0.0.1:0",
}
QUEUE = {"QUEUE_PROCESSOR_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/queue"}
REGION = {"AWS_DEFAULT_REGION": "us-east-1"}
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing"}

KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: closed
contexts: [{name: closed, context: {cluster: closed, user: nobody}}]
clusters: [{name: closed, cluster: {server: "%s"}}]
users: [{name: nobody, user: {token: secret-token}}]
"""


class Ending:
    """The end of the command.

    Attributes:
        code: Its exit code.
        lines: What it wrote to stderr.
    """

    def __init__(self, code: int, *, out: str, err: str, took: float) -> None:
        self.code = code
        self.lines = err.splitlines()
        assert took < SOON
        assert not out
        assert "Traceback" not in err

    @property
    def cause(self) -> str:
        """The cause in the last line of the log, which has to be JSON."""
        said = json.loads(self.lines[-1])
        assert said["event"] == "cannot_start"
        assert said["level"] == "error"
        cause = said["cause"]
        assert isinstance(cause, str)
        return cause


class Command:
    """`queue-processor` in this process, with an environment where nothing is set up."""

    def __init__(self, home: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self._environment = {**BARE, "HOME": str(home)}
        self._monkeypatch = monkeypatch

    def __call__(self, *arguments: str, **variables: str) -> Ending:
        environment = {**self._environment, **variables}
        # The client reads the variable when it is imported.
        location = environment.get("KUBECONFIG", f"{environment['HOME']}/.kube/config")
        self._monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", location)
        started_at = time.monotonic()
        with mock.patch.dict(os.environ, environment, clear=True):
            result = typer.testing.CliRunner().invoke(cli.app, arguments)
        took = time.monotonic() - started_at
        # An error that nobody foresaw would show as a traceback.
        if not isinstance(result.exception, SystemExit | None):
            raise result.exception
        return Ending(result.exit_code, out=result.stdout, err=result.stderr, took=took)

    def as_process(self, *arguments: str, **variables: str) -> Ending:
        """Run it as people do: as a process of its own."""
        started_at = time.monotonic()
        finished = subprocess.run(  # noqa: S603 the program under test
            [sys.executable, "-m", "queue_processor", *arguments],
            cwd=ROOT,
            env={**self._environment, **variables},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        took = time.monotonic() - started_at
        return Ending(finished.returncode, out=finished.stdout, err=finished.stderr, took=took)


@pytest.fixture
def command(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Command]:
    home = tmp_path / "home"
    home.mkdir()
    configure = structlog.configure

    def configure_for_now(**options: Any) -> None:  # noqa: ANN401 they are those of structlog
        # A cached logger would write to the stderr of this test for ever.
        configure(**{**options, "cache_logger_on_first_use": False})

    monkeypatch.setattr(structlog, "configure", configure_for_now)
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield Command(home, monkeypatch)
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture(scope="module")
def aws() -> Iterator[Mapping[str, str]]:
    """The environment of an SDK for which AWS is there, with one queue."""
    with simulator.AwsSimulator() as running:
        stack = running.deploy()
        yield {**running.environment(), "QUEUE_PROCESSOR_QUEUE_URL": stack.queue_url}


@pytest.fixture
def closed_port() -> int:
    with contextlib.closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    assert isinstance(port, int)
    return port


def test_as_a_process_it_ends_in_the_same_way(command: Command) -> None:
    here = command("run", **QUEUE, **CREDENTIALS)
    process = command.as_process("run", **QUEUE, **CREDENTIALS)

    assert process.code == here.code == FAILURE
    assert process.cause == here.cause
    assert len(process.lines) == len(here.lines)


# Wrong settings.


def test_without_a_queue_it_ends_with_one_line_that_says_how_to_set_it(command: Command) -> None:
    ending = command("run")

    assert ending.code == SETTINGS_FAULT
    (line,) = ending.lines
    assert line.startswith("settings: queue_url: not set; set QUEUE_PROCESSOR_QUEUE_URL or ")


def test_every_wrong_setting_is_one_line(command: Command, tmp_path: pathlib.Path) -> None:
    config = tmp_path / "settings.yaml"
    config.write_text("log: {level: loud}\nnope: 1\n", encoding="utf-8")

    ending = command(
        "run",
        "--config",
        str(config),
        QUEUE_PROCESSOR_DRAIN__ON_DEADLINE="kill",
        QUEUE_PROCESSOR_NODE_SELECTOR="a in (",
        QUEUE_PROCESSOR_TYPO="1",
    )

    assert ending.code == SETTINGS_FAULT
    assert sorted(line.split(": ")[1] for line in ending.lines) == [
        "QUEUE_PROCESSOR_TYPO",
        "drain.on_deadline",
        "log.level",
        "node_selector",
        "nope",
        "queue_url",
    ]


def test_a_settings_file_that_is_not_there_is_named(command: Command) -> None:
    ending = command("run", "--config", f"{NOWHERE}/settings.yaml", **QUEUE)

    assert ending.code == SETTINGS_FAULT
    assert ending.lines == [
        f"settings: {NOWHERE}/settings.yaml: cannot be read: No such file or directory"
    ]


def test_webhooks_that_cannot_be_used_are_one_line_each_before_anything_starts(
    command: Command, tmp_path: pathlib.Path
) -> None:
    template = tmp_path / "ours.json.j2"
    template.write_text('{"text": "{{ node }}"}', encoding="utf-8")
    webhooks = [
        {"url": "https://hooks.invalid/s3cr3t", "template": str(template)},
        {"url_file": f"{NOWHERE}/url", "template": "slack"},
    ]

    ending = command("run", **QUEUE, QUEUE_PROCESSOR_WEBHOOKS=json.dumps(webhooks))

    assert ending.code == SETTINGS_FAULT
    first, second = ending.lines
    assert first.startswith(f"settings: webhooks.0.template: {template}: the output is not JSON")
    assert second == (
        f"settings: webhooks.1.url_file: {NOWHERE}/url: cannot be read: No such file or directory"
    )
    assert "s3cr3t" not in first


def test_an_option_that_does_not_exist_is_wrong_usage(command: Command) -> None:
    ending = command("run", "--nope")

    assert ending.code == SETTINGS_FAULT
    assert "--nope" in "\n".join(ending.lines)


# AWS.


def test_without_a_region_it_names_the_cure(command: Command) -> None:
    url = {"QUEUE_PROCESSOR_QUEUE_URL": "https://queues.invalid/123456789012/queue"}
    ending = command("run", **url, **CREDENTIALS)

    assert ending.code == FAILURE
    assert "no AWS Region" in ending.cause
    assert "AWS_REGION" in ending.cause


def test_without_credentials_it_names_the_cure(command: Command) -> None:
    ending = command("run", **QUEUE, **REGION)

    assert ending.code == FAILURE
    assert "no AWS credentials" in ending.cause
    assert "IAM role" in ending.cause


def test_a_profile_that_does_not_exist_is_named(command: Command) -> None:
    ending = command("run", **QUEUE, **REGION, AWS_PROFILE="production")

    assert ending.code == FAILURE
    assert "production" in ending.cause


def test_an_aws_that_refuses_connections_is_named(command: Command, closed_port: int) -> None:
    endpoint = f"http://127.0.0.1:{closed_port}"

    ending = command("run", **QUEUE, **REGION, **CREDENTIALS, AWS_ENDPOINT_URL=endpoint)

    assert ending.code == FAILURE
    assert f"127.0.0.1:{closed_port}" in ending.cause


def test_a_queue_that_does_not_exist_is_named(command: Command, aws: Mapping[str, str]) -> None:
    url = aws["QUEUE_PROCESSOR_QUEUE_URL"].rpartition("/")[0] + "/misspelt"

    ending = command("run", **{**aws, "QUEUE_PROCESSOR_QUEUE_URL": url})

    assert ending.code == FAILURE
    assert url in ending.cause
    assert "there is no queue misspelt" in ending.cause
    assert "queue_url" in ending.cause


def test_the_region_that_the_message_asks_for_is_the_one_that_is_read(
    command: Command, aws: Mapping[str, str]
) -> None:
    variables = {name: text for name, text in aws.items() if name != "AWS_DEFAULT_REGION"}

    ending = command("run", **variables)

    assert "Region" not in ending.cause
    assert "Kubernetes" in ending.cause


# Kubernetes.


def test_without_a_cluster_it_names_the_cure(command: Command, aws: Mapping[str, str]) -> None:
    ending = command("run", **aws)

    assert ending.code == FAILURE
    assert "no Kubernetes cluster" in ending.cause
    assert "KUBECONFIG" in ending.cause


@pytest.mark.parametrize("text", ["", "[]", "clusters: 7", "{", "\tno yaml", "current-context: x"])
def test_a_kubeconfig_that_cannot_be_used_is_no_cluster(
    text: str, command: Command, aws: Mapping[str, str], tmp_path: pathlib.Path
) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(text, encoding="utf-8")

    ending = command("run", **aws, KUBECONFIG=str(kubeconfig))

    assert ending.code == FAILURE
    assert "KUBECONFIG" in ending.cause


def test_an_api_server_that_refuses_connections_is_named(
    command: Command, aws: Mapping[str, str], tmp_path: pathlib.Path, closed_port: int
) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    server = f"http://127.0.0.1:{closed_port}"
    kubeconfig.write_text(KUBECONFIG % server, encoding="utf-8")

    ending = command("run", **aws, KUBECONFIG=str(kubeconfig))

    assert ending.code == FAILURE
    assert "Kubernetes" in ending.cause
    assert str(closed_port) in ending.cause
    assert "secret-token" not in "\n".join(ending.lines)


# The port of our own.


def test_a_port_that_is_taken_is_named(command: Command) -> None:
    with contextlib.closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        bind = f"127.0.0.1:{taken.getsockname()[1]}"

        ending = command("run", **QUEUE, QUEUE_PROCESSOR_HTTP__BIND=bind)

    assert ending.code == FAILURE
    assert bind in ending.cause
    assert "http.bind" in ending.cause


def test_a_host_that_is_not_ours_is_named(command: Command) -> None:
    # 192.0.2.0/24 is reserved for documentation: no machine has such an address.
    ending = command("run", **QUEUE, QUEUE_PROCESSOR_HTTP__BIND="192.0.2.1:8080")

    assert ending.code == FAILURE
    assert "192.0.2.1" in ending.cause
