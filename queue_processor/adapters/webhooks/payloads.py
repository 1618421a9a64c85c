"""What is posted: Jinja2 templates that make JSON, and what they can say.

Templates are sandboxed, see plain values only and read no other file; what they make is bounded,
and has to be JSON. Nothing is escaped on its own: the filter `tojson` quotes a value, and a
template without it fails on the hostile samples that every template is tried on at the start.
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
from queue_processor.settings import BuiltInTemplate

Fields: TypeAlias = Mapping[str, object]

# The largest that Teams takes; Slack takes more.
# https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using
_PAYLOAD_BYTES = 28 * 1024
_NAMED_PODS = 10
# What comes out of a message or out of the API may be as long as it likes.
_TEXT_LIMIT = 320


class Payload:
    """One template."""

    def __init__(self, template: BuiltInTemplate | pathlib.Path, *, cluster: str) -> None:
        """Read and try a template.

        Args:
            template: One that comes with the program, or a file.
            cluster: How notices call the cluster.

        Raises:
            ConfigurationError: The file cannot be read, is no template, or does not make JSON.
        """
        self._cluster = cluster
        self._template = _compiled(template)
        for notice in _samples():
            try:
                self.of(notice)
            except errors.PermanentError as error:
                raise errors.ConfigurationError(f"{template}: {error}") from error

    def of(self, notice: DrainNotification) -> bytes:
        """What is posted about a notice.

        Raises:
            PermanentError: The template fails, or makes something else than JSON, or too much.
        """
        text = self._rendered(fields_of(notice, cluster=self._cluster))
        try:
            json.loads(text)
        except ValueError as cause:
            raise errors.PermanentError(
                f"what it makes is not JSON ({cause}); values need the filter `tojson`"
            ) from cause
        return text.encode()

    def _rendered(self, fields: Fields) -> str:
        try:
            return _bounded(self._template.generate({**fields, "notice": fields}))
        except errors.PermanentError:
            raise
        except Exception as cause:
            # A template is a program of somebody else's: anything can go wrong in it.
            raise errors.PermanentError(f"{type(cause).__name__}: {cause}") from cause


def _bounded(chunks: Iterable[str]) -> str:
    """Put together what a template makes, and stop it when that is too much."""
    kept, size = [], 0
    for chunk in chunks:
        size += len(chunk.encode())
        if size > _PAYLOAD_BYTES:
            raise errors.PermanentError(f"it makes more than {_PAYLOAD_BYTES} bytes")
        kept.append(chunk)
    return "".join(kept)


def _compiled(template: BuiltInTemplate | pathlib.Path) -> jinja2.Template:
    environment = sandbox.ImmutableSandboxedEnvironment(
        undefined=jinja2.StrictUndefined,
        # It is JSON and no HTML; `tojson` quotes, and is insisted on.
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["mrkdwn"] = mrkdwn
    # What is undefined says so by its name when it becomes a text.
    environment.policies["json.dumps_kwargs"] = {"sort_keys": True, "default": str}
    try:
        return environment.from_string(_source(template))
    except jinja2.TemplateSyntaxError as cause:
        raise errors.ConfigurationError(
            f"{template}: line {cause.lineno}: {cause.message}"
        ) from cause
    except (OSError, UnicodeDecodeError) as cause:
        what = cause.strerror if isinstance(cause, OSError) else "not UTF-8"
        raise errors.ConfigurationError(f"{template}: cannot be read: {what}") from cause


def _source(template: BuiltInTemplate | pathlib.Path) -> str:
    if isinstance(template, BuiltInTemplate):
        folder = importlib.resources.files(__package__)
        return (folder / f"{template}.json.j2").read_text(encoding="utf-8")
    return template.read_text(encoding="utf-8")


def mrkdwn(text: object) -> str:
    """Take the meaning out of what Slack reads as a link, or as a mention of everybody.

    https://docs.slack.dev/messaging/formatting-message-text#escaping
    """
    return str(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def fields_of(notice: DrainNotification, *, cluster: str) -> Fields:
    """What a template can say, in plain values; all fields are there at both moments."""
    plan, report, took = notice.plan, notice.report, notice.took
    margin = None if report is None else report.margin
    return {
        "moment": notice.moment.value,
        "at": notice.at.isoformat(timespec="seconds"),
        "cluster": cluster,
        "summary": _summary(notice, cluster),
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


def _summary(notice: DrainNotification, cluster: str) -> str:
    plan, report = notice.plan, notice.report
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
    """Notices as strange as they can be, for both moments, with and without what may be missing."""
    noon = dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)
    strange = '"quotes" \\ {{ 7 * 7 }} {% x %} <!channel> [a](http://b) \u2028 \x00\n}]'
    for is_hard in (True, False):
        plan = Plan(
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
