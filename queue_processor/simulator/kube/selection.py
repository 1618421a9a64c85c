"""Select the objects of a list or watch, by field selectors and label selectors.

https://kubernetes.io/docs/concepts/overview/working-with-objects/field-selectors/
"""

import dataclasses
import re
from collections.abc import Sequence
from typing import cast

from queue_processor.domain import errors, selectors
from queue_processor.simulator.kube import objects, resources, statuses

_TERM = re.compile(r"(?P<label>[^=!]+)(?P<operator>==|=|!=)(?P<value>.*)")


def parse_labels(text: str) -> selectors.LabelSelector:
    """Parse the query parameter ``labelSelector``.

    Raises:
        statuses.ApiError: 400.
    """
    try:
        return selectors.parse(text)
    except errors.ConfigurationError as error:
        raise statuses.bad_request(f"unable to parse requirement: {error}") from error


@dataclasses.dataclass(frozen=True, slots=True)
class FieldTerm:
    """Compares a field with a text."""

    path: list[str]
    absent: str
    value: str
    negated: bool

    def matches(self, body: objects.JsonObject) -> bool:
        """Return True if the object meets it."""
        value: object = body
        for step in self.path:
            value = cast("dict[str, object]", value).get(step) if isinstance(value, dict) else None
        return (_as_text(value, self.absent) == self.value) is not self.negated


def _as_text(value: object, absent: str) -> str:
    if value is None:
        return absent
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


@dataclasses.dataclass(frozen=True, slots=True)
class FieldSelector:
    """Terms that must all match; without terms it matches everything."""

    terms: tuple[FieldTerm, ...] = ()

    def matches(self, body: objects.JsonObject) -> bool:
        """Return True if the object meets every term."""
        return all(term.matches(body) for term in self.terms)

    def exact(self, label: str) -> str | None:
        """Return the one value that the selector requires of a field, if it requires one."""
        path = label.split(".")
        values = [term.value for term in self.terms if term.path == path and not term.negated]
        return values[0] if values else None


def parse_fields(text: str, resource: resources.Resource) -> FieldSelector:
    """Parse the query parameter ``fieldSelector`` for a resource.

    Raises:
        statuses.ApiError: 400, also for a field that cannot be selected by.
    """
    terms = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        match = _TERM.fullmatch(part)
        if match is None:
            raise statuses.bad_request(f"invalid selector: '{text}'; can't understand '{part}'")
        label = match["label"].strip()
        absent, negated = _absent_text(resource, label), match["operator"] == "!="
        terms.append(FieldTerm(label.split("."), absent, match["value"].strip(), negated))
    return FieldSelector(tuple(terms))


def _absent_text(resource: resources.Resource, label: str) -> str:
    if label == "metadata.name" or (label == "metadata.namespace" and resource.namespaced):
        return ""
    if label in resource.fields:
        return resource.fields[label]
    if resource.fields:
        raise statuses.bad_request(f"field label not supported: {label}")
    raise statuses.bad_request(
        f'"{label}" is not a known field selector: only "metadata.name", "metadata.namespace"'
    )


@dataclasses.dataclass(frozen=True, slots=True)
class ObjectSelector:
    """Selects objects of a resource; an empty namespace means all namespaces."""

    resource: resources.Resource
    namespace: str = ""
    labels: selectors.LabelSelector = dataclasses.field(default_factory=selectors.LabelSelector)
    fields: FieldSelector = dataclasses.field(default_factory=FieldSelector)

    @property
    def selects_all(self) -> bool:
        """Return True without label and field selectors."""
        return not self.labels.requirements and not self.fields.terms

    def matches(self, stored: objects.Stored) -> bool:
        """Return True if the object is selected."""
        return (
            (not self.namespace or stored.namespace == self.namespace)
            and (not self.fields.terms or self.fields.matches(stored.body))
            and (not self.labels.requirements or self.labels.selects(stored.labels))
        )

    def among(self, candidates: Sequence[objects.Stored]) -> list[objects.Stored]:
        """Return the selected objects, in the same order."""
        return [stored for stored in candidates if self.matches(stored)]
