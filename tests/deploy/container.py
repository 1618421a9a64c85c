"""What a Dockerfile makes, where no container runtime is to be had.

Each stage gets a root folder of its own, into which this machine's libraries and its Python are
mounted in place of the base image; its commands run in there, under the very paths of the
Dockerfile. That takes root and Linux, for mounts that nobody else sees.
"""

import dataclasses
import json
import os
import pathlib
import shlex
import shutil
import string
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence

import dockerfile_parse  # type: ignore[import-untyped]  # it has no annotations
from docker.utils import build  # type: ignore[import-untyped]  # it has no annotations

from tests import gobinaries

_PREFIX = pathlib.Path(sys.base_prefix)
# A Python into which packages may be installed, as that of the base image is.
_BASE = "/base"
_BASE_PATH = f"{_BASE}/bin:{_PREFIX}/bin:/usr/bin:/bin"
_CACHE = "/var/cache/uv"
# How this machine reaches its registries.
_PASSED_ON = ("PIP_", "UV_", "SSL_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_ENTER = """
root=$1 prefix=$2 cache=$3 access=$4 user=$5
shift 5
mount --bind "$root" "$root"
for folder in usr etc dev proc; do mount --rbind "/$folder" "$root/$folder"; done
mount --bind "$prefix" "$root$prefix"
mount --bind "$cache" "$root/var/cache/uv"
mount --options "remount,bind,$access" "$root"
exec setpriv --no-new-privs chroot --userspec="$user" --groups="${user#*:}" "$root" "$@"
"""


@dataclasses.dataclass(slots=True)
class Stage:
    """A stage of a Dockerfile, and what it has made.

    Attributes:
        root: Its file system.
        environment: What ENV and, while it is built, ARG have set.
        folder: The WORKDIR.
        user: Who runs in it, by numbers: `uid:gid`.
        entrypoint: What runs in it.
        command: The arguments that it gets when there are no others.
        labels: What is said about it.
        ports: What it listens on.
        health_check: How a runtime looks after it.
    """

    root: pathlib.Path
    environment: dict[str, str]
    folder: str = "/"
    user: str = "0:0"
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    labels: dict[str, str] = dataclasses.field(default_factory=dict)
    ports: tuple[str, ...] = ()
    health_check: str = ""

    def invocation(
        self, *command: str, environment: Mapping[str, str], is_read_only: bool = False
    ) -> list[str]:
        """The command of this machine that runs one in the stage.

        It replaces itself with the command: signals and the process id are that one's.
        """
        access = "ro" if is_read_only else "rw"
        variables = [f"{key}={value}" for key, value in environment.items()]
        place = (str(self.root), str(_PREFIX), str(_host_cache()), access, self.user)
        into = ("/usr/bin/env", "-i", f"--chdir={self.folder}", *variables)
        return ["unshare", "--mount", "sh", "-eu", "-c", _ENTER, "sh", *place, *into, *command]


def skip_where_it_cannot_be() -> None:
    """Skip a test on a machine that cannot do this."""
    missing = [name for name in ("unshare", "setpriv", "chroot") if shutil.which(name) is None]
    if missing:
        gobinaries.skip(f"an image cannot be imitated without {', '.join(missing)}")
    if os.geteuid() != 0:
        gobinaries.skip("an image can be imitated by root only, who may mount")


def built(dockerfile: pathlib.Path, folder: pathlib.Path) -> Stage:
    """Run the stages one after the other.

    Args:
        dockerfile: It; its folder is the context, less what .dockerignore leaves out.
        folder: Where the stages are made.

    Returns:
        The last stage.

    Raises:
        CalledProcessError: A command failed; `stderr` says why.
        FileNotFoundError: COPY names what is not in the context.
    """
    run = _Run(dockerfile, folder)
    for instruction, value in _instructions(dockerfile):
        run.carry_out(instruction, value)
    return run.stage


def _instructions(dockerfile: pathlib.Path) -> Iterator[tuple[str, str]]:
    parsed = dockerfile_parse.DockerfileParser(str(dockerfile))
    for entry in parsed.structure:
        if entry["instruction"] != "COMMENT":
            yield entry["instruction"], entry["value"]


class _Run:
    def __init__(self, dockerfile: pathlib.Path, folder: pathlib.Path) -> None:
        self._context = dockerfile.parent
        self._folder = folder
        self._stages: dict[str, Stage] = {}
        ignored = (self._context / ".dockerignore").read_text(encoding="utf-8").splitlines()
        patterns = [line for line in ignored if line and not line.startswith("#")]
        self._sent = set(build.exclude_paths(str(self._context), patterns))

    @property
    def stage(self) -> Stage:
        """The stage that is being made."""
        return list(self._stages.values())[-1]

    def carry_out(self, instruction: str, value: str) -> None:
        """Do what one instruction says."""
        match instruction:
            case "FROM":
                self._begin(value.partition(" AS ")[2] or "last")
            case "ARG" if not self._stages:
                pass  # which base it is, for which this machine stands in
            case "ENV" | "ARG":
                self.stage.environment |= self._pairs(value)
            case "LABEL":
                self.stage.labels |= self._pairs(value)
            case "COPY":
                self._copy(*shlex.split(value))
            case "RUN":
                self._run("sh", "-c", value)
            case _:
                self._note(instruction, value)

    def _note(self, instruction: str, value: str) -> None:
        match instruction:
            case "WORKDIR":
                self.stage.folder = value
                self._inside(value).mkdir(parents=True, exist_ok=True)
            case "USER":
                self.stage.user = value
            case "EXPOSE":
                self.stage.ports = tuple(value.split())
            case "ENTRYPOINT":
                self.stage.entrypoint = tuple(json.loads(value))
            case "CMD":
                self.stage.command = tuple(json.loads(value))
            case "HEALTHCHECK":
                self.stage.health_check = value
            case _:
                raise NotImplementedError(instruction)

    def _begin(self, name: str) -> None:
        root = self._folder / name
        for mounted in ("usr", "etc", "dev", "proc", "opt", str(_PREFIX)[1:], _CACHE[1:]):
            (root / mounted).mkdir(parents=True)
        (root / "tmp").mkdir(mode=0o1777)
        for link in ("bin", "lib", "lib64", "sbin"):
            (root / link).symlink_to(f"usr/{link}")
        self._stages[name] = Stage(root=root, environment={"PATH": _BASE_PATH})

    def _pairs(self, value: str) -> dict[str, str]:
        pairs = (pair.partition("=") for pair in shlex.split(value))
        known = self.stage.environment
        return {key: string.Template(text).substitute(known) for key, _, text in pairs}

    def _run(self, *command: str) -> None:
        if not (self.stage.root / _BASE[1:]).exists():
            self._execute(f"{_PREFIX}/bin/python3", "-m", "venv", _BASE)
        self._execute(*command)

    def _execute(self, *command: str) -> None:
        passed_on = {key: text for key, text in os.environ.items() if key.startswith(_PASSED_ON)}
        environment = {**passed_on, "UV_CACHE_DIR": _CACHE, **self.stage.environment}
        subprocess.run(  # noqa: S603 - commands of our own Dockerfile
            self.stage.invocation(*command, environment=environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
        )

    def _copy(self, *words: str) -> None:
        options = [word for word in words if word.startswith("--")]
        *sources, target = words[len(options) :]
        for source in sources:
            origin = self._origin(options, source)
            destination = self._inside(target)
            if origin.is_dir():
                shutil.copytree(origin, destination, symlinks=True, ignore=self._left_out(options))
            else:
                shutil.copy2(origin, destination)

    def _origin(self, options: Sequence[str], source: str) -> pathlib.Path:
        if options:
            (option,) = options
            return self._stages[option.removeprefix("--from=")].root / source[1:]
        if source not in self._sent:
            raise FileNotFoundError(f"{source} is not in the context")
        return self._context / source

    def _left_out(self, options: Sequence[str]) -> Callable[[str, list[str]], set[str]] | None:
        def left_out(folder: str, names: list[str]) -> set[str]:
            inside = pathlib.Path(folder).relative_to(self._context)
            return {name for name in names if str(inside / name) not in self._sent}

        return None if options else left_out

    def _inside(self, path: str) -> pathlib.Path:
        """Where a path of the stage is on this machine."""
        return self.stage.root / os.path.join(self.stage.folder, path)[1:]  # noqa: PTH118 - not here


def _host_cache() -> pathlib.Path:
    home = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    found = pathlib.Path(os.environ.get("UV_CACHE_DIR") or home / "uv")
    found.mkdir(parents=True, exist_ok=True)
    return found
