"""All settings, and the policy that follows from them."""

import datetime as dt
from typing import Annotated, TypeAlias

import pydantic
import pydantic_core
import pydantic_settings
from pydantic import Field

from queue_processor.domain import deadlines, errors, identifiers, policy, selectors
from queue_processor.domain.events import EventScope
from queue_processor.domain.policy import Mode
from queue_processor.settings.groups import (
    ActionSettings,
    DrainSettings,
    HttpSettings,
    KubernetesSettings,
    LeaderElectionSettings,
    LogSettings,
    SourceSettings,
    parse_http_url,
)
from queue_processor.settings.webhooks import WebhookSettings

ENVIRONMENT_PREFIX = "QUEUE_PROCESSOR_"
# The type of the error.
NO_SOURCE = "no_source"
# https://docs.aws.amazon.com/eks/latest/APIReference/API_CreateCluster.html
# Clusters of kops have the names of domains.
_CLUSTER_NAME = r"^[0-9A-Za-z][0-9A-Za-z._-]{0,252}$"


def _has_queue_path(text: str) -> str:
    if (parse_http_url(text).path or "/") == "/":
        raise ValueError("the URL of a queue ends in /ACCOUNT/NAME")
    return text


QueueUrl: TypeAlias = Annotated[
    str,
    pydantic.AfterValidator(_has_queue_path),
    # For the schema of the chart: Helm does not check formats.
    Field(json_schema_extra={"pattern": r"^https?://.+/.+$"}),
]


class ToolSettings(pydantic_settings.BaseSettings):
    """The settings for commands that can run without a queue."""

    model_config = pydantic_settings.SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
    )

    queue_url: QueueUrl | None = Field(default=None, description="The URL of the SQS queue.")
    mode: Mode = Field(
        default=Mode.DRAIN,
        description="`drain`: carry plans out. `observe`: only log what would be done. Nothing is"
        " changed in the cluster or in Auto Scaling then, so every replica works, without a Lease;"
        " messages are received and deleted, so the queue must not be one that another program"
        " reads.",
    )
    node_selector: str = Field(
        default="", description="A label selector for the nodes to handle. Empty: all nodes."
    )
    managed_tag: str | None = Field(
        default=None,
        min_length=1,
        description="An EC2 tag key: only instances with this tag are handled. None: all instances,"
        " and no `ec2:` permission is required.",
    )
    cluster_name: str | None = Field(
        default=None,
        pattern=_CLUSTER_NAME,
        description="The name of the cluster in the tag `kubernetes.io/cluster/NAME` of its Auto"
        " Scaling groups, which EKS adds to managed node groups: the lifecycle actions of a group"
        " with this tag are completed even if none of its instances is a node. Without effect"
        " with `node_selector`, because other nodes of the cluster may be in such a group.",
    )
    actions: ActionSettings = ActionSettings()
    sources: SourceSettings = SourceSettings()
    drain: DrainSettings = DrainSettings()
    leader_election: LeaderElectionSettings = LeaderElectionSettings()
    kubernetes: KubernetesSettings = KubernetesSettings()
    webhooks: tuple[WebhookSettings, ...] = Field(
        default=(),
        description="Receivers of notifications when drains start and end. In the environment: a"
        " JSON list.",
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
        """Give the environment precedence over the values that `load` reads from the file."""
        del settings_cls, dotenv_settings, file_secret_settings
        return (env_settings, init_settings)

    def policy(self) -> policy.Policy:
        """Return the settings that decide about events."""
        return policy.Policy(
            actions=self.actions.by_kind(),
            timeouts=deadlines.DrainTimeouts(
                soft=dt.timedelta(seconds=self.drain.soft_drain_timeout_seconds),
                lifecycle=dt.timedelta(seconds=self.drain.lifecycle_drain_timeout_seconds),
            ),
            unknown_instance=self.drain.unknown_instance_policy,
            unknown_instance_grace=dt.timedelta(seconds=self.drain.unknown_instance_grace_seconds),
            complete_never_joined=self.drain.complete_never_joined,
            # The tag is on every group of the cluster, and the selector excludes some of its nodes.
            scope=self._scope(),
            cluster_name=None if self.node_selector else self.cluster_name,
            mode=self.mode,
        )

    @property
    def elects_leader(self) -> bool:
        """Return True if only one process may work: a Lease decides which."""
        return self.leader_election.enabled and self.mode is Mode.DRAIN

    def _scope(self) -> EventScope:
        """Return whose events are for us; an emulator's URL may show neither account nor Region."""
        account = identifiers.account_of(self.queue_url)
        accounts = self.sources.sqs.accounts or ((account,) if account else ())
        return EventScope(
            accounts=frozenset(accounts) or None, region=identifiers.region_of(self.queue_url)
        )


class Settings(ToolSettings):
    """The settings of the operator."""

    queue_url: QueueUrl | None = Field(
        default=None,
        description="The URL of the SQS queue. Required, unless `sources.notices.enabled`.",
    )

    @pydantic.field_validator("sources")
    @classmethod
    def _has_source(
        cls, sources: SourceSettings, validated: pydantic.ValidationInfo
    ) -> SourceSettings:
        if validated.data.get("queue_url", "invalid") is None and not sources.notices.enabled:
            raise pydantic_core.PydanticCustomError(NO_SOURCE, "there is no source of events")
        return sources
