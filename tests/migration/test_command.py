"""Run `queue-processor migrate`."""

import os
import pathlib
import subprocess
import sys

import pytest
import yaml
from typer.testing import CliRunner, Result

from queue_processor import cli

VALUES = """
enableSqsTerminationDraining: true
queueURL: https://sqs.eu-west-1.amazonaws.com/123456789012/nth
workers: 20
webhookTemplate: '{"text": "hi"}'
replicas: 2
serviceAccount:
  annotations:
    eks.amazonaws.com/role-arn: arn:aws:iam::123456789012:role/nth
"""


def migrate(*arguments: str, stdin: bytes = b"", **variables: str) -> Result:
    return CliRunner().invoke(cli.app, ["migrate", *arguments], input=stdin, env=variables)


@pytest.fixture
def file(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "nth-values.yaml"
    path.write_text(VALUES, encoding="utf-8")
    return path


def test_settings_go_to_stdout_and_the_rest_to_stderr(file: pathlib.Path) -> None:
    finished = migrate(str(file))

    assert finished.exit_code == 0
    made = finished.stdout
    assert "# From queueURL." in made
    assert yaml.safe_load(made)["queue_url"].endswith("/nth")
    lines = finished.stderr.splitlines()
    assert lines[0].startswith("warning: queue_url: it is the queue of NTH, and two programs that")
    assert lines[1].startswith("not supported: webhookTemplate: templates are Jinja2")
    assert lines[2].startswith("not needed: enableSqsTerminationDraining: the program reads")
    assert lines[3].startswith("not needed: workers: all nodes are drained in parallel")
    assert lines[4:] == ["only with --output helm: replicas, serviceAccount.roleArn"]


def test_the_program_has_the_command(file: pathlib.Path) -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "queue_processor", "migrate", "-", "-o", "helm"],
        input=file.read_bytes(),
        capture_output=True,
        env={"PATH": os.environ["PATH"]},
        check=True,
    )

    assert yaml.safe_load(finished.stdout)["replicas"] == 2


def test_values_of_the_chart_contain_the_settings_and_other_values(
    file: pathlib.Path,
) -> None:
    finished = migrate("-", "--output", "helm", stdin=file.read_bytes())

    made = yaml.safe_load(finished.stdout)
    assert finished.exit_code == 0
    assert made["settings"]["queue_url"].endswith("/nth")
    assert made["replicas"] == 2
    assert "only with" not in finished.stderr


def test_the_queue_and_the_role_of_nth_are_carried_over_with_a_warning(file: pathlib.Path) -> None:
    finished = migrate(str(file), "--output", "helm")

    warnings = [line for line in finished.stderr.splitlines() if line.startswith("warning: ")]
    assert [line.split(":")[1].strip() for line in warnings] == [
        "queue_url",
        "serviceAccount.roleArn",
    ]


def test_no_warning_is_printed_where_nothing_of_nth_is_carried_over() -> None:
    finished = migrate("-", "--output", "helm", stdin=b"DRY_RUN=true\n")

    assert yaml.safe_load(finished.stdout)["settings"]["mode"] == "observe"
    assert "warning" not in finished.stderr


def test_a_missing_queue_is_reported() -> None:
    finished = migrate("-", stdin=b"ENABLE_SQS_TERMINATION_DRAINING=true\n")

    assert finished.exit_code == 0
    assert finished.stderr.splitlines()[1:] == [
        "missing: queue_url: the program needs one, and the file sets none"
    ]


def test_no_queue_is_missed_in_imds_mode() -> None:
    finished = migrate("-", stdin=b"TAINT_EFFECT=NoExecute\n")

    assert finished.exit_code == 0
    assert finished.stderr.splitlines() == [
        "only with --output helm: watcher.enabled, watcher.affinity"
    ]


def test_the_environment_does_not_affect_the_result(file: pathlib.Path) -> None:
    finished = migrate(
        str(file), QUEUE_PROCESSOR_QUEUE_URL="nonsense", QUEUE_PROCESSOR_DRAIN__TAINT_EFFECT="no"
    )

    assert finished.exit_code == 0
    assert yaml.safe_load(finished.stdout)["queue_url"].endswith("/nth")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"replicaCount: 2\n", "it does not contain a setting of aws-node-termination-handler"),
        (b"a: [\n", "neither YAML nor KEY=VALUE lines"),
        (b"\xff\xfe\x00", "not text in UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
        (b"# large\n" * 200_000, "larger than 1024 KiB"),
        (b"queueURL: 0x" + b"f" * 5000, "not valid YAML"),
    ],
)
def test_an_invalid_input_prints_one_line_and_exits_with_2(
    tmp_path: pathlib.Path, content: bytes, reason: str
) -> None:
    path = tmp_path / "input"
    path.write_bytes(content)

    finished = migrate(str(path))

    assert finished.exit_code == 2
    assert not finished.stdout
    (line,) = finished.stderr.splitlines()
    assert line.startswith(f"migrate: {path}: ")
    assert reason in line


def test_a_missing_file_prints_one_line_and_exits_with_2() -> None:
    finished = migrate("/nonexistent/values.yaml")

    assert finished.exit_code == 2
    assert finished.stderr == (
        "migrate: /nonexistent/values.yaml: cannot be read: No such file or directory\n"
    )
