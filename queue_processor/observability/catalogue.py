"""Create metrics, and list them with their label values for the reference."""

import dataclasses
import itertools
from collections.abc import Sequence

import prometheus_client
from prometheus_client import Counter, Gauge, Histogram, Info

# Nobody uses the creation times of series, and they would double the size of a scrape.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # it has no annotations


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A label and its possible values, which come from an enum.

    Attributes:
        described: A description of the values, if they are too many to list.
    """

    name: str
    values: tuple[str, ...] = ()
    described: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """An entry of the catalogue.

    Attributes:
        name: The name in Prometheus, without the suffixes of a histogram.
        kind: Counter, gauge, histogram or info.
        buckets: The upper bounds of a histogram, without `+Inf`.
        preset: True if all its series exist from the start.
    """

    name: str
    kind: str
    meaning: str
    labels: tuple[Label, ...] = ()
    buckets: tuple[float, ...] = ()
    preset: bool = True


class Catalogue:
    """Creates metrics and keeps the list of them.

    The series of counters and histograms exist from the start, at 0: `increase()` ignores the step
    of a series that starts at 1, and the first dead letter must raise an alert. If the labels have
    so many values that most series would stay at 0 forever, `preset` is False, and a series exists
    once it counts something.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self.entries: list[Entry] = []

    def counter(self, name: str, meaning: str, *labels: Label, preset: bool = True) -> Counter:
        """Create a counter; Prometheus shows it as `name_total`."""
        full = f"{self._prefix}_{name}"
        made = Counter(full, meaning, [label.name for label in labels])
        if preset:
            _preset(made, labels)
        self.entries.append(
            Entry(
                name=f"{full}_total",
                kind="counter",
                meaning=meaning,
                labels=labels,
                preset=preset,
            )
        )
        return made

    def gauge(self, name: str, meaning: str, *labels: Label) -> Gauge:
        """Create a gauge."""
        full = f"{self._prefix}_{name}"
        made = Gauge(full, meaning, [label.name for label in labels])
        _preset(made, labels)
        self.entries.append(Entry(name=full, kind="gauge", meaning=meaning, labels=labels))
        return made

    def histogram(
        self, name: str, meaning: str, *labels: Label, buckets: Sequence[float]
    ) -> Histogram:
        """Create a histogram of durations in seconds."""
        full = f"{self._prefix}_{name}"
        made = Histogram(full, meaning, [label.name for label in labels], buckets=buckets)
        _preset(made, labels)
        self.entries.append(
            Entry(
                name=full,
                kind="histogram",
                meaning=meaning,
                labels=labels,
                buckets=tuple(buckets),
            )
        )
        return made

    def info(self, name: str, meaning: str, **facts: str) -> Info:
        """Create labels of a constant 1, for facts that do not change while the process runs."""
        full = f"{self._prefix}_{name}"
        made = Info(full, meaning)
        made.info(facts)
        labels = tuple(Label(name=fact) for fact in facts)
        self.entries.append(Entry(name=f"{full}_info", kind="info", meaning=meaning, labels=labels))
        return made


def _preset(metric: Counter | Gauge | Histogram, labels: Sequence[Label]) -> None:
    if labels:
        for values in itertools.product(*(label.values for label in labels)):
            metric.labels(*values)
