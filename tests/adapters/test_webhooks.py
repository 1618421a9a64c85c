"""The bodies of notifications, and the settings of webhooks that are refused at start-up."""

import datetime as dt
import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import prometheus_client
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from queue_processor.adapters.webhooks import delivery, payloads
from queue_processor.domain import errors
from queue_processor.domain.deadlines import Deadline
from queue_processor.domain.events import EventKind
from queue_processor.domain.identifiers import InstanceId, NodeName
from queue_processor.domain.notifications import DrainNotification
from queue_processor.domain.plan import Action, InstanceReport, InstanceResult, Plan
from queue_processor.settings.webhooks import BuiltInTemplate, WebhookSettings

NOON = dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)
ADDRESS = "https://hooks.invalid/services/s3cr3t"
HOSTILE = st.text(max_size=400) | st.sampled_from(
    ['"', "\\", "<!channel>", "</script>", "{{ 7 * 7 }}", "[a](http://b)", "\n", "\x00", "\u2028"]
)


@st.composite
def notifications(draw: st.DrawFn) -> DrainNotification:
    plan = Plan(
        event_id=draw(HOSTILE),
        hold_id="hold",
        since=NOON,
        kind=draw(st.sampled_from(EventKind)),
        occurred_at=NOON,
        action=Action.CORDON_AND_DRAIN,
        instance_id=InstanceId("i-0123456789abcdef0"),
        node_name=NodeName(draw(HOSTILE)),
        deadline=Deadline(at=NOON + dt.timedelta(minutes=2), is_hard=draw(st.booleans())),
    )
    if draw(st.booleans()):
        return DrainNotification(at=NOON, plan=plan)
    report = InstanceReport(
        instance_id=plan.instance_id,
        result=draw(st.sampled_from(InstanceResult)),
        evicted=draw(st.integers(0, 500)),
        force_deleted=tuple(draw(st.lists(HOSTILE, max_size=12))),
        left=tuple(draw(st.lists(HOSTILE, max_size=12))),
        margin=draw(st.none() | st.just(dt.timedelta(seconds=1.25))),
    )
    return DrainNotification(at=NOON, plan=plan, report=report, took=dt.timedelta(seconds=90))


def posted(
    notification: DrainNotification,
    template: BuiltInTemplate | pathlib.Path,
    *,
    cluster: str = "",
) -> Any:  # noqa: ANN401 each template has its own shape
    return json.loads(payloads.Payload(template, cluster=cluster).of(notification))


