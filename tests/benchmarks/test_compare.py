"""Two runs side by side."""

import pathlib

import pytest
import typer

from benchmarks import compare, results
from benchmarks.figures import Row
from benchmarks.results import BenchmarkResults, Provenance

HERE = Provenance("c95ad71b5966", "2026-11-29", "2 cores", {"Python": "3.11.7"})


def _run(
    *seconds: float, name: str = "50 nodes", figure: str = "pods gone max"
) -> BenchmarkResults:
    return BenchmarkResults(
        HERE, {"storms": [Row(name, [{figure: each, "messages left": 0} for each in seconds])]}
    )


@pytest.mark.parametrize(
    ("after", "change", "verdict"),
    [
        ((3.8, 3.7, 3.75), "+1.4 %", "within noise"),
        ((2.5, 2.0, 2.4), "-35.1 %", "changed"),
        ((2.4,), "-35.1 %", "unknown: one round"),
    ],
)
def test_ranges_that_overlap_are_noise(after: tuple[float, ...], change: str, verdict: str) -> None:
    first, _ = compare.compare(_run(3.6, 3.9, 3.7).sections, _run(*after).sections)

    assert (first.row, first.figure) == ("storms: 50 nodes", "pods gone max")
    assert (first.change, first.verdict) == (change, verdict)


def test_a_change_from_zero_has_no_percentage() -> None:
    _, left = compare.compare(_run(3.6, 3.9).sections, _run(3.6, 3.9).sections)

    assert (left.figure, left.change, left.verdict) == ("messages left", "", "within noise")


@pytest.mark.parametrize(
    ("other", "figures"),
    [
        (_run(1.0, name="200 nodes"), []),
        (_run(1.0, figure="drained max"), ["messages left"]),
        (BenchmarkResults(HERE, {}), []),
    ],
    ids=["another row", "another figure", "no section"],
)
def test_what_one_run_lacks_is_not_compared(other: BenchmarkResults, figures: list[str]) -> None:
    compared = compare.compare(_run(1.0).sections, other.sections)

    assert [each.figure for each in compared] == figures


def test_the_command_compares_files(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    results.save(_run(3.6, 3.9, 3.7), old)
    results.save(_run(2.5, 2.0, 2.4), new)

    compare._main(old, new)

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "A: c95ad71b5966, 2 cores"
    assert lines[3].split("  ") == [
        "storms: 50 nodes", "pods gone max", "3.70 (3.60-3.90)", "2.40 (2.00-2.50)", "-35.1 %",
        "changed",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "reason"), [(None, "No such file"), ("{}", "it is not the JSON of a run")]
)
def test_a_file_that_cannot_be_read_is_named(
    text: str | None, reason: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "old.json"
    if text is not None:
        path.write_text(text)

    with pytest.raises(typer.Exit):
        compare._main(path, path)

    assert reason in capsys.readouterr().err
