"""How metrics are made, so that each is listed with all that its labels can say."""

import dataclasses
import itertools
from collections.abc import Sequence

import prometheus_client
from prometheus_client import Counter, Gauge, Histogram, Info

# When a series was created is of no use to anybody here, and doubles what is scraped.
prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]  # it has no annotations


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """A label, and the values that it can have: always those of an enum.

    Attributes:
        described: What they are, where they cannot be listed.
    """

    name: str
    values: tuple[str, ...] = ()
    described: str = ""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A metric as it is listed.

    Attributes:
        name: As Prometheus shows it; a histogram's without its suffixes.
        kind: Counter, gauge, histogram or info.
        buckets: The upper bounds of a histogram, without the last, which has no end.
        begins: Whether all its series are there from the start.
    """

    name: str
    kind: str
    meaning: str
    labels: tuple[Label, ...] = ()
    buckets: tuple[float, ...] = ()
    begins: bool = True


class Catalogue:
    """Makes metrics, and keeps the list of them.

    The series of counters and histograms are there from the start, at 0: `increase()` does not
    see the step of a series that begins at 1, and the first dead letter is the one to be told
    about. Where the values of labels are so many that most series would stay at 0 for ever,
    `begins` is False, and a series appears with the first thing that it counts.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self.entries: list[Entry] = []

    def counter(self, name: str, meaning: str, *labels: Label, begins: bool = True) -> Counter:
        """A number that only grows; it is shown as `name_total`."""
        full = f"{self._prefix}_{name}"
        made = Counter(full, meaning, [label.name for label in labels])
        if begins:
            _begin(made, labels)
        self.entries.append(
            Entry(
                name=f"{full}_total",
                kind="counter",
                meaning=meaning,
                labels=labels,
                begins=begins,
            )
        )
        return made

    def gauge(self, name: str, meaning: str) -> Gauge:
        """A number that rises and falls."""
        full = f"{self._prefix}_{name}"
        made = Gauge(full, meaning)
        self.entries.append(Entry(name=full, kind="gauge", meaning=meaning))
        return made

    def histogram(
        self, name: str, meaning: str, *labels: Label, buckets: Sequence[float]
    ) -> Histogram:
        """Durations, in seconds, counted by how long they are."""
        full = f"{self._prefix}_{name}"
        made = Histogram(full, meaning, [label.name for label in labels], buckets=buckets)
        _begin(made, labels)
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
        """Facts that do not change while the process runs, as labels of a constant 1."""
        full = f"{self._prefix}_{name}"
        made = Info(full, meaning)
        made.info(facts)
        labels = tuple(Label(name=fact) for fact in facts)
        self.entries.append(Entry(name=f"{full}_info", kind="info", meaning=meaning, labels=labels))
        return made


def _begin(metric: Counter | Histogram, labels: Sequence[Label]) -> None:
    if labels:
        for values in itertools.product(*(label.values for label in labels)):
            metric.labels(*values)
