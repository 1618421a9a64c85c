"""Validation of the objects that clients write in a drain.

Everything that the operator writes is validated; of other objects only the name is.
"""

import dataclasses
import re
from collections.abc import Iterator

from queue_processor.simulator.kube import objects, resources, statuses

# Field, reason and message of a cause.
FieldError = tuple[str, str, str]

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_SUBDOMAIN_LIMIT = 253
_SUBDOMAIN_RULE = (
    "lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric"
    f" character (e.g. 'example.com', regex used for validation is '{_SUBDOMAIN.pattern}')"
)
_EVENT_LIMITS = {"note": 1024, "reportingInstance": 128, "action": 128, "reason": 128}
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
# The real server has one Event behind its two API groups, and errors name the core one.
_CORE_EVENT = dataclasses.replace(resources.EVENTS, group="")


def check(
    resource: resources.Resource,
    name: str,
    body: objects.JsonObject,
) -> None:
    """Validate an object before it is stored.

    Raises:
        statuses.ApiError: 422 with every error.
    """
    errors = [*_names(name, body)]
    if resource is resources.NODES:
        errors += _node(body)
    elif resource is resources.LEASES:
        errors += _lease(body)
    elif resource is resources.EVENTS:
        errors += _event(body)
    if errors:
        named = _CORE_EVENT if resource is resources.EVENTS else resource
        raise statuses.invalid(named, name, errors)


def _names(name: str, body: objects.JsonObject) -> Iterator[FieldError]:
    """Check that names are DNS subdomains; a ``generateName`` may end with a dash.

    https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-subdomain-names
    """
    prefix = body["metadata"].get("generateName", "")
    names = {"metadata.generateName": re.sub("-$", "a", prefix), "metadata.name": name}
    for field, text in names.items():
        if text and not (_SUBDOMAIN.fullmatch(text) and len(text) <= _SUBDOMAIN_LIMIT):
            error = f'Invalid value: "{text}": a lowercase RFC 1123 subdomain must consist of'
            yield field, "FieldValueInvalid", f"{error} {_SUBDOMAIN_RULE}"


def _node(body: objects.JsonObject) -> Iterator[FieldError]:
    spec = body.get("spec") or {}
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate(spec.get("taints") or ()):
        # Not `spec`: this is the path in the errors of the real server.
        at = f"metadata.taints[{index}]"
        identity = (taint.get("key", ""), taint.get("effect", ""))
        if not identity[0]:
            yield (f"{at}.key", "FieldValueRequired", "Required value: name part must be non-empty")
        if identity[1] not in _EFFECTS:
            allowed = ", ".join(f'"{effect}"' for effect in _EFFECTS)
            text = f'Unsupported value: "{identity[1]}": supported values: {allowed}'
            yield (f"{at}.effect", "FieldValueNotSupported", text)
        if identity in seen:
            yield (at, "FieldValueDuplicate", _duplicate(taint))
        seen.add(identity)


def _duplicate(taint: objects.JsonObject) -> str:
    names = {"Key": "key", "Value": "value", "Effect": "effect", "TimeAdded": "timeAdded"}
    printed = {name: taint.get(field, "") for name, field in names.items()}
    printed["TimeAdded"] = printed["TimeAdded"] or None
    value = objects.to_json(printed).decode()
    return f"Duplicate value: {value}: taints must be unique by key and effect pair"


def _lease(body: objects.JsonObject) -> Iterator[FieldError]:
    spec = body.get("spec") or {}
    duration, transitions = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    if duration is not None and duration <= 0:
        text = f"Invalid value: {duration}: must be greater than 0"
        yield ("spec.leaseDurationSeconds", "FieldValueInvalid", text)
    if transitions is not None and transitions < 0:
        text = f"Invalid value: {transitions}: must be greater than or equal to 0"
        yield ("spec.leaseTransitions", "FieldValueInvalid", text)


def _event(body: objects.JsonObject) -> Iterator[FieldError]:
    namespace = (body.get("regarding") or {}).get("namespace") or ""
    # Events about cluster-scoped objects are in the namespace `default`.
    if not namespace and body["metadata"].get("namespace") not in ("default", "kube-system"):
        text = 'Invalid value: "": does not match event.namespace'
        yield ("involvedObject.namespace", "FieldValueInvalid", text)
    for name in ("eventTime", "reportingController", "reportingInstance", "action", "reason"):
        if not body.get(name):
            yield (name, "FieldValueRequired", "Required value")
    for name, limit in _EVENT_LIMITS.items():
        if len(str(body.get(name, "")).encode()) > limit:
            field = "message" if name == "note" else name
            yield _invalid_event(field, f"can have at most {limit} characters")
    if body.get("type") not in ("Normal", "Warning"):
        yield _invalid_event("type", f"has invalid value: {body.get('type', '')}")


def _invalid_event(field: str, why: str) -> FieldError:
    """Build an error; like the real server, it does not repeat the value."""
    return (field, "FieldValueInvalid", f'Invalid value: "": {why}')
