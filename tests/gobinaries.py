"""Programs written in Go that the checks need: built once from a module of ours, then kept.

They are outside the work tree, in `$XDG_CACHE_HOME/queue-processor` (`~/.cache` without that
variable), in a folder named after everything that decides what they are: a change of the module,
of the flags or of Go makes a new folder. `make test` builds ahead of the tests that need them, with
`tests.cluster.assets` and `tests.deploy.programs`; a test that runs alone builds what is missing.
"""

import contextlib
import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NoReturn

import pytest

# What the build needs on a cold cache of its own, on two busy cores; for `pytest.mark.timeout`.
BUILD_SECONDS = 1800

_STRIPPED = ("-s", "-w")
# The compiler, too, leaves out debug information, which is a tenth of its work.
_COMPILER = "all=-dwarf=false"
REPORT_SECONDS = 15.0


class GoMissing(RuntimeError):
    """There is no `go` on the PATH."""


class BuildFailed(RuntimeError):
    """The Go compiler refused; its own words are the message."""


def built(
    module: pathlib.Path,
    programs: Mapping[str, str],
    *,
    ldflags: Sequence[str] = (),
    tags: Sequence[str] = (),
    on_progress: Callable[[str], None] = lambda _: None,
) -> pathlib.Path:
    """Build what has not been built yet.

    A killed build leaves nothing that the next one would take for a program, and of two builds at
    a time the second waits for the first.

    Args:
        module: The folder with go.mod, go.sum and the sources.
        programs: Packages by the name of their program. In one module a name stands for one
            package.
        ldflags: For the linker, besides those that leave out the debug information.
        tags: Build tags, for all of the programs.
        on_progress: Gets a line at the start and at the end of each build, and every 15 seconds in
            between; nothing when all is there.

    Returns:
        The folder that holds the programs.

    Raises:
        GoMissing: There is no Go to build with, or to ask for its version.
        BuildFailed: A program cannot be built.
    """
    go = _go()
    flags = " ".join([*_STRIPPED, *ldflags])
    folder = _folder(go, module, [flags, *tags])
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, on_progress):
        missing = [name for name in programs if not (folder / name).exists()]
        for number, name in enumerate(missing, start=1):
            on_progress(f"building {name} ({number} of {len(missing)}): takes minutes, once")
            began = time.monotonic()
            # Renamed in one step, so that what has the name is whole. Go does not write over what
            # a killed build may have left.
            part = folder / f".{name}.part"
            part.unlink(missing_ok=True)
            options = ["-trimpath", f"-gcflags={_COMPILER}", f"-ldflags={flags}"]
            options += [f"-tags={','.join(tags)}", "-o", str(part)]
            _build(go, [*options, programs[name]], module, on_progress)
            part.replace(folder / name)
            on_progress(f"built {name} in {time.monotonic() - began:.0f} s")
    return folder


def _build(
    go: str, arguments: Sequence[str], module: pathlib.Path, on_progress: Callable[[str], None]
) -> None:
    """Run `go build` and report how many packages it has compiled."""
    began = reported_at = time.monotonic()
    packages, messages = 0, []
    with subprocess.Popen(  # noqa: S603 the compiler, on a module of ours
        [go, "build", "-v", *arguments],
        cwd=module,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        for line in process.stderr or ():
            # The name of a package, or what is wrong with one.
            if len(line.split()) > 1:
                messages.append(line)
                continue
            packages += 1
            if time.monotonic() - reported_at > REPORT_SECONDS:
                reported_at = time.monotonic()
                on_progress(f"{packages} packages after {reported_at - began:.0f} s")
    if process.returncode:
        raise BuildFailed(f"go build {' '.join(arguments)}, in {module}:\n{''.join(messages)}")


def already_built(
    module: pathlib.Path, programs: Mapping[str, str], *, ldflags: Sequence[str] = ()
) -> pathlib.Path | None:
    """The folder that holds the programs; None when one of them has not been built yet.

    Raises:
        GoMissing: There is no Go to ask for its version.
    """
    folder = _folder(_go(), module, [" ".join([*_STRIPPED, *ldflags])])
    return folder if all((folder / name).exists() for name in programs) else None


def built_or_skip(
    module: pathlib.Path,
    programs: Mapping[str, str],
    *,
    ldflags: Sequence[str] = (),
    tags: Sequence[str] = (),
) -> pathlib.Path:
    """Build, for a fixture: without Go the test is skipped, and fails where CI=true."""
    try:
        return built(module, programs, ldflags=ldflags, tags=tags)
    except GoMissing as missing:
        skip(f"{', '.join(programs)} cannot be built: {missing}")


def skip(reason: str) -> NoReturn:
    """Skip a test that this machine cannot run; where CI=true that is a failure."""
    if is_ci():
        pytest.fail(f"not skipped, because CI=true: {reason}", pytrace=False)
    pytest.skip(reason)


def is_ci() -> bool:
    """True if a test that is skipped elsewhere fails here."""
    return os.environ.get("CI") == "true"


def cache_folder() -> pathlib.Path:
    """The folder, outside the work tree, for files that take long to make."""
    home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(home) / "queue-processor"


def _go() -> str:
    go = shutil.which("go")
    if go is None:
        raise GoMissing("there is no `go` on the PATH (https://go.dev/doc/install)")
    return go


def _folder(go: str, module: pathlib.Path, options: Sequence[str]) -> pathlib.Path:
    return cache_folder() / f"{module.name}-{_digest(go, module, options)}"


def _digest(go: str, module: pathlib.Path, options: Sequence[str]) -> str:
    """Stands for everything that decides what is built."""
    found = hashlib.sha256()
    toolchain = _run(go, ["env", "GOVERSION", "GOOS", "GOARCH"], module)
    for part in (_COMPILER, *options, toolchain):
        found.update(f"{len(part)}:{part}".encode())
    sources = [module / "go.mod", module / "go.sum", *sorted(module.rglob("*.go"))]
    for path in sources:
        content = path.read_bytes() if path.exists() else b""
        found.update(f"{path.relative_to(module)}:{len(content)}:".encode())
        found.update(content)
    return found.hexdigest()[:16]


@contextlib.contextmanager
def locked(folder: pathlib.Path, on_progress: Callable[[str], None]) -> Iterator[None]:
    """Keep other builds out while the block runs; the lock ends with the process."""
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_progress("waiting for another build of the same programs")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run(go: str, arguments: Sequence[str], module: pathlib.Path) -> str:
    finished = subprocess.run(  # noqa: S603 the compiler, on a module of ours
        [go, *arguments],
        cwd=module,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if finished.returncode:
        raise BuildFailed(f"go {' '.join(arguments)}, in {module}:\n{finished.stderr.strip()}")
    return finished.stdout
