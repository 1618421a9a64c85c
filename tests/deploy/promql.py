"""Holds PromQL against the metrics catalogue."""

import dataclasses
from collections.abc import Iterator, Mapping

import prometheus_client
import prometheus_client.metrics
import promql_parser

from queue_processor.domain import events, plan
from queue_processor.observability import metrics

# What Prometheus knows of a target, from the operator's ServiceMonitor.
_TARGET_LABELS = {"namespace", "service", "pod"}
_VALUES: Mapping[str, set[str]] = {
    "kind": {*events.EventKind, "none"},
    "outcome": set(plan.OutcomeKind),
    "ending": set(plan.Ending),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Series:
    """What Prometheus stores of a metric under one name.

    Attributes:
        values: What its labels can be, by the name of the label; nothing where no selector may
            ask for one value.
    """

    values: Mapping[str, set[str]]


def catalogue() -> dict[str, Series]:
    """The series of every metric in the catalogue, by name."""
    found: dict[str, Series] = {}
    for metric in vars(metrics).values():
        if isinstance(metric, prometheus_client.metrics.MetricWrapperBase):
            found |= _series_of(metric)
    return found


def _series_of(metric: prometheus_client.metrics.MetricWrapperBase) -> dict[str, Series]:
    own = Series({label: _VALUES.get(label, set()) for label in metric._labelnames})
    name = metric._name
    match metric:
        case prometheus_client.Counter():
            return {f"{name}_total": own}
        case prometheus_client.Histogram():
            bounds = {str(float(bound)) for bound in metric._kwargs["buckets"]}
            bucket = Series({**own.values, "le": {*bounds, "+Inf"}})
            return {f"{name}_bucket": bucket, f"{name}_count": own, f"{name}_sum": own}
        case _:
            return {name: own}


def faults_of(expression: str) -> list[str]:
    """What an expression names that the catalogue does not have.

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
    series = catalogue().get(selector.name or "")
    if series is None:
        yield f"no metric {selector.name}"
        return
    for label in sorted(grouped - series.values.keys()):
        yield f"{selector.name} has no label {label}"
    for matcher in selector.matchers.matchers:
        is_of_target = matcher.name in _TARGET_LABELS
        if not is_of_target and matcher.value not in series.values.get(matcher.name, set()):
            yield f"no {selector.name}{{{matcher.name}={matcher.value!r}}}"
