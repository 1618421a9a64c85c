"""The command line: help, version, completion, and what each of them imports."""

import importlib.metadata
import pathlib
import subprocess
import sys
from collections.abc import Sequence

import pytest
import typer.testing

from queue_processor import cli
from queue_processor.cli import config as config_commands
from queue_processor.cli import imds, messages, nodes

SDKS = ("boto3", "botocore", "kopf", "kubernetes", "aiohttp", "moto", "rich")
GROUPS = {
    (): cli.app,
    ("messages",): messages.app,
    ("imds",): imds.app,
    ("nodes",): nodes.app,
    ("config",): config_commands.app,
}


def invoke(*arguments: str) -> str:
    result = typer.testing.CliRunner().invoke(cli.app, arguments, env={"COLUMNS": "80"})
    assert result.exit_code == 0, result.output
    return result.output


def run_python(*arguments: str, **variables: str) -> str:
    ended = subprocess.run(  # noqa: S603 - the program under test
        [sys.executable, *arguments],
        env={"PATH": "/usr/bin:/bin", **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert not ended.stderr
    return ended.stdout


def commands() -> list[Sequence[str]]:
    """Return every command and every group, as it is typed."""
    listed: list[Sequence[str]] = []
    for group, app in GROUPS.items():
        names = typer.main.get_group(app).list_commands(None)  # type: ignore[arg-type]  # not read
        listed += [(*group, name) for name in names]
    return listed


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_explains_itself_with_either_option(command: Sequence[str]) -> None:
    explained = invoke(*command, "-h")
    assert explained == invoke(*command, "--help")
    if tuple(command) not in GROUPS:
        assert "Example" in explained


@pytest.mark.parametrize("group", GROUPS, ids=" ".join)
def test_the_help_of_a_group_cuts_no_summary(group: Sequence[str]) -> None:
    assert "..." not in invoke(*group, "--help").replace("[ARGS]...", "")


def test_the_version_is_that_of_the_package() -> None:
    version = importlib.metadata.version("queue-processor")
    assert invoke("--version") == f"queue-processor {version}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_names_the_commands(shell: str) -> None:
    variables = {
        "bash": {"COMP_WORDS": "queue-processor m", "COMP_CWORD": "1"},
        "zsh": {"_TYPER_COMPLETE_ARGS": "queue-processor m"},
        "fish": {
            "_TYPER_COMPLETE_ARGS": "queue-processor m",
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        },
    }[shell]
    script = pathlib.Path(sys.executable).with_name("queue-processor")
    completed = run_python(str(script), _QUEUE_PROCESSOR_COMPLETE=f"complete_{shell}", **variables)
    assert "migrate" in completed
    assert "messages" in completed


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["messages", "--help"]])
def test_help_imports_no_sdk(arguments: Sequence[str]) -> None:
    code = (
        "import sys, queue_processor.__main__ as entry\n"
        f"sys.argv = ['queue-processor', *{arguments!r}]\n"
        "try:\n    entry.main()\nexcept SystemExit:\n    pass\n"
        f"print('imported', *(name for name in {SDKS!r} if name in sys.modules))"
    )
    assert run_python("-c", code).splitlines()[-1].strip() == "imported"
