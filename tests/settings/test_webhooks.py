"""The settings of webhooks, whose errors do not contain secrets."""

import json
import os
import pathlib

import pytest

from queue_processor import settings
from queue_processor.domain.notifications import DrainPhase
from queue_processor.settings.webhooks import BuiltInTemplate

QUEUE_URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/interruptions"
ADDRESS = "https://hooks.invalid/services/s3cr3t"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment in which only the queue is set."""
    for name in os.environ:
        if name.upper().startswith(settings.ENVIRONMENT_PREFIX):
            monkeypatch.delenv(name)
    monkeypatch.setenv("QUEUE_PROCESSOR_QUEUE_URL", QUEUE_URL)
    return monkeypatch


def _problems() -> list[str]:
    with pytest.raises(settings.SettingsError) as caught:
        settings.load()
    assert "s3cr3t" not in str(caught.value)
    return str(caught.value).splitlines()


def test_there_are_no_webhooks_by_default() -> None:
    assert settings.load().webhooks == ()


def test_webhooks_are_a_list_in_the_file(tmp_path: pathlib.Path) -> None:
    config = tmp_path / "settings.yaml"
    config.write_text(
        f"""
webhooks:
  - url: {ADDRESS}
    template: slack
  - url_file: /secrets/url
    template: /templates/ours.json.j2
    headers_file: /secrets/headers
    phases: [drain_end]
    timeout_seconds: 2
    cluster: blue
""",
        encoding="utf-8",
    )

    first, second = settings.load(config).webhooks

    assert first.url is not None
    assert str(first.url.get_secret_value()) == ADDRESS
    assert first.template is BuiltInTemplate.SLACK
    assert first.phases == {DrainPhase.DRAIN_START, DrainPhase.DRAIN_END}
    assert (first.timeout_seconds, first.cluster, first.headers_file) == (5, "", None)
    assert second.url_file == pathlib.Path("/secrets/url")
    assert second.template == pathlib.Path("/templates/ours.json.j2")
    assert second.headers_file == pathlib.Path("/secrets/headers")
    assert second.phases == {DrainPhase.DRAIN_END}
    assert (second.timeout_seconds, second.cluster) == (2, "blue")


def test_webhooks_are_json_in_the_environment(environment: pytest.MonkeyPatch) -> None:
    webhooks = [{"url_file": "/secrets/url", "template": "teams"}]
    environment.setenv("QUEUE_PROCESSOR_WEBHOOKS", json.dumps(webhooks))

    (webhook,) = settings.load().webhooks

    assert webhook.template is BuiltInTemplate.TEAMS


def test_printed_settings_do_not_contain_the_url(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("QUEUE_PROCESSOR_WEBHOOKS", json.dumps([{"url": ADDRESS}]))

    loaded = settings.load()

    assert "s3cr3t" not in f"{loaded!r} {loaded} {loaded.model_dump_json()}"


@pytest.mark.parametrize(
    ("webhook", "line"),
    [
        ({}, "webhooks.0: not allowed: either url or url_file is required"),
        (
            {"url": ADDRESS, "url_file": "/s3cr3t"},
            "webhooks.0: not allowed: either url or url_file is required",
        ),
        (
            {"url": "s3cr3t"},
            "webhooks.0.url: not allowed: Input should be a valid URL, relative URL without a base",
        ),
        (
            {"url": "ftp://s3cr3t.invalid/"},
            "webhooks.0.url: not allowed: URL scheme should be 'http' or 'https'",
        ),
        (
            {"url": ADDRESS, "template": "discord"},
            "webhooks.0.template: not allowed: slack, teams, json or an absolute path is required",
        ),
        (
            {"url": ADDRESS, "timeout_seconds": 0},
            "webhooks.0.timeout_seconds: not allowed: Input should be greater than 0",
        ),
        ({"url": ADDRESS, "header": "s3cr3t"}, "webhooks.0.header: no such setting"),
    ],
)
def test_a_bad_webhook_is_refused_in_one_line(
    webhook: dict[str, object], line: str, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("QUEUE_PROCESSOR_WEBHOOKS", json.dumps([webhook]))

    assert _problems() == [line]


@pytest.mark.parametrize("phases", [[], ["drain_middle"], "drain_end"])
def test_unknown_phases_are_refused(phases: object, environment: pytest.MonkeyPatch) -> None:
    webhooks = [{"url": ADDRESS, "phases": phases}]
    environment.setenv("QUEUE_PROCESSOR_WEBHOOKS", json.dumps(webhooks))

    (line,) = _problems()

    assert line.startswith("webhooks.0.phases")


@pytest.mark.parametrize("text", [ADDRESS, "[", json.dumps({"url": ADDRESS})])
def test_webhooks_that_are_not_a_list_are_refused(
    text: str, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("QUEUE_PROCESSOR_WEBHOOKS", text)

    (line,) = _problems()

    assert "webhooks" in line.lower()
    assert "list" in line


def test_the_items_of_a_list_have_no_variables_of_their_own(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("QUEUE_PROCESSOR_WEBHOOKS__0__URL", ADDRESS)

    assert "QUEUE_PROCESSOR_WEBHOOKS__0__URL: no such setting" in _problems()
