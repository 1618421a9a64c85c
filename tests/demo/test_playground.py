"""docs/playground.md, as somebody types it into two terminals."""

import asyncio
import os
import pathlib
import re
import shlex
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping

import pytest

from docs import reference
from queue_processor.simulator.demo import playground
from tests import gobinaries, guide
from tests.cluster import assets
from tests.messages.conftest import Running

DOCUMENT = reference.DOCS / "playground.md"
START = "Start it"


@pytest.fixture
def shell(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables of a terminal with queue-processor and kubectl, and with another AWS."""
    found = shutil.which("kubectl")
    try:
        kubectl = pathlib.Path(found) if found else assets.find() / "kubectl"
    except assets.AssetsMissing as missing:
        gobinaries.skip(f"there is no kubectl: {missing}")
    folders = (pathlib.Path(sys.executable).parent, kubectl.parent)
    return {
        "PATH": os.pathsep.join((*map(str, folders), os.environ["PATH"])),
        # For the caches of kubectl.
        "HOME": str(tmp_path_factory.mktemp("home")),
        "AWS_PROFILE": "production",
        "AWS_ENDPOINT_URL_SQS": "https://sqs.invalid",
        "HTTP_PROXY": "http://proxy.invalid:3128",
    }


@pytest.fixture
def kept(
    request: pytest.FixtureRequest, shell: Mapping[str, str], tmp_path: pathlib.Path
) -> Iterator[Running]:
    """The first terminal, with the command of the document unless a test has another."""
    command = shlex.split(getattr(request, "param", dict(guide.blocks(DOCUMENT))[START]))
    assert command[:2] == ["queue-processor", "demo"]
    running = Running(command[2:], {**shell, "TMPDIR": str(tmp_path)}, group="demo")
    yield running
    # Killed, it would leave its operator behind.
    running.send(signal.SIGTERM)
    running.ended()


def lines_until(kept: Running, text: str) -> list[str]:
    """The output until a line with this text, and that line."""
    printed = [kept.line()]
    while text not in printed[-1]:
        line = kept.line()
        printed.append(line)
        # At the end of the process every line is empty.
        assert printed[-50:] != [""] * 50, (printed[:-50], kept.ended())
    return printed


def test_everything_that_the_document_says_to_type_works(
    kept: Running, shell: Mapping[str, str], tmp_path: pathlib.Path
) -> None:
    printed = lines_until(kept, "nodes list")
    assert "Everything came out right." in printed, "\n".join(printed)
    (script,) = (line.partition(" or type: ")[2] for line in printed if " or type: " in line)
    pasted = "\n".join(line for line in printed if re.match(r"(?:unset|export) ", line))
    assert pasted + "\n" == pathlib.Path(script.removeprefix(". ")).read_text(encoding="utf-8")

    typed = {
        heading: asyncio.run(guide.typed(f"{pasted}\n{text}", shell))
        for heading, text in guide.blocks(DOCUMENT)
        if heading != START
    }

    held = ["node-001", "node-007", "node-011", "node-012"]
    around = typed["Look around"]
    assert re.findall(r"^ (node-\d+) .* drained +0 ", around, re.MULTILINE) == held
    assert sorted(re.findall(r"^(node-\d+) +true$", around, re.MULTILINE)) == held
    sent = typed["Interrupt a node"]
    assert "1 would be sent" in sent
    assert "1 spot_interruption events sent to" in sent
    assert "node/node-002 condition met" in typed["Watch it drain"]
    *_, last_row = re.findall(r"^ node-002 .*$", typed["Watch it drain"], re.MULTILINE)
    assert re.search(r" drained +0 ", last_row)
    assert "node-002: back in use" in typed["Take it back into use"]
    assert not typed["Take it back into use"].splitlines()[-1].endswith("true")
    queues = typed["Look into the queues"]
    assert "nothing is visible in" in queues
    assert "malformed" in queues

    kept.interrupt()
    code, out, err = kept.ended()
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "Stopping …"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "kept", ["queue-processor demo --keep --scenario single --pods-per-node 1"], indirect=True
)
def test_an_operator_that_ends_while_it_is_kept_ends_the_demo_and_leaves_its_log(
    kept: Running, tmp_path: pathlib.Path
) -> None:
    lines_until(kept, "nodes list")
    (folder,) = tmp_path.iterdir()
    os.kill(operator_of(kept), signal.SIGKILL)
    code, out, err = kept.ended()
    assert code == 1
    assert "demo: the operator ended with exit code -9" in err
    assert out.splitlines()[-1] == f"log of the operator: {folder}/operator.log"
    assert [path.name for path in folder.iterdir()] == ["operator.log"]


def operator_of(kept: Running) -> int:
    """The process id of the operator that a demo runs."""
    children = pathlib.Path(f"/proc/{kept.pid}/task/{kept.pid}/children").read_text().split()
    (pid,) = (
        int(child)
        for child in children
        if b"queue_processor\0run" in pathlib.Path(f"/proc/{child}/cmdline").read_bytes()
    )
    return pid


def test_values_are_quoted_for_the_shell(tmp_path: pathlib.Path) -> None:
    script = playground.write_script(tmp_path, {"A": "with space; and $more", "B": ""})
    assert script.read_text(encoding="utf-8").splitlines()[1:] == [
        "export A='with space; and $more'",
        "export B=''",
    ]
