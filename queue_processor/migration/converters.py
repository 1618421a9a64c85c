"""The converters that `table.csv` names: each makes our value from one of NTH."""

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import TypeAlias

from queue_processor.migration import reading
from queue_processor.settings.groups import ActionSettings

_FLAGS = {
    # What Go's strconv.ParseBool accepts, which NTH uses.
    **dict.fromkeys(("1", "t", "true"), True),
    **dict.fromkeys(("0", "f", "false"), False),
}
_LAST_PORT = 65_535
_ROLE = "eks.amazonaws.com/role-arn"
_WEBHOOKS = "/etc/queue-processor/webhooks"
# https://kubernetes.io/docs/concepts/configuration/secret/#restriction-names-data
_SECRET_NAME = re.compile(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?")
_SECRET_KEY = re.compile(r"(?!\.{1,2}$)[-._a-zA-Z0-9]{1,253}")


class InvalidValue(ValueError):
    """A value that NTH does not accept either, or that is not in the file."""


@dataclasses.dataclass(frozen=True, slots=True)
class Entries:
    """Several values of ours, by key as in the table; the note replaces that of the table."""

    values: Mapping[str, object]
    note: str = ""


Converter: TypeAlias = Callable[[object], object]
"""Returns a value, or Entries; raises InvalidValue."""


def text(value: object) -> str:
    """Return a string, also if YAML took it for a number or a boolean."""
    match value:
        case bool():
            return str(value).lower()
        case str() | int() | float():
            return str(value)
        case _:
            raise InvalidValue("expected a single value that is in the file")


def flag(value: object) -> bool:
    """Return a boolean, read as Go does."""
    try:
        return _FLAGS[text(value).lower()]
    except KeyError:
        raise InvalidValue("expected true or false") from None


def number(value: object) -> int:
    """Return an integer."""
    try:
        return int(text(value))
    except ValueError:
        raise InvalidValue("expected an integer") from None


def secret_of(value: object) -> tuple[str, str] | None:
    """Return the name of the Secret that contains the value, and of its entry there."""
    match value:
        case {"valueFrom": {"secretKeyRef": {"name": str(name), "key": str(key)}}}:
            return name, key
        case _:
            return None


def _mapping(value: object) -> dict[str, object]:
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return dict(value)
    raise InvalidValue("expected a mapping")


def _bind(value: object) -> str:
    port = number(value)
    if not 0 < port <= _LAST_PORT:
        raise InvalidValue(f"expected a port from 1 to {_LAST_PORT}")
    return f":{port}"


def _cordon_all() -> Entries:
    # A launch drains nothing.
    kinds = [kind for kind in ActionSettings.model_fields if kind != "autoscaling_launch"]
    return Entries({f"actions.{kind}": "cordon" for kind in kinds})


def _webhook(value: object) -> Entries:
    # Slack's format is the one that NTH posts by default.
    return Entries({"webhooks": [{"url": text(value), "template": "slack"}]})


def _webhook_in_secret(value: object) -> Entries:
    # The chart of NTH takes the name only, and expects the URL in this entry.
    name, key = secret_of(value) or (text(value), "webhookurl")
    if not (_SECRET_NAME.fullmatch(name) and _SECRET_KEY.fullmatch(key)):
        raise InvalidValue("expected the name of a Secret and of one of its entries")
    return Entries(
        {
            "webhooks": [{"url_file": f"{_WEBHOOKS}/{key}", "template": "slack"}],
            "chart:volumes": [{"name": "webhooks", "secret": {"secretName": name}}],
            "chart:volumeMounts": [{"name": "webhooks", "mountPath": _WEBHOOKS, "readOnly": True}],
        },
        note=f"the Secret {name} must be mounted at {_WEBHOOKS}",
    )


def _service_account(value: object) -> Entries:
    annotations = _mapping(_mapping(value).get("annotations") or {})
    role = annotations.pop(_ROLE, None)
    account = {
        "roleArn": text(role) if role else None,
        "annotations": {name: text(content) for name, content in annotations.items()},
    }
    return Entries({f"chart:serviceAccount.{key}": each for key, each in account.items() if each})


def _service_monitor(value: object) -> Entries:
    monitor = _mapping(value)
    entries: dict[str, object] = {}
    if monitor.get("create") is not None:
        entries["chart:serviceMonitor.enabled"] = flag(monitor["create"])
    if monitor.get("interval"):
        entries["chart:serviceMonitor.interval"] = text(monitor["interval"])
    if monitor.get("labels"):
        entries["chart:serviceMonitor.labels"] = _mapping(monitor["labels"])
    return Entries(entries)


def _watcher() -> Entries:
    # The chart would set the second one by itself, but a settings file needs it.
    return Entries({"chart:watcher.enabled": True, "sources.notices.enabled": True})


def _variables(value: object) -> Entries:
    variables = _mapping(value)
    if not all(map(reading.VARIABLE.fullmatch, variables)):
        raise InvalidValue("expected names of environment variables")
    return Entries({f"chart:env.{name}": content for name, content in variables.items()})


CONVERTERS: Mapping[str, Converter] = {
    "": text,
    "copy": lambda value: value,
    "nothing": lambda _: Entries({}),
    "watcher": lambda _: _watcher(),
    "cordon": lambda _: "cordon",
    "ignore": lambda _: "ignore",
    "flag": flag,
    "number": number,
    "lower case": lambda value: text(value).lower(),
    "port": _bind,
    "json or text": lambda value: "json" if flag(value) else "text",
    "delete or release": lambda value: "delete" if flag(value) else "release",
    "cordon all": lambda _: _cordon_all(),
    "observe": lambda _: "observe",
    "webhook": _webhook,
    "webhook in Secret": _webhook_in_secret,
    "service account": _service_account,
    "service monitor": _service_monitor,
    "variables": _variables,
}
