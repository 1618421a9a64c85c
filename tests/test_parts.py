import pathlib
import re
from collections.abc import Sequence

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
def test_is_ready(record_property):
    record_property({parts.READY_PROPERTY!r}, "3.25")
"""
PASSES, BREAKS = (
    parts.Part(name, ("python", "-c", f"raise SystemExit({code})"))
    for name, code in (("passes", 0), ("breaks", 3))
)
PYTEST = parts.Part(
    "tests",
    ("python", "-m", "pytest", "-q", "-n", "2", "--import-mode=importlib"),
    is_pytest=True,
)


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    """A project with tests in two folders and in none; one test is skipped."""
    for kind in ("cluster", "contracts"):
        (tmp_path / "tests" / kind).mkdir(parents=True)
    (tmp_path / "tests" / "contracts" / "test_nodes.py").write_text("def test_agrees(): pass")
    (tmp_path / "pytest.ini").touch()
    (tmp_path / "tests" / "test_free.py").write_text(TESTS)
    (tmp_path / "tests" / "cluster" / "test_plane.py").write_text(READY)
    return tmp_path


def ending_of(text: str) -> list[str]:
    """The last table and what is below it, without the seconds."""
    _, _, after = text.rpartition("\npart ")
    lines = [re.sub(r"\s+\d+\.\d\s*", " ", line).strip() for line in after.splitlines()[1:]]
    return [line for line in lines if line]


def test_all_parts_pass_and_the_last_lines_name_what_was_skipped(
    folder: pathlib.Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert parts.run([PASSES, PYTEST], folder=folder) == 0

    out = capfd.readouterr().out
    assert " tests | 3 passed, 1 skipped in " in out
    assert ending_of(out) == [
        "passes passed",
        "tests passed",
        "from nothing to a running pod",
        "all, side by side",
        "tests 1 passed, 1 skipped",
        "tests/cluster 1 passed",
        "tests/contracts 1 passed",
        "1 TEST IN TESTS SKIPPED: no go",
    ]


def test_the_slowest_tests_are_listed(
    folder: pathlib.Path, capfd: pytest.CaptureFixture[str]
) -> None:
    many = "import pytest\n@pytest.mark.parametrize('n', range(20))\ndef test_many(n): pass\n"
    slow = "import time\ndef test_slow(): time.sleep(0.5)\n"
    (folder / "tests" / "test_free.py").write_text(many + slow)

    assert parts.run([PYTEST], folder=folder) == 0
    _, _, after = capfd.readouterr().out.partition("\nslowest tests\n")
    table, _, _ = after.partition("\n\n")
    rows = table.splitlines()
    assert len(rows) == 10
    assert re.fullmatch(r" +\d\.\d  tests\.test_free::test_slow", rows[0])


def test_tests_that_are_skipped_are_the_last_line(
    folder: pathlib.Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "tests" / "cluster" / "test_plane.py").write_text(TESTS + TESTS.replace("s(", "t("))
    (folder / "tests" / "test_free.py").unlink()

    assert parts.run([PYTEST], folder=folder) == 0
    assert ending_of(capfd.readouterr().out)[-1] == "2 TESTS IN TESTS/CLUSTER SKIPPED: no go"


@pytest.mark.parametrize(
    ("first", "tests", "row"),
    [
        (BREAKS, "", "breaks FAILED"),
        (PASSES, FAILS, "tests FAILED: 1 failed"),
        (PASSES, "import nothing_like_that", "tests FAILED: 1 error"),
    ],
)
def test_a_part_that_fails_fails_all_and_stops_no_other(
    folder: pathlib.Path,
    capfd: pytest.CaptureFixture[str],
    first: parts.Part,
    tests: str,
    row: str,
) -> None:
    (folder / "tests" / "test_free.py").write_text(tests)

    assert parts.run([first, PYTEST], folder=folder) == 1
    lines = ending_of(capfd.readouterr().out)
    assert row in lines
    assert any(line.startswith("tests/cluster") for line in lines) or "error" in row


def test_the_last_line_names_the_test_that_failed_and_why(
    folder: pathlib.Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "tests" / "test_free.py").write_text(FAILS)

    assert parts.run([PYTEST], folder=folder) == 1
    *_, last = capfd.readouterr().out.rstrip().splitlines()
    assert last == "FAILED tests.test_free::test_fails: assert False"


def test_tests_that_do_not_even_start_fail_all(
    folder: pathlib.Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\n")

    assert parts.run([PASSES, PYTEST], folder=folder) == 1
    assert ending_of(capfd.readouterr().out) == [
        "passes passed",
        "tests FAILED",
        "all, side by side",
    ]


def writes(name: str, *, after: Sequence[parts.Part] = ()) -> parts.Part:
    """A part that writes what it finds in its folder to a file of its name."""
    code = f"import os; names = sorted(os.listdir()); open({name!r}, 'w').write(' '.join(names))"
    return parts.Part(name, ("python", "-c", code), after=after)


def test_a_part_starts_when_those_before_it_have_ended_even_if_they_failed(
    tmp_path: pathlib.Path,
) -> None:
    first = writes("first")
    last = writes("last", after=(first, BREAKS))

    assert parts.run([last, BREAKS, first], folder=tmp_path) == 1
    assert (tmp_path / "last").read_text() == "first"


def test_parts_run_side_by_side(tmp_path: pathlib.Path) -> None:
    meets = """
import os, sys, time
os.mkdir(sys.argv[1])
while not os.path.exists(sys.argv[2]):
    time.sleep(0.01)
"""
    pair = [
        parts.Part(mine, ("python", "-c", meets, mine, other))
        for mine, other in (("one", "other"), ("other", "one"))
    ]

    assert parts.run(pair, folder=tmp_path) == 0


def test_each_line_of_the_output_names_its_part(
    tmp_path: pathlib.Path, capfd: pytest.CaptureFixture[str]
) -> None:
    loud = parts.Part("loud", ("python", "-c", "print('one\\ntwo')"))

    assert parts.run([loud, PASSES], folder=tmp_path) == 0
    lines = capfd.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("  loud | ")][1:] == [
        "  loud | one",
        "  loud | two",
    ]
