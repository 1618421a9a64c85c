"""What the API server refuses to store, as far as a drain can meet it."""

import re
from collections.abc import Iterator

from queue_processor.simulator.kube import objects, resources, statuses

FieldError = tuple[str, str, str]

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_SUBDOMAIN_LIMIT = 253
_SUBDOMAIN_RULE = (
    "lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric"
    f" character (e.g. 'example.com', regex used for validation is '{_SUBDOMAIN.pattern}')"
)
_EVENT_LIMITS = {"note": 1024, "reportingInstance": 128, "action": 128, "reason": 128}
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_POD_FIELDS_THAT_MAY_CHANGE = (
    "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,"
    "`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def check(
    resource: resources.Resource,
    name: str,
    body: objects.JsonObject,
    old: objects.JsonObject | None = None,
) -> None:
    """Check an object before it is stored; ``old`` is what it replaces.

    Raises:
        statuses.ApiError: 422 with every fault.
    """
    faults = [*_names(name, body), *_faults(resource, body, old)]
    if faults:
        # The real server has one Event behind both of its groups, and names that one.
        named = resources.CORE_EVENTS if resource is resources.EVENTS else resource
        raise statuses.invalid(named, name, faults)


def _names(name: str, body: objects.JsonObject) -> Iterator[FieldError]:
    """What is no DNS subdomain; in ``generateName`` only a dash may stand at the end.

    https://kubernetes.io/docs/concepts/overview/working-with-objects/names/#dns-subdomain-names
    """
    prefix = body["metadata"].get("generateName", "")
    given = {"metadata.generateName": re.sub("-$", "a", prefix), "metadata.name": name}
    for field, text in given.items():
        if text and not (_SUBDOMAIN.fullmatch(text) and len(text) <= _SUBDOMAIN_LIMIT):
            fault = f'Invalid value: "{text}": a lowercase RFC 1123 subdomain must consist of'
            yield field, "FieldValueInvalid", f"{fault} {_SUBDOMAIN_RULE}"


def _faults(
    resource: resources.Resource, body: objects.JsonObject, old: objects.JsonObject | None
) -> Iterator[FieldError]:
    if resource is resources.NODES:
        yield from _node(body, old)
    elif resource is resources.PODS and old is not None:
        yield from _pod_update(body, old)
    elif resource is resources.LEASES:
        yield from _lease(body)
    elif resource is resources.BUDGETS:
        yield from _budget(body)
    elif resource is resources.CORE_EVENTS:
        yield from _core_event(body)
    elif resource is resources.EVENTS:
        yield from _event(body)


def _node(body: objects.JsonObject, old: objects.JsonObject | None) -> Iterator[FieldError]:
    spec = body.get("spec") or {}
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate(spec.get("taints") or ()):
        # The real server says `metadata`, too.
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
    known = ((old or {}).get("spec") or {}).get("providerID")
    if known and spec.get("providerID") != known:
        text = 'Forbidden: node updates may not change providerID except from "" to valid'
        yield ("spec.providerID", "FieldValueForbidden", text)


def _duplicate(taint: objects.JsonObject) -> str:
    names = {"Key": "key", "Value": "value", "Effect": "effect", "TimeAdded": "timeAdded"}
    told = {name: taint.get(field, "") for name, field in names.items()}
    told["TimeAdded"] = told["TimeAdded"] or None
    value = objects.to_json(told).decode()
    return f"Duplicate value: {value}: taints must be unique by key and effect pair"


def _pod_update(body: objects.JsonObject, old: objects.JsonObject) -> Iterator[FieldError]:
    if _fixed_part(body) != _fixed_part(old):
        text = (
            "Forbidden: pod updates may not change fields other than " + _POD_FIELDS_THAT_MAY_CHANGE
        )
        yield ("spec", "FieldValueForbidden", text)
        return
    tolerations = (body.get("spec") or {}).get("tolerations") or []
    known = (old.get("spec") or {}).get("tolerations") or []
    if any(toleration not in tolerations for toleration in known):
        text = "Forbidden: existing toleration can not be modified except its tolerationSeconds"
        yield ("spec.tolerations", "FieldValueForbidden", text)


def _fixed_part(body: objects.JsonObject) -> objects.JsonObject:
    spec = dict(body.get("spec") or {})
    for name in ("activeDeadlineSeconds", "terminationGracePeriodSeconds", "tolerations"):
        spec.pop(name, None)
    for name in ("containers", "initContainers"):
        spec[name] = [{**container, "image": ""} for container in spec.get(name) or ()]
    return spec


def _lease(body: objects.JsonObject) -> Iterator[FieldError]:
    spec = body.get("spec") or {}
    duration, transitions = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    if duration is not None and duration <= 0:
        text = f"Invalid value: {duration}: must be greater than 0"
        yield ("spec.leaseDurationSeconds", "FieldValueInvalid", text)
    if transitions is not None and transitions < 0:
        text = f"Invalid value: {transitions}: must be greater than or equal to 0"
        yield ("spec.leaseTransitions", "FieldValueInvalid", text)


def _budget(body: objects.JsonObject) -> Iterator[FieldError]:
    spec = body.get("spec") or {}
    if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
        text = "Invalid value: minAvailable and maxUnavailable cannot be both set"
        yield ("spec", "FieldValueInvalid", text)
    policy = spec.get("unhealthyPodEvictionPolicy")
    if policy not in (None, "IfHealthyBudget", "AlwaysAllow"):
        allowed = '"AlwaysAllow", "IfHealthyBudget"'
        text = f'Unsupported value: "{policy}": supported values: {allowed}'
        yield ("spec.unhealthyPodEvictionPolicy", "FieldValueNotSupported", text)


def _core_event(body: objects.JsonObject) -> Iterator[FieldError]:
    told = (body.get("involvedObject") or {}).get("namespace") or ""
    namespace = body["metadata"].get("namespace") or ""
    # Events about cluster-wide objects live in the namespace `default`.
    if told != namespace and (told or namespace != "default"):
        yield _strange_namespace(told)


def _event(body: objects.JsonObject) -> Iterator[FieldError]:
    told = (body.get("regarding") or {}).get("namespace") or ""
    if not told and body["metadata"].get("namespace") not in ("default", "kube-system"):
        yield _strange_namespace(told)
    for name in ("eventTime", "reportingController", "reportingInstance", "action", "reason"):
        if not body.get(name):
            yield (name, "FieldValueRequired", "Required value")
    for name, limit in _EVENT_LIMITS.items():
        if len(str(body.get(name, "")).encode()) > limit:
            field = "message" if name == "note" else name
            yield _invalid_event(field, f"can have at most {limit} characters")
    if body.get("type") not in ("Normal", "Warning"):
        yield _invalid_event("type", f"has invalid value: {body.get('type', '')}")


def _strange_namespace(told: str) -> FieldError:
    text = f'Invalid value: "{told}": does not match event.namespace'
    return ("involvedObject.namespace", "FieldValueInvalid", text)


def _invalid_event(field: str, why: str) -> FieldError:
    """The real server does not repeat what was wrong."""
    return (field, "FieldValueInvalid", f'Invalid value: "": {why}')
