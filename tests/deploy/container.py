"""The image of the Dockerfile, built and run by chroot, where there is no container runtime.

Each stage becomes a shell script that runs under a root folder of its own. This machine's libraries
and its Python are mounted there in place of the base image, so paths are those of the Dockerfile.
Mounts need root, and Linux; they end with the process that they are made for. Rules about the text
of the Dockerfile are for its linter.
"""

import os
import pathlib
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence

from docker.utils import build  # type: ignore[import-untyped]  # it has no annotations

from tests import gobinaries

_PREFIX = pathlib.Path(sys.base_prefix)
# The access of this machine to its registries.
_PASSED_ON = ("PIP_", "UV_", "SSL_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_FOLDERS = ("usr", "etc", "dev", "proc", "opt", "from", "cache", str(_PREFIX)[1:])
_ENTER = """
root=$1 prefix=$2 cache=$3 access=$4 user=$5
shift 5
mount --bind "$root" "$root"
for folder in usr etc dev proc; do mount --rbind "/$folder" "$root/$folder"; done
mount --bind "$prefix" "$root$prefix"
mount --bind "$cache" "$root/cache"
mount --bind "${root%/*}" "$root/from"
mount --options "remount,bind,$access" "$root"
exec setpriv --no-new-privs chroot --userspec="$user" --groups="${user#*:}" "$root" "$@"
"""
# `copy` is COPY: of a folder it takes what is inside. /base is a Python into which packages may be
# installed, as that of the base image is.
_PRELUDE = f"""
copy() {{ if [ -d "$1" ]; then mkdir -p "$2"; cp -a "$1/." "$2"; else cp -a "$1" "$2"; fi; }}
{_PREFIX}/bin/python3 -m venv /base
export PATH="/base/bin:$PATH"
"""


def skip_where_it_cannot_be() -> None:
    """Skip a test on a machine that cannot do this."""
    missing = [name for name in ("unshare", "setpriv", "chroot") if shutil.which(name) is None]
    if missing:
        gobinaries.skip(f"an image cannot be imitated without {', '.join(missing)}")
    if os.geteuid() != 0:
        gobinaries.skip("an image can be imitated by root only, who may mount")


def built(
    instructions: Iterable[tuple[str, str]], context: pathlib.Path, folder: pathlib.Path
) -> pathlib.Path:
    """Run the stages of a Dockerfile and return the file system of the last one.

    Args:
        instructions: The instructions of the Dockerfile, each with its value.
        context: The folder that COPY copies from, less what .dockerignore leaves out.
        folder: Gets a folder for each stage.

    Raises:
        CalledProcessError: A command failed, or COPY names what is not in the context; `stderr`
            has the reason.
    """
    _send(context, folder / "context")
    # What is before the first stage chooses the base, for which this machine stands in.
    scripts: list[tuple[str, list[str]]] = [("", [])]
    for instruction, value in instructions:
        if instruction == "FROM":
            scripts.append((value.partition(" AS ")[2] or "last", [_PRELUDE]))
        scripts[-1][1].extend(_lines(instruction, value))
    for name, script in scripts[1:]:
        _run(folder / name, "\n".join(script))
    return folder / scripts[-1][0]


def invocation(
    root: pathlib.Path,
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    user: str = "0:0",
    is_read_only: bool = True,
) -> list[str]:
    """Return the command of this machine that runs one in the file system of a stage.

    It replaces itself with the command: signals and the process id are that one's.

    Args:
        root: The file system.
        command: A program and its arguments.
        environment: All the variables of the command.
        user: User and group, by number.
        is_read_only: True if the command cannot write to the file system.
    """
    home = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    cache = pathlib.Path(os.environ.get("UV_CACHE_DIR") or home / "uv")
    cache.mkdir(parents=True, exist_ok=True)
    places = (str(root), str(_PREFIX), str(cache), "ro" if is_read_only else "rw", user)
    variables = [f"{key}={value}" for key, value in environment.items()]
    into = ("/usr/bin/env", "-i", *variables, *command)
    return ["unshare", "--mount", "sh", "-eu", "-c", _ENTER, "sh", *places, *into]


def _send(context: pathlib.Path, target: pathlib.Path) -> None:
    ignored = (context / ".dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in ignored if line and not line.startswith("#")]
    for name in build.exclude_paths(str(context), patterns):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        if not (context / name).is_dir() or (context / name).is_symlink():
            shutil.copy2(context / name, target / name, follow_symlinks=False)


def _lines(instruction: str, value: str) -> Iterator[str]:
    """Yield an instruction in the shell; nothing for one that only states something."""
    match instruction:
        case "RUN":
            yield value
        case "ENV" | "ARG":
            yield f"export {value}"
        case "WORKDIR":
            yield f"mkdir -p {value}; cd {value}"
        case "COPY":
            *sources, target = shlex.split(value)
            stage = "context"
            if sources[0].startswith("--from="):
                stage = sources.pop(0).removeprefix("--from=")
            yield from (f"copy /from/{stage}/{source} {target}" for source in sources)


def _run(root: pathlib.Path, script: str) -> None:
    for folder in _FOLDERS:
        (root / folder).mkdir(parents=True)
    (root / "tmp").mkdir(mode=0o1777)
    for link in ("bin", "lib", "lib64", "sbin"):
        (root / link).symlink_to(f"usr/{link}")
    passed_on = {key: text for key, text in os.environ.items() if key.startswith(_PASSED_ON)}
    environment = {**passed_on, "UV_CACHE_DIR": "/cache", "PATH": "/usr/bin:/bin"}
    command = invocation(root, ("sh", "-eu", "-c", script), environment, is_read_only=False)
    subprocess.run(  # noqa: S603 - commands of our own Dockerfile
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
    )
