"""Writes the references: every metric, out of the catalogue that makes them.

`make docs` runs it; a test fails when a file is not what it would write.
"""

import pathlib
import textwrap
from collections.abc import Callable, Iterator, Mapping

from queue_processor.observability import metrics
from queue_processor.observability.catalogue import Entry, Label

DOCS = pathlib.Path(__file__).parent

_WIDTH = 100

_METRICS_HEAD = """\
# Metrics

Served at `/metrics` (setting `http.bind`), in the format of Prometheus. Made from
[the catalogue](../queue_processor/observability/metrics.py) by `make docs`; a test moves each of
them by what it counts.

Values of labels come from fixed lists, so the number of series is bounded. Unless it is said
otherwise, series are there from the start, at 0. With several replicas, the one that leads does
the work, and the others show 0 where nothing is counted yet: sum over the pods.
"""


def metrics_reference() -> str:
    """docs/metrics.md, as the catalogue has it."""
    entries = metrics.CATALOGUE.entries
    overview = ["| metric | type | labels |", "|---|---|---|"]
    for entry in entries:
        labels = ", ".join(f"`{label.name}`" for label in entry.labels)
        anchor = f"[`{entry.name}`](#{entry.name})"
        overview.append(f"| {anchor} | {entry.kind} | {labels} |")
    sections = ["\n".join(_section(entry)) for entry in entries]
    return "\n".join([_METRICS_HEAD, *overview, "", "\n\n".join(sections), ""])


def _section(entry: Entry) -> Iterator[str]:
    yield f"## {entry.name}"
    yield ""
    yield textwrap.fill(" ".join(_sentences(entry)), _WIDTH)
    if entry.labels or entry.buckets:
        yield ""
    for label in entry.labels:
        yield textwrap.fill(f"- `{label.name}`: {_values(label)}", _WIDTH, subsequent_indent="  ")
    if entry.buckets:
        yield f"- buckets, in seconds: {', '.join(f'{bound:g}' for bound in entry.buckets)}"


def _sentences(entry: Entry) -> Iterator[str]:
    yield entry.meaning
    if not entry.begins:
        yield "A series appears with the first thing that it counts."


def _values(label: Label) -> str:
    return label.described or ", ".join(f"`{value}`" for value in label.values) or "any"


REFERENCES: Mapping[str, Callable[[], str]] = {"metrics.md": metrics_reference}

if __name__ == "__main__":
    for name, made in REFERENCES.items():
        (DOCS / name).write_text(made(), encoding="utf-8")
