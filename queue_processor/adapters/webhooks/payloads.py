"""Render the bodies of notifications from Jinja2 templates.

Templates are sandboxed, get plain values only and cannot read files; their output is bounded and
must be JSON. Nothing is escaped automatically: the filter `tojson` quotes a value. A template
without it fails on the hostile samples with which every template is rendered at start-up.
"""

import datetime as dt
import importlib.resources
import json
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

import jinja2
from jinja2 import sandbox

from queue_processor.domain import errors
from queue_processor.domain.deadlines import Deadline
from queue_processor.domain.events import EventKind
from queue_processor.domain.identifiers import InstanceId, NodeName
from queue_processor.domain.notifications import DrainNotification
from queue_processor.domain.plan import Action, InstanceReport, InstanceResult, Plan
from queue_processor.settings.webhooks import BuiltInTemplate

Fields: TypeAlias = Mapping[str, object]

# The limit of Teams; Slack accepts more.
# https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using
_PAYLOAD_BYTES = 28 * 1024
_NAMED_PODS = 10
# The length of values from messages and from the API is not bounded.
_TEXT_LIMIT = 320


class Payload:
    """A compiled template."""

    def __init__(self, template: BuiltInTemplate | pathlib.Path, *, cluster: str) -> None:
        """Compile a template, and render the samples with it.

        Args:
            template: A built-in template, or a file.
            cluster: The cluster name in notifications.

        Raises:
            ConfigurationError: The file cannot be read or compiled, or does not produce JSON.
        """
        self._cluster = cluster
        self._template = _compiled(template)
        for notification in _samples():
            try:
                self.of(notification)
            except errors.PermanentError as error:
                raise errors.ConfigurationError(f"{template}: {error}") from error

    def of(self, notification: DrainNotification) -> bytes:
        """Render a notification.

        Raises:
            PermanentError: The template fails, or its output is not JSON or too long.
        """
        text = self._rendered(fields_of(notification, cluster=self._cluster))
        try:
            json.loads(text)
        except ValueError as cause:
            raise errors.PermanentError(
                f"the output is not JSON ({cause}); values need the filter `tojson`"
            ) from cause
        return text.encode()

    def _rendered(self, fields: Fields) -> str:
        try:
            return _bounded(self._template.generate({**fields, "notification": fields}))
        except errors.PermanentError:
            raise
        except Exception as cause:
            # A template is a user's program: anything can go wrong in it.
            raise errors.PermanentError(f"{type(cause).__name__}: {cause}") from cause


def _bounded(chunks: Iterable[str]) -> str:
    """Join the output of a template, and stop the template when the output is too long."""
    text, size = [], 0
    for chunk in chunks:
        size += len(chunk.encode())
        if size > _PAYLOAD_BYTES:
            raise errors.PermanentError(f"the output has more than {_PAYLOAD_BYTES} bytes")
        text.append(chunk)
    return "".join(text)


