import pathlib
import subprocess
import sys

import pytest

from tests import gobinaries

MODULE = "module example.com/greeting\n\ngo 1.21\n"
# Without imports, so that the build needs neither the network nor the standard library.
MAIN = 'package main\n\nvar word = "hello"\n\nfunc main() { println(word) }\n'
PROGRAMS = {"greet": "."}

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def go_cache(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A cache for the compiler: what all programs share, such as the runtime, is compiled once."""
    return tmp_path_factory.mktemp("go")


@pytest.fixture(autouse=True)
def cache(
    tmp_path: pathlib.Path, go_cache: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> pathlib.Path:
    """An empty cache for programs."""
    monkeypatch.setenv("GOCACHE", str(go_cache))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "queue-processor"


@pytest.fixture
def module(tmp_path: pathlib.Path) -> pathlib.Path:
    """A Go module with one program."""
    folder = tmp_path / "greeting"
    folder.mkdir()
    (folder / "go.mod").write_text(MODULE, encoding="utf-8")
    (folder / "main.go").write_text(MAIN, encoding="utf-8")
    return folder


@pytest.fixture
def go(module: pathlib.Path) -> pathlib.Path:
    """Go is there."""
    return gobinaries.built_or_skip(module, {})


def said(program: pathlib.Path) -> str:
    finished = subprocess.run([program], capture_output=True, text=True, check=True)  # noqa: S603
    return finished.stderr.strip()


def programs_in(cache: pathlib.Path) -> list[str]:
    return sorted(path.name for path in cache.glob("*/*") if not path.name.startswith(".lock"))


@pytest.mark.usefixtures("go")
def test_a_program_is_built_and_runs(module: pathlib.Path, cache: pathlib.Path) -> None:
    folder = gobinaries.built(module, PROGRAMS)

    assert said(folder / "greet") == "hello"
    assert folder.parent == cache


@pytest.mark.usefixtures("go")
def test_what_is_built_is_not_built_again(module: pathlib.Path) -> None:
    lines: list[str] = []
    first = gobinaries.built(module, PROGRAMS, on_progress=lines.append)
    assert lines[0].startswith("building greet (1 of 1)")
    assert lines[-1].startswith("built greet in ")

    lines.clear()
    assert gobinaries.built(module, PROGRAMS, on_progress=lines.append) == first
    assert lines == []


@pytest.mark.usefixtures("go")
def test_a_build_that_takes_long_reports_how_far_it_is(
    module: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gobinaries, "REPORT_SECONDS", 0.0)
    for name in ("one", "two"):
        (module / name).mkdir()
        (module / name / "one.go").write_text(f"package {name}\n", encoding="utf-8")
    imports = 'import _ "example.com/greeting/one"\nimport _ "example.com/greeting/two"\n'
    (module / "main.go").write_text(MAIN.replace("\n\n", f"\n\n{imports}\n", 1), encoding="utf-8")
    lines: list[str] = []

    gobinaries.built(module, PROGRAMS, on_progress=lines.append)

    counts = [line.partition(" after ")[0] for line in lines[1:-1]]
    assert counts == [f"{number} packages" for number in range(1, len(counts) + 1)]
    assert len(counts) >= 3


@pytest.mark.usefixtures("go")
def test_another_source_or_flag_makes_another_program(module: pathlib.Path) -> None:
    first = gobinaries.built(module, PROGRAMS)
    flagged = gobinaries.built(module, PROGRAMS, ldflags=["-X", "main.word=flagged"])
    (module / "main.go").write_text(MAIN.replace("hello", "goodbye"), encoding="utf-8")
    changed = gobinaries.built(module, PROGRAMS)

    assert [said(folder / "greet") for folder in (first, flagged, changed)] == [
        "hello",
        "flagged",
        "goodbye",
    ]


@pytest.mark.usefixtures("go")
def test_a_tag_chooses_what_is_built(module: pathlib.Path) -> None:
    tagged = '//go:build loud\n\npackage main\n\nfunc init() { word = "HELLO" }\n'
    (module / "loud.go").write_text(tagged, encoding="utf-8")
    quiet = gobinaries.built(module, PROGRAMS)
    loud = gobinaries.built(module, PROGRAMS, tags=["loud"])

    assert [said(folder / "greet") for folder in (quiet, loud)] == ["hello", "HELLO"]


@pytest.mark.usefixtures("go")
def test_a_build_that_fails_says_why_and_leaves_no_program(
    module: pathlib.Path, cache: pathlib.Path
) -> None:
    (module / "main.go").write_text("package main\n\nfunc main() { nope() }\n", encoding="utf-8")

    with pytest.raises(gobinaries.BuildFailed, match="undefined: nope"):
        gobinaries.built(module, PROGRAMS)

    assert programs_in(cache) == []


@pytest.mark.usefixtures("go")
def test_what_a_killed_build_left_is_no_program(module: pathlib.Path) -> None:
    folder = gobinaries.built(module, {})
    (folder / ".greet.part").write_bytes(b"half")

    gobinaries.built(module, PROGRAMS)

    assert said(folder / "greet") == "hello"


def test_without_go_the_fault_says_so(
    module: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")

    with pytest.raises(gobinaries.GoMissing, match="PATH"):
        gobinaries.built(module, PROGRAMS)


@pytest.mark.parametrize(("ci", "outcome"), [("", "Skipped"), ("true", "Failed")])
def test_without_go_a_test_is_skipped_and_fails_in_ci(
    ci: str, outcome: str, module: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CI", ci)

    with pytest.raises(BaseException, match="greet cannot be built") as caught:
        gobinaries.built_or_skip(module, PROGRAMS)

    assert type(caught.value).__name__ == outcome


@pytest.mark.parametrize(("ci", "code"), [("", 0), ("true", 1)])
def test_without_go_building_ahead_says_so_and_fails_in_ci_only(
    ci: str, code: int, tmp_path: pathlib.Path
) -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "tests.deploy.programs"],
        cwd=pathlib.Path(__file__).parents[1],
        env={"PATH": "", "CI": ci, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert finished.returncode == code
    assert finished.stderr.startswith(
        "Helm and the other programs cannot be built: there is no `go` on the PATH"
    )
