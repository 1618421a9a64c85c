import pathlib
import subprocess

import pytest
import uv

from tests import pyenvironments

WRONG = "six==1.17.0 --hash=sha256:" + "0" * 64 + "\n"

pytestmark = pytest.mark.timeout(pyenvironments.INSTALL_SECONDS)


@pytest.fixture(autouse=True)
def cache(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """An empty cache for environments; that of packages stays where it is."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_CACHE_DIR", uv_cache())
    return tmp_path / "cache" / "queue-processor"


def uv_cache() -> str:
    return output(uv.find_uv_bin(), "cache", "dir")


@pytest.fixture
def lock(tmp_path: pathlib.Path) -> pathlib.Path:
    """A lock file that names nothing."""
    path = tmp_path / "nothing.lock"
    path.write_text("", encoding="utf-8")
    return path


def said(python: pathlib.Path) -> str:
    return output(str(python), "-c", "import sys; print(sys.prefix)")


def output(*command: str) -> str:
    finished = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 ours
    return finished.stdout.strip()


def test_an_environment_is_made_once(lock: pathlib.Path, cache: pathlib.Path) -> None:
    python = pyenvironments.python_of(lock)
    (python.parent / "left-behind").touch()

    assert pyenvironments.python_of(lock) == python
    assert (python.parent / "left-behind").exists()
    assert said(python).startswith(str(cache))


def test_an_installation_that_was_killed_is_done_anew(lock: pathlib.Path) -> None:
    python = pyenvironments.python_of(lock)
    (python.parents[2] / "whole").unlink()
    python.unlink()

    assert said(pyenvironments.python_of(lock))


def test_another_lock_makes_another_environment(lock: pathlib.Path) -> None:
    first = pyenvironments.python_of(lock)
    lock.write_text("# changed\n", encoding="utf-8")

    assert pyenvironments.python_of(lock) != first


def test_a_package_that_is_not_what_its_hash_says_is_refused(lock: pathlib.Path) -> None:
    lock.write_text(WRONG, encoding="utf-8")

    with pytest.raises(pyenvironments.InstallFailed, match="hash"):
        pyenvironments.python_of(lock)
