"""The programs of the control plane: where they come from, and the errors without them."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from tests import gobinaries
from tests.cluster import assets

ROOT = pathlib.Path(__file__).parents[2]
A_TEST = "tests/cluster/test_plane.py::test_a_pod_that_ignores_its_sigterm_stays"
PYTEST = ("pytest", "-q", "-p", "no:cacheprovider", A_TEST)


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> pathlib.Path:
    """A folder with all of the programs, by name."""
    for component in assets.COMPONENTS:
        program = tmp_path / component
        program.touch(mode=0o755)
    return tmp_path


def python(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a module as `make` does, with nothing cached, and Go where `variables` say so."""
    return subprocess.run(  # noqa: S603 our own modules
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env={"PATH": "", "HOME": "/nonexistent", "CI": "", **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_folder_that_is_named_is_taken(
    folder: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(assets.VARIABLE, str(folder))
    assert assets.find() == folder

    built = python("tests.cluster.assets", KUBEBUILDER_ASSETS=str(folder))
    assert (built.returncode, built.stdout) == (0, f"the control plane is in {folder}\n")


def test_a_folder_that_lacks_a_program_is_one_line(folder: pathlib.Path) -> None:
    (folder / "kwok").unlink()
    (folder / "etcd").chmod(0o644)

    built = python("tests.cluster.assets", KUBEBUILDER_ASSETS=str(folder))
    assert built.returncode == 1
    assert built.stderr == (
        f"KUBEBUILDER_ASSETS={folder} lacks etcd, kwok: add them, or unset the variable and run"
        " `make cluster`\n"
    )
    tested = python(*PYTEST, KUBEBUILDER_ASSETS=str(folder))
    assert tested.returncode == 1
    assert f"KUBEBUILDER_ASSETS={folder} lacks etcd, kwok" in tested.stdout
    assert "Traceback" not in tested.stdout
    assert "assets.py" not in tested.stdout


@pytest.mark.parametrize(("ci", "code"), [("", 0), ("true", 1)])
def test_without_go_nothing_is_built_and_the_tests_are_skipped_but_not_in_ci(
    ci: str, code: int
) -> None:
    built = python("tests.cluster.assets", CI=ci)
    assert built.returncode == code
    assert "there is no `go` on the PATH" in built.stderr
    assert built.stderr.count("\n") == 1

    tested = python(*PYTEST, CI=ci)
    assert tested.returncode == code
    assert "there is no `go` on the PATH" in tested.stdout
    assert ("1 error" if code else "1 skipped") in tested.stdout


def test_what_is_not_built_yet_is_not_built_by_a_test(tmp_path: pathlib.Path) -> None:
    if shutil.which("go") is None:
        gobinaries.skip("there is no `go` on the PATH")
    tested = python(*PYTEST, PATH=os.environ["PATH"], XDG_CACHE_HOME=str(tmp_path))
    assert tested.returncode == 0
    assert "`make cluster` builds them" in tested.stdout
