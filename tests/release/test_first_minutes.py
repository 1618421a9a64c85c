"""The README's first commands, in a fresh copy of the project: from nothing to a drained node."""

import os
import pathlib
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence

import pytest

from tests import guide, pyenvironments
from tests.release import copies

ROOT = pathlib.Path(__file__).parents[2]
HEADING = "Interrupt a node yourself"
# What `make demo` reads.
COPIED = (
    *("LICENSE", "Makefile", "README.md", "pyproject.toml", "uv.lock"),
    *("infra", "queue_processor"),
)
NODE = "node-001"

# It installs the program.
pytestmark = [pytest.mark.built, pytest.mark.timeout(pyenvironments.INSTALL_SECONDS)]


@pytest.fixture
def project(tmp_path: pathlib.Path) -> pathlib.Path:
    """A copy of the project in which nothing is installed."""
    folder = tmp_path / "queue-processor"
    folder.mkdir()
    copies.copy_project(COPIED, folder)
    return folder


@pytest.fixture
def environment(tmp_path: pathlib.Path) -> Mapping[str, str]:
    """The variables of a terminal; the demo's folder is one of the test's own."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    foreign = ("AWS_", "KUBECONFIG", "QUEUE_PROCESSOR_", "VIRTUAL_ENV", "UV_PROJECT")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {**kept, "TMPDIR": str(folder)}


@pytest.fixture
def first_terminal(
    project: pathlib.Path, environment: Mapping[str, str]
) -> Iterator["subprocess.Popen[str]"]:
    """The first command of the README, at work."""
    process = subprocess.Popen(  # noqa: S603 - what the README says to type
        ["/bin/bash", "-ec", commands()[0]],
        cwd=project,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    yield process
    os.killpg(process.pid, signal.SIGINT)
    process.communicate()


def commands() -> Sequence[str]:
    return [text for heading, text in guide.blocks(ROOT / "README.md") if heading == HEADING]


def script_printed_by(terminal: "subprocess.Popen[str]") -> str:
    """The path of the file that the demo prints, once everything is up."""
    assert terminal.stdout is not None
    printed = []
    for line in terminal.stdout:
        printed.append(line)
        if "Then try: " in line:
            break
    found = re.search(r"or type: \. (\S+)", "".join(printed))
    assert found is not None, "".join(printed)
    return found[1]


def test_a_node_is_drained_with_what_the_readme_says_to_type(
    project: pathlib.Path,
    environment: Mapping[str, str],
    first_terminal: "subprocess.Popen[str]",
) -> None:
    script = script_printed_by(first_terminal)
    typed = re.sub(r"(?m)^\. .*….*$", f". {script}", commands()[1])
    assert script in typed

    def run(text: str) -> str:
        return subprocess.run(  # noqa: S603 - what the README says to type
            ["/bin/bash", "-ec", text],
            cwd=project,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    shown = run(typed)
    *_, listing = typed.splitlines()
    while not re.search(rf"(?m)^ {NODE} +spot_interruption \(drill\) +drained +0 ", shown):
        assert first_terminal.poll() is None
        time.sleep(0.2)
        shown = run(f". {script}\n{listing}")
