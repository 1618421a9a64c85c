"""The options of commands that name the cluster and the account, in a process of their own."""

import json
import pathlib
from collections.abc import Iterator

import pytest

from tests.messages.conftest import NOWHERE, Running, ThreadedCluster
from tests.nodes.test_commands import build


@pytest.fixture
def kubeconfig(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A file with two contexts: the current one leads nowhere, `second` to a cluster."""
    with ThreadedCluster.running(tmp_path, build) as made:
        path = pathlib.Path(made.environment()["KUBECONFIG"])
        config = json.loads(path.read_text(encoding="utf-8"))
        (cluster,), (context,) = config["clusters"], config["contexts"]
        config["clusters"].append({"name": "none", "cluster": {"server": "http://127.0.0.1:1"}})
        context["name"] = "second"
        config["contexts"].append(
            {"name": "first", "context": {"cluster": "none", "user": context["context"]["user"]}}
        )
        config["current-context"] = "first"
        assert cluster["name"] == context["context"]["cluster"]
        other = tmp_path / "two-contexts"
        other.write_text(json.dumps(config), encoding="utf-8")
        yield other


def test_a_command_works_with_the_file_and_the_context_that_its_options_name(
    kubeconfig: pathlib.Path,
) -> None:
    options = ("--kubeconfig", str(kubeconfig), "--context", "second")
    code, out, _ = Running(["list", "--output", "json", *options], NOWHERE, group="nodes").ended()
    preview = ("uncordon", "node-0", "--dry-run", *options)
    _, _, notes = Running(preview, NOWHERE, group="nodes").ended()

    assert (code, {node["node"] for node in json.loads(out)}) == (0, {"node-0", "node-1", "node-2"})
    assert "(context second)" in notes


@pytest.mark.parametrize(
    ("options", "cure"),
    [
        (("--context", "third"), "`kubectl config get-contexts` lists all"),
        (("--kubeconfig", "/nowhere/config"), "set KUBECONFIG"),
        ((), "check that KUBECONFIG names a cluster that can be reached"),
    ],
    ids=["no such context", "no such file", "a cluster that is away"],
)
def test_a_place_that_cannot_be_used_is_one_line_with_a_cure(
    kubeconfig: pathlib.Path, options: tuple[str, ...], cure: str
) -> None:
    environment = {**NOWHERE, "KUBECONFIG": str(kubeconfig)}
    code, out, error = Running(["list", *options], environment, group="nodes").ended()

    assert (code, out) == (1, "")
    assert cure in error
    assert "Traceback" not in error


def test_a_profile_that_is_not_there_is_one_line_with_its_name(tmp_path: pathlib.Path) -> None:
    url = "https://sqs.eu-west-1.amazonaws.com/123456789012/queue"
    environment = {**NOWHERE, "AWS_CONFIG_FILE": str(tmp_path / "none")}
    peek = ("peek", "--queue", url, "--profile", "nobody")
    code, _, error = Running(peek, environment).ended()

    assert code == 1
    assert "nobody" in error
    assert "Traceback" not in error
    assert len(error.splitlines()) == 1
