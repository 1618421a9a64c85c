"""Label and field selectors.

https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors
https://kubernetes.io/docs/concepts/overview/working-with-objects/field-selectors/
"""

import dataclasses
import enum
import re
from collections.abc import Mapping, Sequence
from typing import cast

from queue_processor.simulator.kube import objects, resources, statuses

_COMMA_OUTSIDE_BRACKETS = re.compile(r",(?![^()]*\))")
_KEY = r"(?P<key>[A-Za-z0-9][-A-Za-z0-9_./]*)"
_SET = re.compile(_KEY + r"\s+(?P<operator>in|notin)\s*\((?P<values>[^()]*)\)")
_EQUALITY = re.compile(_KEY + r"\s*(?P<operator>==|=|!=)\s*(?P<values>[-A-Za-z0-9_.]*)")
_PRESENCE = re.compile(r"(?P<absent>!?)\s*" + _KEY)
_FIELD = re.compile(r"(?P<label>[^=!]+)(?P<operator>==|=|!=)(?P<value>.*)")


class Operator(enum.Enum):
    """How a requirement compares, in the words of ``matchExpressions``."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


@dataclasses.dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on the labels."""

    key: str
    operator: Operator
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels meet it."""
        match self.operator:
            case Operator.IN:
                return labels.get(self.key) in self.values
            case Operator.NOT_IN:
                return self.key not in labels or labels[self.key] not in self.values
            case Operator.EXISTS:
                return self.key in labels
            case Operator.DOES_NOT_EXIST:
                return self.key not in labels


@dataclasses.dataclass(frozen=True, slots=True)
class LabelSelector:
    """Conditions that must all hold; none at all match everything."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels meet every condition."""
        return all(requirement.matches(labels) for requirement in self.requirements)


def parse_labels(text: str) -> LabelSelector:
    """Read the query parameter ``labelSelector``.

    Raises:
        statuses.ApiError: 400 when it cannot be understood.
    """
    parts = [part.strip() for part in _COMMA_OUTSIDE_BRACKETS.split(text)] if text.strip() else []
    return LabelSelector(tuple(_parse_requirement(part) for part in parts))


def _parse_requirement(part: str) -> Requirement:
    if found := _SET.fullmatch(part):
        operator = Operator.IN if found["operator"] == "in" else Operator.NOT_IN
        values = frozenset(value.strip() for value in found["values"].split(","))
        return Requirement(found["key"], operator, values)
    if found := _EQUALITY.fullmatch(part):
        operator = Operator.NOT_IN if found["operator"] == "!=" else Operator.IN
        return Requirement(found["key"], operator, frozenset({found["values"]}))
    if found := _PRESENCE.fullmatch(part):
        operator = Operator.DOES_NOT_EXIST if found["absent"] else Operator.EXISTS
        return Requirement(found["key"], operator)
    raise statuses.bad_request(f'unable to parse requirement: found "{part}"')


def from_object(selector: objects.JsonObject | None) -> LabelSelector | None:
    """Read a LabelSelector object; ``None`` (which selects nothing) when there is none."""
    if selector is None:
        return None
    requirements = [
        Requirement(key, Operator.IN, frozenset({value}))
        for key, value in (selector.get("matchLabels") or {}).items()
    ]
    requirements += [
        Requirement(
            expression["key"],
            Operator(expression["operator"]),
            frozenset(expression.get("values") or ()),
        )
        for expression in selector.get("matchExpressions") or ()
    ]
    return LabelSelector(tuple(requirements))


@dataclasses.dataclass(frozen=True, slots=True)
class FieldTerm:
    """One comparison of a field with a text."""

    label: str
    path: tuple[str, ...]
    absent: str
    value: str
    negated: bool

    def matches(self, body: objects.JsonObject) -> bool:
        """Whether the object meets it."""
        found: object = body
        for step in self.path:
            found = cast("dict[str, object]", found).get(step) if isinstance(found, dict) else None
        return (_as_text(found, self.absent) == self.value) is not self.negated


def _as_text(value: object, absent: str) -> str:
    if value is None:
        return absent
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


@dataclasses.dataclass(frozen=True, slots=True)
class FieldSelector:
    """Comparisons that must all hold; none at all match everything."""

    terms: tuple[FieldTerm, ...] = ()

    def matches(self, body: objects.JsonObject) -> bool:
        """Whether the object meets every comparison."""
        return all(term.matches(body) for term in self.terms)

    def exact(self, label: str) -> str | None:
        """The value that the selector demands of a field, if it demands just one."""
        values = [term.value for term in self.terms if term.label == label and not term.negated]
        return values[0] if values else None


def parse_fields(text: str, resource: resources.Resource) -> FieldSelector:
    """Read the query parameter ``fieldSelector`` for a resource.

    Raises:
        statuses.ApiError: 400 when it cannot be understood or names a field that the resource
            does not offer.
    """
    terms = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        found = _FIELD.fullmatch(part)
        if found is None:
            raise statuses.bad_request(f"invalid selector: '{text}'; can't understand '{part}'")
        label = found["label"].strip()
        field = _offered(resource, label)
        negated = found["operator"] == "!="
        terms.append(FieldTerm(label, field.path, field.absent, found["value"].strip(), negated))
    return FieldSelector(tuple(terms))


def _offered(resource: resources.Resource, label: str) -> resources.Field:
    if label == "metadata.name" or (label == "metadata.namespace" and resource.namespaced):
        return resources.Field(tuple(label.split(".")))
    if label in resource.fields:
        return resource.fields[label]
    if resource.fields:
        raise statuses.bad_request(f"field label not supported: {label}")
    raise statuses.bad_request(
        f'"{label}" is not a known field selector: only "metadata.name", "metadata.namespace"'
    )


@dataclasses.dataclass(frozen=True, slots=True)
class ObjectSelector:
    """Which objects of a resource a list or watch is about; an empty namespace means all."""

    resource: resources.Resource
    namespace: str = ""
    labels: LabelSelector = dataclasses.field(default_factory=LabelSelector)
    fields: FieldSelector = dataclasses.field(default_factory=FieldSelector)

    def matches(self, stored: objects.Stored) -> bool:
        """Whether the object belongs to the selection."""
        return (
            (not self.namespace or stored.namespace == self.namespace)
            and (not self.fields.terms or self.fields.matches(stored.body))
            and (not self.labels.requirements or self.labels.matches(stored.labels))
        )

    def among(self, candidates: Sequence[objects.Stored]) -> list[objects.Stored]:
        """The objects that belong to the selection, in the given order."""
        return [stored for stored in candidates if self.matches(stored)]