def texts(value: object, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield every text in a payload with the name of its field."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from texts(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from texts(inner, key)
    elif isinstance(value, str):
        yield key, value


# Payloads.


@given(notifications(), HOSTILE)
def test_the_json_template_has_all_fields_unchanged(
    notification: DrainNotification, cluster: str
) -> None:
    payload = posted(notification, BuiltInTemplate.JSON, cluster=cluster)

    assert payload == payloads.fields_of(notification, cluster=cluster)
    assert payload["event_id"] == notification.plan.event_id[:320]
    assert (payload["result"] is None) == (notification.report is None)


@given(notifications())
def test_a_slack_payload_has_no_links_and_no_mentions(
    notification: DrainNotification,
) -> None:
    payload = posted(notification, BuiltInTemplate.SLACK)

    assert not any("<" in text or ">" in text for _, text in texts(payload))
    assert payloads.mrkdwn(notification.plan.event_id[:320]) in "".join(
        text for _, text in texts(payload)
    )
    for block in payload["blocks"]:
        # https://docs.slack.dev/reference/block-kit/blocks/section-block
        assert 1 <= len(block["text"]["text"]) <= 3000
        assert len(block.get("fields", [])) <= 10
        assert all(len(field["text"]) <= 2000 for field in block.get("fields", []))


@given(notifications())
def test_a_teams_payload_is_a_card_without_markdown(notification: DrainNotification) -> None:
    payload = posted(notification, BuiltInTemplate.TEAMS)

    assert payload["type"] == "message"
    (attachment,) = payload["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    card = attachment["content"]
    assert card["type"] == "AdaptiveCard"
    # Only text runs are shown as they are written.
    assert {block["type"] for block in card["body"]} == {"RichTextBlock"}
    inlines = [inline for block in card["body"] for inline in block["inlines"]]
    assert {inline["type"] for inline in inlines} == {"TextRun"}
    assert any(notification.plan.event_id[:320] in inline["text"] for inline in inlines)


def test_many_pods_are_counted_and_the_first_are_listed() -> None:
    (*_, last) = [
        notification for notification in payloads._samples() if notification.report is not None
    ]
    report = InstanceReport(
        instance_id=last.plan.instance_id,
        result=InstanceResult.GAVE_UP,
        left=tuple(f"default/web-{number}" for number in range(500)),
    )
    notification = DrainNotification(
        at=NOON, plan=last.plan, report=report, took=dt.timedelta(minutes=30)
    )

    payload = posted(notification, BuiltInTemplate.JSON)

    assert payload["left_count"] == 500
    assert payload["left"] == [f"default/web-{number}" for number in range(10)]
    assert payload["summary"].endswith("gave up: 0 pods evicted, 500 left")


def test_a_custom_template_can_use_any_field(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "template.j2"
    path.write_text('{"text": {{ (node ~ ": " ~ phase) | tojson }}}', encoding="utf-8")

    for notification in payloads._samples():
        assert posted(notification, path) == {
            "text": f"{notification.plan.node_name}: {notification.phase}"
        }


# Errors at start-up.


def problems(**webhook: object) -> list[str]:
    """Return the errors about a webhook at start-up."""
    with pytest.raises(errors.ConfigurationError) as caught:
        delivery.from_settings([WebhookSettings.model_validate(webhook)])
    assert "s3cr3t" not in str(caught.value)
    return str(caught.value).splitlines()


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ('{"text": "{{ node }}"}', "values need the filter `tojson`"),
        ('{"text": {{ nod | tojson }}}', "'nod' is undefined"),
        ('{\n"text": {% if %}}', "line 2: Expected an expression"),
        ('{{ "{" }', "line 1: unexpected '}'"),
        ("drained", "the output is not JSON"),
        ('{% include "/etc/passwd" %}', "no loader"),
        ('{{ "".__class__.__mro__ | string | tojson }}', "unsafe"),
        ("{{ notification.update({}) }}", "unsafe"),
        (
            "{% for i in range(1000) %}{{ notification | tojson }}{% endfor %}",
            "more than 28672 bytes",
        ),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}", "RecursionError"),
        ('{"margin": {{ (margin_seconds + 1) | tojson }}}', "TypeError"),
    ],
)
def test_a_broken_template_is_refused_with_the_reason(
    template: str, complaint: str, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "template.j2"
    path.write_text(template, encoding="utf-8")

    (line,) = problems(url=ADDRESS, template=str(path))

    assert line.startswith(f"webhooks.0.template: {path}: ")
    assert complaint in line


@pytest.mark.parametrize("key", ["url_file", "template", "headers_file"])
@pytest.mark.parametrize(
    ("content", "complaint"),
    [(None, "cannot be read: No such file or directory"), (b"s3cr3t \xff", "not UTF-8")],
)
def test_the_error_about_an_unreadable_file_names_it(
    key: str, content: bytes | None, complaint: str, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "file"
    if content is not None:
        path.write_bytes(content)
    address = {} if key == "url_file" else {"url": ADDRESS}

    (line,) = problems(**address, **{key: str(path)})

    assert line.startswith(f"webhooks.0.{key}: {path}: ")
    assert line.endswith(complaint)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "Input should be a valid URL, input is empty"),
        ("s3cr3t", "Input should be a valid URL, relative URL without a base"),
        ("ftp://s3cr3t.invalid/", "URL scheme should be 'http' or 'https'"),
        ("https://", "Input should be a valid URL, empty host"),
        ("https://a b/s3cr3t", "Input should be a valid URL, invalid international domain name"),
        ("http://a:x/", "Input should be a valid URL, invalid port number"),
    ],
)
def test_the_error_about_a_file_without_a_url_does_not_repeat_its_content(
    content: str, complaint: str, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "url"
    path.write_text(content, encoding="utf-8")

    assert problems(url_file=str(path)) == [f"webhooks.0.url_file: {path}: {complaint}"]


@pytest.mark.parametrize("content", ["s3cr3t", "A B: s3cr3t", ": s3cr3t", "A: b\nB: s3cr3t\x00"])
def test_the_error_about_a_bad_header_has_the_line_number(
    content: str, tmp_path: pathlib.Path
) -> None:
    path = tmp_path / "headers"
    path.write_text(content, encoding="utf-8")

    number = len(content.splitlines())
    assert problems(url=ADDRESS, headers_file=str(path)) == [
        f"webhooks.0.headers_file: {path}: line {number}: `Name: value` is required"
    ]


def test_all_bad_webhooks_are_reported() -> None:
    missing = pathlib.Path("/nonexistent/file")
    webhooks = [
        WebhookSettings(url_file=missing),
        WebhookSettings.model_validate({"url": ADDRESS}),
        WebhookSettings.model_validate({"url": ADDRESS, "template": missing}),
    ]

    with pytest.raises(errors.ConfigurationError) as caught:
        delivery.from_settings(webhooks)

    starts = [line.split(":")[0] for line in str(caught.value).splitlines()]
    assert starts == ["webhooks.0.url_file", "webhooks.2.template"]


# Dropped notifications.


def test_notifications_over_the_limit_are_dropped_counted_and_logged_once() -> None:
    webhooks = delivery.from_settings([WebhookSettings.model_validate({"url": ADDRESS})])
    (notification, *_) = payloads._samples()
    labels = {"phase": "drain_start", "outcome": "dropped"}

    def dropped() -> float:
        series = "queue_processor_webhook_notifications_total"
        return prometheus_client.REGISTRY.get_sample_value(series, labels) or 0.0

    before = dropped()
    with structlog.testing.capture_logs() as lines:
        for _ in range(1005):
            webhooks.notify(notification)

    assert dropped() == before + 5
    assert [line["event"] for line in lines] == ["webhook_notifications_dropped"]
    assert "s3cr3t" not in str(lines)
