"""The workflows that run on the host of the repository, and the updates of dependencies."""

import pathlib
import re
import subprocess
import sys
from typing import Any

import pytest
import yaml

from tests import gobinaries
from tests.deploy import programs

ROOT = pathlib.Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yaml"))

# actionlint may have to be built first.
pytestmark = [pytest.mark.built, pytest.mark.timeout(gobinaries.BUILD_SECONDS)]


def read(path: pathlib.Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return document


def test_actionlint_reports_nothing() -> None:
    program = programs.actionlint_or_skip()
    finished = subprocess.run(  # noqa: S603 - our own arguments
        [str(program), "-shellcheck=", "-pyflakes=", *map(str, WORKFLOWS)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (finished.stdout, finished.returncode) == ("", 0)


def test_zizmor_reports_nothing() -> None:
    program = pathlib.Path(sys.executable).parent / "zizmor"
    finished = subprocess.run(  # noqa: S603 - our own arguments
        [str(program), "--offline", "--quiet", "--color=never", str(ROOT / ".github")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert finished.returncode == 0, finished.stdout + finished.stderr


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_an_action_is_pinned_by_its_commit_with_its_version_beside_it(path: pathlib.Path) -> None:
    uses = re.findall(r"uses: (.+)", path.read_text(encoding="utf-8"))

    assert uses
    assert [use for use in uses if not re.fullmatch(r"\S+@[0-9a-f]{40} # v\S+", use)] == []


def test_pull_requests_run_what_the_readme_says() -> None:
    jobs = read(ROOT / ".github" / "workflows" / "ci.yaml")["jobs"]

    assert "make test" in [step.get("run") for step in jobs["test"]["steps"]]


def test_every_target_that_a_workflow_makes_is_in_the_makefile() -> None:
    targets = {
        target
        for path in WORKFLOWS
        for target in re.findall(r"run: make (\S+)", path.read_text(encoding="utf-8"))
    }
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")

    assert {target for target in targets if f"\n{target}:" in makefile} == targets != set()


def test_the_python_versions_are_those_that_the_package_names() -> None:
    (job,) = (
        job
        for job in read(ROOT / ".github" / "workflows" / "ci.yaml")["jobs"].values()
        if "strategy" in job
    )
    named = re.findall(
        r"Programming Language :: Python :: (3\.\d+)",
        (ROOT / "pyproject.toml").read_text(encoding="utf-8"),
    )

    assert job["strategy"]["matrix"]["python"] == named


def test_updates_are_proposed_for_every_module_in_go() -> None:
    updates = read(ROOT / ".github" / "dependabot.yaml")["updates"]
    (go,) = (each for each in updates if each["package-ecosystem"] == "gomod")
    modules = {f"/{path.parent.relative_to(ROOT)}" for path in (ROOT / "tests").rglob("go.mod")}

    assert set(go["directories"]) == modules
