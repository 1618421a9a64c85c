"""Everything that can be set, and what the parts of the program make of it."""

import datetime as dt

import pydantic
import pydantic_settings
from pydantic import Field

from queue_processor.domain import deadlines, errors, policy, selectors
from queue_processor.settings.groups import (
    ActionSettings,
    DrainSettings,
    HttpSettings,
    KubernetesSettings,
    LeaderElectionSettings,
    LogSettings,
    SqsSettings,
)
from queue_processor.settings.webhooks import WebhookSettings

ENVIRONMENT_PREFIX = "QUEUE_PROCESSOR_"
_QUEUE_URL = r"^https?://.+/.+$"


class ToolSettings(pydantic_settings.BaseSettings):
    """Everything that can be set, for a command that may do without the queue."""

    model_config = pydantic_settings.SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
    )

    queue_url: str | None = Field(
        default=None, pattern=_QUEUE_URL, description="The URL of the SQS queue."
    )
    node_selector: str = Field(
        default="", description="A label selector: only these nodes are ours. Empty: all are."
    )
    managed_tag: str | None = Field(
        default=None,
        min_length=1,
        description="An EC2 tag key: only instances that carry it are ours. None: all are, and no"
        " ec2: permission is needed.",
    )
    actions: ActionSettings = ActionSettings()
    sqs: SqsSettings = SqsSettings()
    drain: DrainSettings = DrainSettings()
    leader_election: LeaderElectionSettings = LeaderElectionSettings()
    kubernetes: KubernetesSettings = KubernetesSettings()
    webhooks: tuple[WebhookSettings, ...] = Field(
        default=(),
        description="Who is told, by HTTP, when drains begin and end. In the environment: a JSON"
        " list.",
    )
    http: HttpSettings = HttpSettings()
    log: LogSettings = LogSettings()

    @pydantic.field_validator("node_selector")
    @classmethod
    def _is_selector(cls, text: str) -> str:
        try:
            selectors.parse(text)
        except errors.ConfigurationError as error:
            raise ValueError(str(error)) from error
        return text

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[pydantic_settings.BaseSettings],
        init_settings: pydantic_settings.PydanticBaseSettingsSource,
        env_settings: pydantic_settings.PydanticBaseSettingsSource,
        dotenv_settings: pydantic_settings.PydanticBaseSettingsSource,
        file_secret_settings: pydantic_settings.PydanticBaseSettingsSource,
    ) -> tuple[pydantic_settings.PydanticBaseSettingsSource, ...]:
        """The environment rules over what `load` read from the file; nothing else is read."""
        del settings_cls, dotenv_settings, file_secret_settings
        return (env_settings, init_settings)

    def policy(self) -> policy.Policy:
        """The settings that decide what is done about an event."""
        return policy.Policy(
            actions=self.actions.by_kind(),
            timeouts=deadlines.DrainTimeouts(
                soft=dt.timedelta(seconds=self.drain.soft_drain_timeout_seconds),
                lifecycle=dt.timedelta(seconds=self.drain.lifecycle_drain_timeout_seconds),
            ),
            unknown_instance=self.drain.unknown_instance_policy,
            unknown_instance_grace=dt.timedelta(seconds=self.drain.unknown_instance_grace_seconds),
            completes_never_joined=self.drain.complete_never_joined,
        )


class Settings(ToolSettings):
    """Everything that can be set, for the operator."""

    queue_url: str = Field(pattern=_QUEUE_URL, description="The URL of the SQS queue. Required.")
