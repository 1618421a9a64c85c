"""Who is told about drains, by HTTP."""

import enum
import pathlib
import urllib.parse

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
    """One receiver of notices about drains."""

    url: pydantic.SecretStr | None = Field(
        default=None,
        description="Where notices are posted, http or https. Whoever knows it may post there too,"
        " so `url_file` is the better place for it.",
    )
    url_file: pathlib.Path | None = Field(
        default=None,
        description="A file that holds the URL and nothing else, such as a mounted Secret; it is"
        " read anew for each notice. Either this or `url` is needed.",
    )
    template: BuiltInTemplate | pathlib.Path = Field(
        default=BuiltInTemplate.JSON,
        description="What is posted: `slack`, `teams` (a workflow that posts Adaptive Cards),"
        " `json` (every field), or the path of a Jinja2 template that makes JSON.",
    )
    headers_file: pathlib.Path | None = Field(
        default=None,
        description="A file with more headers, `Name: value` a line, such as a mounted Secret with"
        " `Authorization: Bearer …`; it is read anew for each notice.",
    )
    # Not `on`, which YAML reads as `true`.
    moments: frozenset[DrainPhase] = Field(
        default=frozenset(DrainPhase),
        min_length=1,
        description="When something is told: `drain_start`, `drain_end`.",
    )
    timeout_seconds: float = Field(
        default=5,
        gt=0,
        le=60,
        allow_inf_nan=False,
        description="How long one attempt may take; there are up to 4.",
    )
    cluster: str = Field(
        default="",
        max_length=100,
        description="How the cluster is called in notices, for receivers that several clusters"
        " share. Empty: not at all.",
    )

    @pydantic.field_validator("template")
    @classmethod
    def _is_built_in_or_path(
        cls, template: BuiltInTemplate | pathlib.Path
    ) -> BuiltInTemplate | pathlib.Path:
        if isinstance(template, pathlib.Path) and not template.is_absolute():
            raise ValueError("slack, teams, json or an absolute path is needed")
        return template

    @pydantic.field_validator("url")
    @classmethod
    def _is_url(cls, url: pydantic.SecretStr | None) -> pydantic.SecretStr | None:
        if url is not None and not is_web_address(url.get_secret_value()):
            raise ValueError("http://HOST… or https://HOST… is needed")
        return url

    @pydantic.model_validator(mode="after")
    def _has_one_address(self) -> "WebhookSettings":
        if (self.url is None) == (self.url_file is None):
            raise ValueError("either url or url_file is needed")
        return self


def is_web_address(text: str) -> bool:
    """Whether something can be posted there."""
    try:
        parts = urllib.parse.urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    return (
        parts.scheme in {"http", "https"}
        and bool(host)
        and text.isprintable()
        and not any(letter.isspace() for letter in text)
    )
