"""The webhook of NTH: it has one, and posts what Slack takes."""

import dataclasses
import json
import re

from queue_processor.settings.nth.rules import (
    Answer,
    Fate,
    Given,
    InSecret,
    NotAllowed,
    Place,
    text,
    unsupported,
)

TEMPLATE = unsupported(
    "templates are Jinja2, in a file that `webhooks[].template` names (docs/webhooks.md); until"
    " then it is `slack`"
)

_FOLDER = "/etc/queue-processor/webhooks"
_VOLUME = "webhooks"
_DEFAULT_HEADERS = {"content-type": "application/json"}
# https://kubernetes.io/docs/concepts/configuration/secret/#restriction-names-data
_ENTRY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
_SECRET = re.compile(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?")


@dataclasses.dataclass(frozen=True, slots=True)
class Address:
    """Where the webhook is, which is a secret."""

    def answer(self, value: object, given: Given) -> Answer:
        """Name the URL, or the file in which a Secret is mounted."""
        del given
        if not isinstance(value, InSecret):
            why = "whoever knows the URL may post there: a Secret, named in `url_file`, is better"
            return _answer({"url": text(value)}, why, {})
        is_file = _ENTRY.fullmatch(value.key) and value.key not in {".", ".."}
        if not _SECRET.fullmatch(value.name) or not is_file:
            raise NotAllowed("the name of a Secret and of one of its entries is needed")
        chart: dict[Place, object] = {
            ("volumes",): [{"name": _VOLUME, "secret": {"secretName": value.name}}],
            ("volumeMounts",): [{"name": _VOLUME, "mountPath": _FOLDER, "readOnly": True}],
        }
        why = f"the Secret {value.name} has to be mounted at {_FOLDER}"
        return _answer({"url_file": f"{_FOLDER}/{value.key}"}, why, chart)

    def described(self) -> str:
        """The names of our settings."""
        return (
            "`webhooks[].url`, or `url_file` where the URL lies in a Secret; `template` becomes"
            " `slack`, the shape that NTH posts by default"
        )


def _answer(address: dict[str, str], why: str, chart: dict[Place, object]) -> Answer:
    webhook = {**address, "template": "slack"}
    return Answer(fate=Fate.MAPPED, why=why, settings={("webhooks",): [webhook]}, chart=chart)


@dataclasses.dataclass(frozen=True, slots=True)
class SecretAddress:
    """The Secret in which NTH's chart looks for the URL."""

    def answer(self, value: object, given: Given) -> Answer:
        """Name the file in which the Secret is mounted."""
        return Address().answer(InSecret(text(value), "webhookurl"), given)

    def described(self) -> str:
        """The name of our setting."""
        return "`webhooks[].url_file`, with `volumes` and `volumeMounts` of the chart"


@dataclasses.dataclass(frozen=True, slots=True)
class Headers:
    """The headers, which may hold secrets."""

    def answer(self, value: object, given: Given) -> Answer:
        """Leave them out, and say where they belong."""
        del given
        try:
            headers = json.loads(text(value))
        except (ValueError, RecursionError):
            headers = None
        if isinstance(headers, dict):
            named = {str(name).lower(): content for name, content in headers.items()}
            if named == _DEFAULT_HEADERS:
                return Answer(fate=Fate.NEEDLESS, why="what is posted is always JSON")
        return Answer(fate=Fate.DIFFERENT, why=self.described())

    def described(self) -> str:
        """What to do about them."""
        return (
            "not taken over, for they may hold secrets: put them into a file, `Name: value` a line,"
            " and name it in `webhooks[].headers_file`"
        )
