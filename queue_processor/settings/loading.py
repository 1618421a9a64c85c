"""Read the settings, and report each error in one line that starts with the key."""

import json
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any, TypeVar

import pydantic
import pydantic_settings
import yaml

from queue_processor.domain import errors
from queue_processor.settings import model
from queue_processor.settings.groups import Group
from queue_processor.settings.model import ENVIRONMENT_PREFIX, Settings, ToolSettings

CONFIG_VARIABLE = "QUEUE_PROCESSOR_CONFIG"

# Kubernetes sets variables like these in every pod for a Service named queue-processor or
# queue-processor-metrics. Only its value distinguishes a NAME_PORT from a misspelt setting.
# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
_SERVICE_VARIABLE = re.compile(
    r"QUEUE_PROCESSOR_(\w+_)?"
    r"(SERVICE_(HOST|PORT(_\w+)?)=|PORT=(tcp|udp|sctp)://|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?=).*"
)

# Errors do not repeat these values: the URL of a webhook is a secret.
_NOT_REPEATED = "webhooks"


class SettingsError(errors.ConfigurationError):
    """Settings that cannot be used; one line for each error."""


_Settings = TypeVar("_Settings", bound=ToolSettings)


def load(config: pathlib.Path | None = None) -> Settings:
    """Read the settings of the operator.

    Args:
        config: A YAML file; None uses the one in QUEUE_PROCESSOR_CONFIG, if any.

    Raises:
        SettingsError: A key is unknown, a value is not allowed, there is no source of
            events, the file cannot be read, or two settings contradict each other.
    """
    return _load(Settings, config)


def load_for_tool(config: pathlib.Path | None = None) -> ToolSettings:
    """Read the settings for a command that can run without a queue.

    Args:
        config: As in `load`.

    Raises:
        SettingsError: As in `load`, except that queue_url may be missing.
    """
    return _load(ToolSettings, config)


def _load(settings_class: type[_Settings], config: pathlib.Path | None) -> _Settings:
    if config is None and os.environ.get(CONFIG_VARIABLE):
        config = pathlib.Path(os.environ[CONFIG_VARIABLE])
    values = {} if config is None else _from_file(config)
    problems = [*_unknown_variables()]
    problems += [
        f"{key}: no such setting" for key in values if key not in settings_class.model_fields
    ]
    try:
        # Other keys would be arguments of pydantic-settings, such as `_env_file`.
        fields = {key: values[key] for key in values if key in settings_class.model_fields}
        settings = settings_class(**fields)
    except pydantic.ValidationError as invalid:
        raise SettingsError("\n".join([*problems, *_lines(invalid)])) from invalid
    except pydantic_settings.SettingsError as invalid:
        raise SettingsError("\n".join(problems or [f"environment: {invalid}"])) from invalid
    if problems:
        raise SettingsError("\n".join(problems))
    return settings


def _unknown_variables() -> Iterator[str]:
    """Yield an error for each variable with our prefix that pydantic-settings would ignore."""
    for name, value in sorted(os.environ.items()):
        if not name.startswith(ENVIRONMENT_PREFIX) or name == CONFIG_VARIABLE:
            continue
        if _SERVICE_VARIABLE.fullmatch(f"{name}={value}"):
            continue
        key, _, rest = name.removeprefix(ENVIRONMENT_PREFIX).lower().partition("__")
        field = Settings.model_fields.get(key)
        is_group = field is not None and isinstance(field.default, Group)
        if field is None or (rest and not is_group):
            yield f"{name}: no such setting"
        elif is_group and not rest and not _is_json(value):
            yield f"{name}: {value!r} is not allowed: use JSON, or variables like {name}__KEY"
        elif isinstance(field.default, tuple) and not _is_json(value):
            yield f"{name}: not allowed: a JSON list is required"


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _from_file(path: pathlib.Path) -> dict[object, Any]:
    """Read a YAML file.

    The YAML source of pydantic-settings ignores a missing file, and accepts `[]` as an empty one.
    """
    try:
        loaded: object = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as cause:
        raise SettingsError(f"{path}: cannot be read: {cause.strerror}") from cause
    except (yaml.YAMLError, UnicodeDecodeError) as cause:
        raise SettingsError(f"{path}: not YAML: {' '.join(str(cause).split())}") from cause
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise SettingsError(f"{path}: a mapping of settings is required")
    return loaded


def _lines(invalid: pydantic.ValidationError) -> Iterator[str]:
    for error in invalid.errors():
        key = ".".join(str(part) for part in error["loc"]) or "settings"
        value = "" if key.startswith(_NOT_REPEATED) else f"{error['input']!r} is "
        match error["type"]:
            case model.NO_SOURCE:
                yield (
                    f"queue_url: not set; set {ENVIRONMENT_PREFIX}QUEUE_URL or `queue_url` in the"
                    " settings file, or enable `sources.notices` to work without a queue"
                )
            case "missing":
                variable = ENVIRONMENT_PREFIX + key.upper().replace(".", "__")
                yield f"{key}: not set; set {variable} or `{key}` in the settings file"
            case "extra_forbidden":
                yield f"{key}: no such setting"
            case "tuple_type" | "frozen_set_type":
                yield f"{key}: {value}not allowed: a list is required"
            case "literal_error":
                allowed = re.sub(r"<[^:]*: ('[^']*')>", r"\1", error["msg"])
                yield f"{key}: {value}not allowed: {allowed}"
            case _:
                allowed = error["msg"].removeprefix("Value error, ")
                yield f"{key}: {value}not allowed: {allowed}"