def _compiled(template: BuiltInTemplate | pathlib.Path) -> jinja2.Template:
    environment = sandbox.ImmutableSandboxedEnvironment(
        undefined=jinja2.StrictUndefined,
        # The output is JSON, not HTML; `tojson` quotes, and the samples enforce it.
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["mrkdwn"] = mrkdwn
    # An undefined name raises an error that contains it when `tojson` converts it to text.
    environment.policies["json.dumps_kwargs"] = {"sort_keys": True, "default": str}
    try:
        return environment.from_string(_source(template))
    except jinja2.TemplateSyntaxError as cause:
        raise errors.ConfigurationError(
            f"{template}: line {cause.lineno}: {cause.message}"
        ) from cause
    except (OSError, UnicodeDecodeError) as cause:
        reason = cause.strerror if isinstance(cause, OSError) else "not UTF-8"
        raise errors.ConfigurationError(f"{template}: cannot be read: {reason}") from cause


def _source(template: BuiltInTemplate | pathlib.Path) -> str:
    if isinstance(template, BuiltInTemplate):
        folder = importlib.resources.files(__package__)
        return (folder / f"{template}.json.j2").read_text(encoding="utf-8")
    return template.read_text(encoding="utf-8")


def mrkdwn(text: object) -> str:
    """Escape what Slack would read as a link or a mention.

    https://docs.slack.dev/messaging/formatting-message-text#escaping
    """
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def fields_of(notification: DrainNotification, *, cluster: str) -> Fields:
    """Return the names of a template as plain values; all are defined in both phases."""
    plan, report, took = notification.plan, notification.report, notification.took
    margin = None if report is None else report.margin
    return {
        "phase": notification.phase.value,
        "at": notification.at.isoformat(timespec="seconds"),
        "cluster": cluster,
        "summary": _summary(notification, cluster),
        "node": _cut(plan.node_name or ""),
        "instance_id": _cut(plan.instance_id),
        "kind": plan.kind.value,
        "event_id": _cut(plan.event_id),
        "action": plan.action.value,
        "occurred_at": plan.occurred_at.isoformat(timespec="seconds"),
        "deadline": plan.deadline.at.isoformat(timespec="seconds"),
        "deadline_is_hard": plan.deadline.is_hard,
        "result": None if report is None else report.result.value,
        "seconds": None if took is None else round(took.total_seconds(), 1),
        "margin_seconds": None if margin is None else round(margin.total_seconds(), 1),
        "evicted": None if report is None else report.evicted,
        "deleted_at_deadline_count": None if report is None else len(report.force_deleted),
        "deleted_at_deadline": [] if report is None else _first(report.force_deleted),
        "left_count": None if report is None else len(report.left),
        "left": [] if report is None else _first(report.left),
    }


def _summary(notification: DrainNotification, cluster: str) -> str:
    plan, report = notification.plan, notification.report
    where = f"{cluster}: " if cluster else ""
    node = _cut(plan.node_name or "")
    if report is None:
        end = f"{plan.deadline.at:%H:%M:%S} UTC"
        until = f"the instance goes at {end}" if plan.deadline.is_hard else f"until {end} at most"
        return f"{where}draining {node} ({plan.kind}), {until}"
    text = f"{where}{node} {report.result.replace('_', ' ')}: {report.evicted} pods evicted"
    if report.force_deleted:
        text += f", {len(report.force_deleted)} deleted at the deadline"
    if report.left:
        text += f", {len(report.left)} left"
    return text


def _cut(text: str) -> str:
    return text[:_TEXT_LIMIT]


def _first(pods: Iterable[str]) -> list[str]:
    return [_cut(pod) for pod in tuple(pods)[:_NAMED_PODS]]


def _samples() -> Iterator[DrainNotification]:
    """Yield notifications of both phases with hostile values, with and without optional ones."""
    noon = dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)
    strange = '"quotes" \\ {{ 7 * 7 }} {% x %} <!channel> [a](http://b) \u2028 \x00\n}]'
    for is_hard in (True, False):
        plan = Plan(
            hold_id="",
            since=noon,
            event_id=strange,
            kind=EventKind.SPOT_INTERRUPTION,
            occurred_at=noon,
            action=Action.CORDON_AND_DRAIN,
            instance_id=InstanceId("i-0123456789abcdef0"),
            node_name=NodeName(strange),
            deadline=Deadline(at=noon + dt.timedelta(minutes=2), is_hard=is_hard),
        )
        yield DrainNotification(at=noon, plan=plan)
        report = InstanceReport(
            instance_id=plan.instance_id,
            result=InstanceResult.PAST_DEADLINE if is_hard else InstanceResult.DRAINED,
            node_name=plan.node_name,
            evicted=12,
            force_deleted=(strange,) * 12 if is_hard else (),
            left=(strange,) * 12 if is_hard else (),
            margin=dt.timedelta() if is_hard else None,
        )
        yield DrainNotification(at=noon, plan=plan, report=report, took=dt.timedelta(seconds=90))
