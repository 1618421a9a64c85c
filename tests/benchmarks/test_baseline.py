"""The search for the concurrency at which bare evictions are fastest."""

import pytest

from benchmarks import baseline


@pytest.mark.parametrize(
    ("seconds", "tried", "best"),
    [
        ({12: 5.0, 24: 3.0, 48: 2.5, 96: 2.6}, [12, 24, 48, 96], 48),
        ({12: 5.0, 24: 5.5}, [12, 24], 12),
        # A gain of a percent ends the search, and is still the best.
        ({12: 5.0, 24: 4.95}, [12, 24], 24),
        # The API server refuses twice as many.
        ({12: 9.0, 24: 7.0, 48: 5.0, 96: 3.0, 192: 2.0}, [12, 24, 48, 96, 192], 192),
    ],
    ids=["a valley", "the least", "hardly better", "the most"],
)
async def test_concurrency_doubles_until_that_is_no_gain(
    seconds: dict[int, float], tried: list[int], best: int
) -> None:
    async def measure(at_once: int) -> float:
        return seconds[at_once]

    curve = await baseline.concurrency_curve(measure)

    assert list(curve) == tried
    assert baseline.best_concurrency(curve) == best
