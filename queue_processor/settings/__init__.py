"""Settings: the only reader of the environment and of the settings file.

Environment variables `QUEUE_PROCESSOR_…` (groups joined by `__`) take precedence over a YAML file,
and the file over the defaults. They are read once, before anything starts, into frozen groups. AWS
and Kubernetes are configured in their own ways (region, profile, endpoint, web identity; in-cluster
service account, KUBECONFIG), which are not settings.
"""

from queue_processor.domain.errors import SettingsError
from queue_processor.settings.loading import CONFIG_VARIABLE, load, load_for_tool
from queue_processor.settings.model import ENVIRONMENT_PREFIX, Settings, ToolSettings

__all__ = [
    "CONFIG_VARIABLE",
    "ENVIRONMENT_PREFIX",
    "Settings",
    "SettingsError",
    "ToolSettings",
    "load",
    "load_for_tool",
]
