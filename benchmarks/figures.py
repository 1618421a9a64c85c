"""Figures of several rounds, and the rows of the tables: the median, and the range."""

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Self, TypeAlias

#: What one round measured, by the name that is the head of its column.
Figures: TypeAlias = Mapping[str, float]


@dataclasses.dataclass(frozen=True, slots=True)
class Summary:
    """One figure over all rounds.

    Attributes:
        rounds: How many rounds have it.
    """

    median: float
    low: float
    high: float
    rounds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Summarize the values of the rounds, which are positive or zero, and at least one."""
        return cls(statistics.median(values), min(values), max(values), len(values))

    def overlaps(self, other: "Summary") -> bool:
        """Return True if the ranges of two figures have a value in common."""
        return self.low <= other.high and other.low <= self.high

    def __str__(self) -> str:
        """Show three digits, or whole numbers, and the range unless all rounds look the same."""
        values = (self.median, self.low, self.high)
        if all(float(each).is_integer() for each in values):
            digits = 0
        else:
            digits = max(0, 2 - math.floor(math.log10(self.high)))
        median, low, high = (f"{each:.{digits}f}" for each in values)
        return median if low == high else f"{median} ({low}-{high})"


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """A row of a table.

    Attributes:
        note: Why a round has no figures.
    """

    name: str
    rounds: Sequence[Figures] = ()
    note: str = ""

    @property
    def names(self) -> Sequence[str]:
        """Return the names of the figures, in the order in which they were measured."""
        return list(dict.fromkeys(name for figures in self.rounds for name in figures))

    def summary(self, name: str) -> Summary:
        """Summarize a figure over the rounds that have it."""
        return Summary.of([figures[name] for figures in self.rounds if name in figures])


class Rows:
    """The rows of each section, in the order in which they came."""

    def __init__(self) -> None:
        self._sections: dict[str, dict[str, Row]] = {}

    def add(self, section: str, name: str, figures: Figures) -> None:
        """Add what a round measured to a row."""
        row = self._row(section, name)
        self._put(section, dataclasses.replace(row, rounds=(*row.rounds, figures)))

    def skip(self, section: str, name: str, reason: str) -> None:
        """Note in a row why a round has no figures."""
        self._put(section, dataclasses.replace(self._row(section, name), note=reason))

    def _row(self, section: str, name: str) -> Row:
        return self._sections.get(section, {}).get(name, Row(name))

    def _put(self, section: str, row: Row) -> None:
        self._sections.setdefault(section, {})[row.name] = row

    def sections(self) -> Mapping[str, Sequence[Row]]:
        """Return the rows so far."""
        return {section: list(rows.values()) for section, rows in self._sections.items()}
