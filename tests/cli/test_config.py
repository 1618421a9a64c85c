"""`queue-processor config`: what people and pipelines read."""

import json
import pathlib

import pytest
import typer.testing
import yaml

from queue_processor import cli, settings

WEBHOOK = "https://hooks.example.com/secret"
QUEUE = "https://sqs.eu-west-1.amazonaws.com/123456789012/queue"


def invoke(*arguments: str, **variables: str) -> typer.testing.Result:
    return typer.testing.CliRunner().invoke(cli.app, ["config", *arguments], env=variables)


def test_what_is_shown_is_a_settings_file_without_secrets(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(f"drain: {{force_margin_seconds: 7}}\nwebhooks: [{{url: {WEBHOOK}}}]\n")
    shown = invoke("show", "--config", str(file), QUEUE_PROCESSOR_QUEUE_URL=QUEUE)

    assert shown.exit_code == 0
    assert WEBHOOK not in shown.output
    values = yaml.safe_load(shown.stdout)
    assert values["queue_url"] == QUEUE
    assert values["drain"]["force_margin_seconds"] == 7
    assert set(values) == set(settings.Settings.model_fields)


def test_what_is_shown_is_valid(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(invoke("show", QUEUE_PROCESSOR_QUEUE_URL=QUEUE).stdout)
    validated = invoke("validate", "--config", str(file))

    assert (validated.exit_code, validated.stdout) == (0, "the settings are valid\n")


@pytest.mark.parametrize("command", ["show", "validate"])
def test_every_error_is_a_line(command: str, tmp_path: pathlib.Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("drian: {}\nlog: {level: loud}\n")
    ended = invoke(command, "--config", str(file), QUEUE_PROCESSOR_QUEUE_URL=QUEUE)

    assert ended.exit_code == 2
    assert ended.stdout == ""
    lines = ended.stderr.splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["settings:", "drian:"],
        ["settings:", "log.level:"],
    ]


def test_a_missing_queue_is_an_error_only_where_the_operator_needs_it() -> None:
    assert invoke("show").exit_code == 0
    assert "queue_url: not set" in invoke("validate").stderr


def test_the_schema_is_that_of_the_settings() -> None:
    assert json.loads(invoke("schema").stdout) == settings.Settings.model_json_schema()
