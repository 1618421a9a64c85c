"""The limits of a small container for one process: a control group, of version 1 or 2.

https://docs.kernel.org/admin-guide/cgroup-v2.html
"""

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence

NAME = "100m CPU, 128 MiB"
_PERIOD, _QUOTA = 100_000, 10_000
_MEMORY = 128 * 2**20
_ROOT = pathlib.Path("/sys/fs/cgroup")
_OURS = pathlib.Path("/proc/self/cgroup")


class NoControlGroupError(Exception):
    """No control group can be made here; the message says why."""


@dataclasses.dataclass(frozen=True, slots=True)
class ControlGroup:
    """A group with limits.

    Attributes:
        folders: Its folder; in version 1 one for CPU and one for memory.
        events: The file that counts the processes killed because memory ran out.
    """

    folders: Sequence[pathlib.Path]
    events: pathlib.Path

    def add(self, pid: int) -> None:
        """Move a process into the group."""
        for folder in self.folders:
            (folder / "cgroup.procs").write_text(str(pid))

    @property
    def oom_kills(self) -> int:
        """Return how many processes were killed because memory ran out."""
        lines = (line.split() for line in self.events.read_text().splitlines())
        return next(int(value) for name, value in lines if name == "oom_kill")


@contextlib.contextmanager
def limited(root: pathlib.Path = _ROOT, ours: pathlib.Path = _OURS) -> Iterator[ControlGroup]:
    """Make a group, and remove it when no process is in it any more.

    Args:
        root: Where control groups are mounted.
        ours: Names the groups of this process.

    Raises:
        NoControlGroupError: There are none, or we are not allowed to make one.
    """
    with contextlib.ExitStack() as made:
        try:
            if _has_version_2(root):
                group = _of_version_2(root, made)
            else:
                group = _of_version_1(root, ours, made)
        except OSError as error:
            raise NoControlGroupError(f"no control group can be made: {error}") from error
        yield group


def _has_version_2(root: pathlib.Path) -> bool:
    controllers = root / "cgroup.controllers"
    return controllers.exists() and {"cpu", "memory"} <= set(controllers.read_text().split())


def _of_version_2(root: pathlib.Path, made: contextlib.ExitStack) -> ControlGroup:
    (root / "cgroup.subtree_control").write_text("+cpu +memory")
    folder = _make(root, made, {"cpu.max": f"{_QUOTA} {_PERIOD}", "memory.max": f"{_MEMORY}"})
    return ControlGroup([folder], folder / "memory.events")


def _of_version_1(
    root: pathlib.Path, ours: pathlib.Path, made: contextlib.ExitStack
) -> ControlGroup:
    """Make groups within our own, whose limits still hold."""
    lines = (line.split(":", 2) for line in ours.read_text().splitlines())
    groups = {name: path for _, names, path in lines for name in names.split(",")}
    cpu, memory = (root / name / groups.get(name, "/")[1:] for name in ("cpu", "memory"))
    quota = {"cpu.cfs_period_us": f"{_PERIOD}", "cpu.cfs_quota_us": f"{_QUOTA}"}
    folders = [
        _make(cpu, made, quota),
        _make(memory, made, {"memory.limit_in_bytes": f"{_MEMORY}"}),
    ]
    return ControlGroup(folders, folders[1] / "memory.oom_control")


def _make(
    parent: pathlib.Path, made: contextlib.ExitStack, limits: Mapping[str, str]
) -> pathlib.Path:
    folder = parent / f"queue-processor-{os.getpid()}"
    folder.mkdir()
    made.callback(folder.rmdir)
    for name, value in limits.items():
        (folder / name).write_text(value)
    return folder
