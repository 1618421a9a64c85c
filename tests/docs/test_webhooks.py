"""docs/webhooks.md on settings and templates."""

import pathlib
import re

from docs import reference
from queue_processor import settings
from queue_processor.adapters.webhooks import payloads
from queue_processor.settings.webhooks import WebhookSettings

TEXT = (reference.DOCS / "webhooks.md").read_text(encoding="utf-8")


def _names(heading: str) -> set[str]:
    """Return the first column of the table with this head."""
    _, _, after = TEXT.partition(f"\n| {heading} |")
    table = after.split("\n\n")[0].splitlines()[2:]
    return {name for row in table for name in re.findall(r"`(\w+)`", row.split("|")[1])}


def test_all_settings_of_a_webhook_are_documented() -> None:
    assert _names("setting") == set(WebhookSettings.model_fields)


def test_all_names_in_templates_are_documented() -> None:
    (notification, *_) = payloads._samples()

    assert _names("name") == {*payloads.fields_of(notification, cluster=""), "notification"}


def test_the_template_in_the_document_works(tmp_path: pathlib.Path) -> None:
    (shown,) = re.findall(r"```jinja\n(.*?)```", TEXT, flags=re.DOTALL)
    path = tmp_path / "shown.j2"
    path.write_text(shown, encoding="utf-8")

    for notification in payloads._samples():
        assert b"severity" in payloads.Payload(path, cluster="").of(notification)


def test_the_settings_in_the_document_are_valid(tmp_path: pathlib.Path) -> None:
    (shown,) = re.findall(r"```yaml\n(.*?)```", TEXT, flags=re.DOTALL)
    config = tmp_path / "settings.yaml"
    queue = "https://sqs.eu-west-1.amazonaws.com/123456789012/queue"
    config.write_text(f"queue_url: {queue}\n{shown}", encoding="utf-8")

    assert len(settings.load(config).webhooks) == 2
