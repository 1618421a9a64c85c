"""Settings: the only reader of the environment and of the settings file.

Environment variables `QUEUE_PROCESSOR_…` (groups joined by `__`) rule over a YAML file,
which rules over the defaults. They are read once, before anything starts, into frozen
groups. AWS and Kubernetes are configured their own way (region, profile, endpoint, web
identity; in-cluster account, KUBECONFIG) and do not show here.
"""

from queue_processor.settings.groups import (
    ActionSettings,
    DrainSettings,
    HttpSettings,
    KubernetesSettings,
    LeaderElectionSettings,
    LogFormat,
    LogLevel,
    LogSettings,
    OnDeadline,
    OnSoftTimeout,
    SqsSettings,
)
from queue_processor.settings.loading import CONFIG_VARIABLE, SettingsError, load, load_for_tool
from queue_processor.settings.model import ENVIRONMENT_PREFIX, Settings, ToolSettings
from queue_processor.settings.webhooks import BuiltInTemplate, WebhookSettings

__all__ = [
    "CONFIG_VARIABLE",
    "ENVIRONMENT_PREFIX",
    "ActionSettings",
    "BuiltInTemplate",
    "DrainSettings",
    "HttpSettings",
    "KubernetesSettings",
    "LeaderElectionSettings",
    "LogFormat",
    "LogLevel",
    "LogSettings",
    "OnDeadline",
    "OnSoftTimeout",
    "Settings",
    "SettingsError",
    "SqsSettings",
    "ToolSettings",
    "WebhookSettings",
    "load",
    "load_for_tool",
]
