import pathlib
import re

import pytest

from tests import parts

TESTS = """
import pytest

def test_passes():
    pass

@pytest.mark.skip(reason="no go")
def test_skips():
    pass
"""
FAILS = """
def test_fails():
    assert False
"""
READY = f"""
def test_is_ready(record_testsuite_property):
    record_testsuite_property({parts.READY_PROPERTY!r}, "3.25")
"""
PASSES, BREAKS = (
    parts.Part(name, ("python", "-c", f"raise SystemExit({code})"))
    for name, code in (("passes", 0), ("breaks", 3))
)
PYTEST = parts.Part("tests", ("python", "-m", "pytest", "-q", "--import-mode=importlib"))


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    """A project with unit tests, one of them skipped, contract tests and cluster tests."""
    for kind in ("cluster", "contracts"):
        (tmp_path / "tests" / kind).mkdir(parents=True)
    (tmp_path / "tests" / "contracts" / "test_nodes.py").write_text("def test_agrees(): pass")
    (tmp_path / "pytest.ini").touch()
    (tmp_path / "tests" / "test_unit.py").write_text(TESTS)
    (tmp_path / "tests" / "cluster" / "test_plane.py").write_text(READY)
    return tmp_path


def ending_of(text: str) -> list[str]:
    """The table at the end and what stands below it, without the seconds."""
    _, _, after = text.rpartition("\npart ")
    return [re.sub(r"\s+\d+\.\d\s*", " ", line).strip() for line in after.splitlines()[1:]]


def test_all_parts_pass_and_the_last_lines_say_what_was_skipped(
    folder: pathlib.Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert parts.run([PASSES], PYTEST, folder=folder) == 0

    said = capfd.readouterr().out
    assert "3 passed, 1 skipped in " in said
    assert ending_of(said) == [
        "passes passed",
        "unit tests 1 passed, 1 skipped",
        "contract tests 1 passed",
        "cluster tests 1 passed",
        "from nothing to a running pod",
        "finding the tests",
        "1 UNIT TEST SKIPPED: no go",
    ]


def test_cluster_tests_that_are_skipped_are_told_last(
    folder: pathlib.Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "tests" / "cluster" / "test_plane.py").write_text(TESTS + TESTS.replace("s(", "t("))
    (folder / "tests" / "test_unit.py").unlink()

    assert parts.run([], PYTEST, folder=folder) == 0
    assert ending_of(capfd.readouterr().out)[-1] == "2 CLUSTER TESTS SKIPPED: no go"


@pytest.mark.parametrize(
    ("first", "tests", "told"),
    [
        ((BREAKS,), "", "breaks FAILED"),
        ((PASSES,), FAILS, "unit tests FAILED: 1 failed"),
        ((PASSES,), "import nothing_like_that", "unit tests FAILED: 1 error"),
    ],
)
def test_a_part_that_fails_is_told_and_fails_all_but_stops_no_other(
    folder: pathlib.Path,
    capfd: pytest.CaptureFixture[str],
    first: tuple[parts.Part, ...],
    tests: str,
    told: str,
) -> None:
    (folder / "tests" / "test_unit.py").write_text(tests)

    assert parts.run(first, PYTEST, folder=folder) == 1
    lines = ending_of(capfd.readouterr().out)
    assert told in lines
    assert any(line.startswith("cluster tests") for line in lines) or "error" in told


def test_tests_that_do_not_even_start_fail_all(
    folder: pathlib.Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\n")

    assert parts.run([PASSES], PYTEST, folder=folder) == 1
    assert ending_of(capfd.readouterr().out) == ["passes passed", "finding the tests FAILED"]


def test_the_checks_run_without_the_tests(
    folder: pathlib.Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert parts.run([PASSES, PASSES], None, folder=folder) == 0
    assert ending_of(capfd.readouterr().out) == ["passes passed", "passes passed"]
