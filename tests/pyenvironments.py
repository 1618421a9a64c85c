"""Python programs that cannot live beside the project: each in an environment of its own.

The AWS CLI, checkov and ministack pin the AWS SDK in versions that are not the program's. A lock
file with a hash for every package says what is installed; `make lock` writes it. The environments
are where `gobinaries` keeps its programs, in a folder named after the lock and the Python.
`python -m tests.pyenvironments` makes all of them ahead of the tests.
"""

import hashlib
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable

import typer
import uv

from tests import gobinaries

# What an installation needs on a cold cache; for `pytest.mark.timeout`.
INSTALL_SECONDS = 600


class InstallFailed(RuntimeError):
    """The packages of a lock file cannot be installed; uv's own words are the message."""


def python_of(
    lock: pathlib.Path, *, on_progress: Callable[[str], None] = lambda _: None
) -> pathlib.Path:
    """Install what a lock file names, unless it is there already.

    An installation that was killed is done anew, and of two at a time the second waits.

    Args:
        lock: A requirements file in which every package has its version and its hashes.
        on_progress: Gets a line at the start and at the end of an installation.

    Returns:
        The Python of the environment.

    Raises:
        InstallFailed: A package cannot be had, or is not what its hash says.
    """
    folder = gobinaries.cache_folder() / f"{lock.stem}-{_digest(lock)}"
    folder.mkdir(parents=True, exist_ok=True)
    python = folder / "venv" / "bin" / "python"
    is_whole = folder / "whole"
    with gobinaries.locked(folder, on_progress):
        if not is_whole.exists():
            on_progress(f"installing {lock.stem}")
            began = time.monotonic()
            _uv("venv", "--clear", "--python", sys.executable, str(folder / "venv"))
            packages = ("--require-hashes", "--compile-bytecode", str(lock))
            _uv("pip", "sync", "--python", str(python), *packages)
            is_whole.touch()
            on_progress(f"installed {lock.stem} in {time.monotonic() - began:.0f} s")
    return python


def _digest(lock: pathlib.Path) -> str:
    return hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:16]


def _uv(*arguments: str) -> None:
    finished = subprocess.run(  # noqa: S603 the project's own installer
        [uv.find_uv_bin(), "--quiet", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if finished.returncode:
        raise InstallFailed(f"uv {' '.join(arguments)}:\n{finished.stderr.strip()}")


def _main() -> None:
    for lock in sorted(pathlib.Path(__file__).parent.glob("*/*.lock")):
        try:
            typer.echo(f"{lock.stem}: {python_of(lock, on_progress=typer.echo)}")
        except InstallFailed as failed:
            typer.echo(str(failed), err=True)
            raise typer.Exit(1) from failed


if __name__ == "__main__":
    typer.run(_main)
