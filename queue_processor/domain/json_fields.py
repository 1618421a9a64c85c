"""The fields of untrusted JSON: each reader returns what is needed or raises MalformedMessage."""

import datetime as dt
import email.utils
import json
from collections.abc import Mapping
from typing import TypeAlias

from queue_processor.domain import errors, identifiers

_YEARS = range(1900, 2201)

JsonObject: TypeAlias = Mapping[str, object]


def load(text: str, where: str) -> JsonObject:
    """Read a JSON object; `where` names the text in errors."""
    try:
        loaded: object = json.loads(text)
    except RecursionError:
        raise errors.MalformedMessage(f"{where}: nested too deeply") from None
    except ValueError as cause:
        raise errors.MalformedMessage(f"{where}: not JSON: {cause}") from cause
    if not isinstance(loaded, dict):
        raise errors.MalformedMessage(f"{where}: not a JSON object")
    return loaded


def object_at(fields: JsonObject, key: str) -> JsonObject:
    """Return the object at a key."""
    value = fields.get(key)
    if not isinstance(value, dict):
        raise errors.MalformedMessage(f"{key}: {describe(value)}, where an object is needed")
    return value


def text_at(fields: JsonObject, key: str) -> str:
    """Return the text at a key."""
    value = fields.get(key)
    if not isinstance(value, str):
        raise errors.MalformedMessage(f"{key}: {describe(value)}, where a text is needed")
    return value


def optional_text_at(fields: JsonObject, key: str) -> str | None:
    """Return the text at a key; None if there is nothing."""
    return None if fields.get(key) is None else text_at(fields, key)


def name_at(fields: JsonObject, key: str) -> str:
    """Return the text at a key, which a request can contain."""
    value = text_at(fields, key)
    if not value:
        raise errors.MalformedMessage(f"{key}: empty")
    if not is_unicode(value):
        raise errors.MalformedMessage(f"{key}: {value[:60]!r} is no Unicode text")
    return value


def is_unicode(text: str) -> bool:
    """Return False for halves of surrogate pairs: JSON can spell them, requests cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def list_at(fields: JsonObject, key: str) -> list[object]:
    """Return a list; one value alone, as the capacity samples print it, is a list of one."""
    value = fields.get(key)
    match value:
        case None:
            return []
        case str():
            return [value]
        case list():
            return list(value)
        case _:
            raise errors.MalformedMessage(f"{key}: {describe(value)}, where a list is needed")


def instance_id_at(fields: JsonObject, key: str) -> identifiers.InstanceId:
    """Return the instance id at a key."""
    text = text_at(fields, key)
    instance_id = identifiers.parse_instance_id(text)
    if instance_id is None:
        raise errors.MalformedMessage(f"{key}: {text[:60]!r} is no instance id")
    return instance_id


def describe(value: object) -> str:
    """Return what a value is, for an error."""
    return "missing" if value is None else f"a {type(value).__name__}"


def read_time(text: str) -> dt.datetime | None:
    """Read an ISO 8601 time, or an RFC 1123 one as AWS Health writes it; None if neither.

    A time that is centuries away is none either: sums with it overflow.
    """
    try:
        read = dt.datetime.fromisoformat(text)
    except ValueError:
        try:
            read = email.utils.parsedate_to_datetime(text)
        # A number of twenty digits is no field of a date, and the parser says so differently.
        except (ValueError, OverflowError):
            return None
    try:
        moment = read.replace(tzinfo=dt.UTC) if read.tzinfo is None else read.astimezone(dt.UTC)
    except OverflowError:
        return None
    return moment if moment.year in _YEARS else None


def iso_time(moment: dt.datetime) -> str:
    """Return a time in whole seconds of UTC, as AWS and Kubernetes print it."""
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
