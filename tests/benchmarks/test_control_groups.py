"""Control groups of both versions, in a folder that looks like one of the kernel."""

import contextlib
import pathlib
from collections.abc import Iterator

import pytest

from benchmarks import control_groups
from benchmarks.control_groups import ControlGroup, NoControlGroupError


@contextlib.contextmanager
def _limited(root: pathlib.Path, ours: pathlib.Path) -> Iterator[ControlGroup]:
    """As a kernel does, take the files of a group away with its folder."""
    with control_groups.limited(root, ours) as group:
        yield group
        for folder in group.folders:
            for file in folder.iterdir():
                file.unlink()


@pytest.fixture
def ours(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "ours"
    path.write_text("4:memory:/session\n2:cpu,cpuacct:/\n0::/session\n")
    return path


def test_version_2_has_one_group(tmp_path: pathlib.Path, ours: pathlib.Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")

    with _limited(tmp_path, ours) as group:
        (folder,) = group.folders
        group.add(17)
        assert (tmp_path / "cgroup.subtree_control").read_text() == "+cpu +memory"
        assert (folder / "cpu.max").read_text() == "10000 100000"
        assert (folder / "memory.max").read_text() == str(128 * 2**20)
        assert (folder / "cgroup.procs").read_text() == "17"
        (folder / "memory.events").write_text("low 0\noom 2\noom_kill 1\n")
        assert group.oom_kills == 1
    assert not folder.exists()


def test_version_1_has_groups_within_ours(tmp_path: pathlib.Path, ours: pathlib.Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "memory" / "session").mkdir(parents=True)
    # Both versions are mounted, and the second one has no controllers.
    (tmp_path / "cgroup.controllers").write_text("\n")

    with _limited(tmp_path, ours) as group:
        cpu, memory = group.folders
        group.add(17)
        assert (cpu.parent, memory.parent) == (tmp_path / "cpu", tmp_path / "memory" / "session")
        assert (cpu / "cpu.cfs_quota_us").read_text() == "10000"
        assert (cpu / "cpu.cfs_period_us").read_text() == "100000"
        assert (memory / "memory.limit_in_bytes").read_text() == str(128 * 2**20)
        assert (cpu / "cgroup.procs").read_text() == (memory / "cgroup.procs").read_text() == "17"
        (memory / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 0\n")
        assert group.oom_kills == 0
    assert not cpu.exists()
    assert not memory.exists()


def test_without_a_hierarchy_the_reason_is_named(
    tmp_path: pathlib.Path, ours: pathlib.Path
) -> None:
    with (
        pytest.raises(NoControlGroupError, match="no control group can be made"),
        control_groups.limited(tmp_path, ours),
    ):
        pass
