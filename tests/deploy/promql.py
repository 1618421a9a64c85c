"""Holds PromQL against the metrics catalogue."""

from collections.abc import Iterator, Mapping
from typing import TypeAlias

import promql_parser

from queue_processor.observability import metrics
from queue_processor.observability.catalogue import Entry

# The labels of a target, from the ServiceMonitor.
_TARGET_LABELS = {"namespace", "service", "pod"}

Labels: TypeAlias = Mapping[str, set[str]]
"""The possible values of labels, by label."""


def catalogue() -> dict[str, Labels]:
    """Return the series of every metric in the catalogue, by their names in Prometheus."""
    return {
        name: labels
        for entry in metrics.CATALOGUE.entries
        for name, labels in _series_of(entry).items()
    }


def _series_of(entry: Entry) -> dict[str, Labels]:
    own = {label.name: set(label.values) for label in entry.labels}
    if not entry.buckets:
        return {entry.name: own}
    bounds = {*(str(float(bound)) for bound in entry.buckets), "+Inf"}
    bucket = {**own, "le": bounds}
    return {f"{entry.name}_bucket": bucket, f"{entry.name}_count": own, f"{entry.name}_sum": own}


def faults_of(expression: str) -> list[str]:
    """Return the names in an expression that are not in the catalogue.

    Raises:
        ValueError: It is not PromQL.
    """
    selectors: list[promql_parser.VectorSelector] = []
    grouped: set[str] = set()

    def visit(part: promql_parser.Expr) -> None:
        match part:
            case promql_parser.VectorSelector():
                selectors.append(part)
            case promql_parser.AggregateExpr() if part.modifier is not None:
                grouped.update(part.modifier.labels)

    promql_parser.walk(promql_parser.parse(expression), visit)
    if not selectors:
        return ["no metric at all"]
    return [fault for selector in selectors for fault in _faults_of(selector, grouped)]


def _faults_of(selector: promql_parser.VectorSelector, grouped: set[str]) -> Iterator[str]:
    labels = catalogue().get(selector.name or "")
    if labels is None:
        yield f"no metric {selector.name}"
        return
    for label in sorted(grouped - labels.keys()):
        yield f"{selector.name} has no label {label}"
    for matcher in selector.matchers.matchers:
        is_of_target = matcher.name in _TARGET_LABELS
        if not is_of_target and matcher.value not in labels.get(matcher.name, set()):
            yield f"no {selector.name}{{{matcher.name}={matcher.value!r}}}"
