"""Medians and ranges of rounds, and the rows of the tables."""

import pytest

from benchmarks.figures import Row, Rows, Summary


def test_a_summary_has_the_median_and_the_range() -> None:
    assert Summary.of([3.9, 3.6, 3.7]) == Summary(median=3.7, low=3.6, high=3.9, rounds=3)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([3.9, 3.6, 3.71], "3.71 (3.60-3.90)"),
        ([57.04], "57.0"),
        ([0.0312, 0.0298], "0.0305 (0.0298-0.0312)"),
        ([500, 500, 500], "500"),
        ([1, 0, 0], "0 (0-1)"),
        ([1234.5, 1234.4], "1234"),
    ],
)
def test_a_summary_shows_three_digits_and_the_range(values: list[float], text: str) -> None:
    assert str(Summary.of(values)) == text


@pytest.mark.parametrize(
    ("other", "overlaps"),
    [([3.9, 4.5], True), ([3.0, 5.0], True), ([3.65], True), ([3.95, 4.5], False), ([1, 2], False)],
)
def test_ranges_overlap_if_they_have_a_value_in_common(
    other: list[float], *, overlaps: bool
) -> None:
    ours, theirs = Summary.of([3.6, 3.9]), Summary.of(other)
    assert ours.overlaps(theirs) is overlaps
    assert theirs.overlaps(ours) is overlaps


def test_a_row_gets_a_round_after_the_other() -> None:
    rows = Rows()
    rows.add("storms", "50 nodes", {"cordoned": 0.3})
    rows.add("storms", "200 nodes", {"cordoned": 1.0})
    rows.add("storms", "50 nodes", {"cordoned": 0.5, "request: watch pods": 1})

    first, second = rows.sections()["storms"]
    assert [first.name, second.name] == ["50 nodes", "200 nodes"]
    assert first.summary("cordoned") == Summary(0.4, 0.3, 0.5, 2)
    assert first.summary("request: watch pods").rounds == 1
    assert first.names == ["cordoned", "request: watch pods"]


def test_a_row_that_is_skipped_says_why() -> None:
    rows = Rows()
    rows.skip("limits", "50 nodes", "skipped: read-only file system")

    assert rows.sections() == {"limits": [Row("50 nodes", note="skipped: read-only file system")]}
    rows.add("limits", "50 nodes", {"ready": 9.0})
    (row,) = rows.sections()["limits"]
    assert row.note
    assert row.summary("ready").rounds == 1
