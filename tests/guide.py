"""A document, docs/install.md above all, as somebody types it."""

import asyncio
import os
import pathlib
import signal
from collections.abc import Mapping

from markdown_it import MarkdownIt

from tests import pyenvironments

PATIENCE_SECONDS = 300
VARIABLES = "With a queue"
REMOVAL = "Remove it"
HOOKS = "Hooks for Auto Scaling groups"
IMAGE = "The image"
SHORT = "Spot nodes only, no AWS set-up"
LATER = "Add the queue"
OPERATOR = "2. The operator"
DRAIN = "3. Drain a node"
OBSERVE = "Observe first"
SWITCH = "Then let it drain"

_ROOT = pathlib.Path(__file__).parents[1]
_DOCUMENT = _ROOT / "docs" / "install.md"
_AWS_CLI = _ROOT / "tests" / "infra" / "awscli.lock"


def blocks(document: pathlib.Path = _DOCUMENT) -> list[tuple[str, str]]:
    """The commands that the document says to type, and the headings above them."""
    heading, found = "", []
    tokens = MarkdownIt().parse(document.read_text(encoding="utf-8"))
    for number, token in enumerate(tokens):
        if token.type == "heading_open":
            heading = tokens[number + 1].content
        if token.type == "fence" and token.info == "sh":
            found.append((heading, token.content))
    return found


def aws_cli() -> pathlib.Path:
    """The command line of AWS."""
    return pyenvironments.python_of(_AWS_CLI).with_name("aws")


def script(path: pathlib.Path, body: str) -> None:
    """Write a program of the shell."""
    path.write_text(f"#!/bin/bash\nset -eo pipefail\n{body}\n", encoding="utf-8")
    path.chmod(0o755)


async def typed(text: str, environment: Mapping[str, str]) -> str:
    """The output of a shell that runs these commands, and stops at the first that fails."""
    process = await asyncio.create_subprocess_exec(
        *("/bin/bash", "-euxo", "pipefail", "-c", text),
        cwd=_ROOT,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            # Its commands, too: they may wait for what does not come any more.
            os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    said = output.decode()
    assert process.returncode == 0, said
    return said
