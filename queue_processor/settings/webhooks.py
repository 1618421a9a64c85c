"""The settings of webhooks."""

import enum
import pathlib

import pydantic
from pydantic import Field

from queue_processor.domain.notifications import DrainPhase
from queue_processor.settings.groups import Group


class BuiltInTemplate(enum.StrEnum):
    """The templates that come with the program."""

    SLACK = "slack"
    TEAMS = "teams"
    JSON = "json"


class WebhookSettings(Group):
    """One receiver of notifications about drains."""

    url: pydantic.Secret[pydantic.AnyHttpUrl] | None = Field(
        default=None,
        description="The http or https URL to post notifications to. It is a secret: anyone who has"
        " it can post there. Prefer `url_file`.",
    )
    url_file: pathlib.Path | None = Field(
        default=None,
        description="A file that contains only the URL, such as a mounted Secret; it is read again"
        " for each notification. Either this or `url` is required.",
    )
    template: BuiltInTemplate | pathlib.Path = Field(
        default=BuiltInTemplate.JSON,
        description="The body of a notification: `slack`, `teams` (a workflow that posts Adaptive"
        " Cards), `json` (all fields), or the absolute path of a Jinja2 template that produces"
        " JSON.",
    )
    headers_file: pathlib.Path | None = Field(
        default=None,
        description="A file with additional headers, one `Name: value` per line, such as a mounted"
        " Secret with `Authorization: Bearer …`; it is read again for each notification.",
    )
    # Not `on`, which YAML reads as `true`.
    phases: frozenset[DrainPhase] = Field(
        default=frozenset(DrainPhase),
        min_length=1,
        description="When to send a notification: at the start of a drain, at its end, or both.",
    )
    timeout_seconds: float = Field(
        default=5,
        gt=0,
        le=60,
        allow_inf_nan=False,
        description="The timeout of one attempt; there are up to four attempts.",
    )
    cluster: str = Field(
        default="",
        max_length=100,
        description="The cluster name in notifications, for receivers that several clusters share.",
    )

    @pydantic.field_validator("template")
    @classmethod
    def _is_built_in_or_path(
        cls, template: BuiltInTemplate | pathlib.Path
    ) -> BuiltInTemplate | pathlib.Path:
        if isinstance(template, pathlib.Path) and not template.is_absolute():
            raise ValueError("slack, teams, json or an absolute path is required")
        return template

    @pydantic.model_validator(mode="after")
    def _has_one_url(self) -> "WebhookSettings":
        if (self.url is None) == (self.url_file is None):
            raise ValueError("either url or url_file is required")
        return self
