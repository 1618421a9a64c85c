"""`imds serve`, as a process."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable

import pytest

from tests.imds import conftest
from tests.messages.conftest import Running, Terminal, ThreadedCluster

Start = Callable[..., Running]


def read(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=60) as response:  # noqa: S310 - our own server
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def url_of(process: Running) -> str:
    """The URL in the first line, which the server prints once it listens."""
    match = re.fullmatch(r"instance metadata on (http://\S+): .*", process.line())
    assert match is not None
    return match[1]


def test_without_a_cluster_nodes_are_invented(start: Start) -> None:
    process = start("serve", "--offline", "--listen", "127.0.0.1:0")
    url = url_of(process)
    introduction = [process.line() for _ in range(6)]

    status, listed = read(f"{url}/latest/meta-data/")
    assert (status, "instance-id" in listed.splitlines()) == (200, True)
    assert introduction == [
        f"one node: {url}/nodes/NAME/latest/meta-data/",
        "point a handler of the node NAME here:",
        f"  our watcher                   IMDS_ENDPOINT={url}/nodes/NAME",
        f"  aws-node-termination-handler  INSTANCE_METADATA_URL={url}/nodes/NAME",
        f"  AWS SDKs and the AWS CLI      AWS_EC2_METADATA_SERVICE_ENDPOINT={url}/nodes/NAME",
        f"announce something: queue-processor imds send KIND --node NAME --server {url}",
    ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_without_a_word(start: Start, number: signal.Signals) -> None:
    process = start("serve", "--offline", "--listen", "127.0.0.1:0")
    url_of(process)
    process.send(number)
    code, _, err = process.ended()

    assert (code, err) == (0, "")


def test_values_come_from_the_nodes_of_the_cluster(start: Start, cluster: ThreadedCluster) -> None:
    process = start("serve", "--listen", "127.0.0.1:0", **cluster.environment())
    line = process.line()
    assert line.endswith(": 6 nodes of the cluster, tokens optional")
    url = line.split()[3].rstrip(":")

    assert read(f"{url}/nodes/node-1/latest/meta-data/instance-id") == (200, conftest.instance(1))
    assert read(f"{url}/nodes/node-9/latest/meta-data/instance-id")[0] == 404
    cluster.do(lambda made: made.add_node("node-9", instance_id=conftest.instance(9)))
    process.until(
        lambda: read(f"{url}/nodes/node-9/latest/meta-data/instance-id")[1] == conftest.instance(9)
    )


def test_tokens_can_be_required(start: Start) -> None:
    process = start("serve", "--offline", "--listen", "127.0.0.1:0", "--tokens", "required")

    assert read(f"{url_of(process)}/latest/meta-data/")[0] == 401


def test_a_schedule_is_announced(start: Start, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "storm.yaml"
    path.write_text("notices: [{begins: 0s, kind: spot_interruption, nodes: [node-1]}]")
    process = start("serve", "--offline", "--listen", "127.0.0.1:0", "--schedule", str(path))
    url = url_of(process)
    while not (line := process.line()).startswith("node-1: spot_interruption announced: "):
        pass

    status, body = read(f"{url}/nodes/node-1/latest/meta-data/spot/instance-action")
    assert status == 200
    assert json.loads(body)["time"] == line.split()[-1]


def test_another_address_is_open_to_anyone_who_reaches_it(start: Start) -> None:
    process = start("serve", "--offline", "--listen", "0.0.0.0:0")
    url = url_of(process)
    lines = [process.line() for _ in range(7)]

    assert url.startswith("http://THIS-HOST:")
    assert lines[-1] == (
        f"anyone who reaches {url}/simulator/notices can announce interruptions to the handlers"
        " that are pointed here"
    )


def test_without_a_cluster_to_read_it_imports_none() -> None:
    """A thousand nodes poll it on a laptop, and the Kubernetes client alone takes 30 MiB."""
    finished = subprocess.run(
        [
            sys.executable,
            "-X",
            "importtime",
            "-m",
            "queue_processor",
            "imds",
            "serve",
            "--offline",
            "--listen",
            "127.0.0.1:99999",
        ],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"]},
        timeout=120,
        check=False,
    )
    imported = {line.rpartition("|")[2].strip() for line in finished.stderr.splitlines()}

    assert "aiohttp.web" in imported
    heavy = ("boto3", "kubernetes", "kopf", "pydantic_settings", "structlog", "rich", "yaml")
    assert [name for name in heavy if name in imported] == []


class TestWrongUsage:
    @pytest.mark.parametrize(
        ("arguments", "code", "expected"),
        [
            (
                ["--listen", "8169"],
                2,
                "serve: --listen: '8169' is not an address such as 127.0.0.1",
            ),
            (["--listen", "127.0.0.1:70000"], 2, "serve: --listen: '127.0.0.1:70000' is not an"),
            (
                ["--schedule", "/none/storm.yaml"],
                2,
                "serve: /none/storm.yaml: cannot be read: No such file",
            ),
            ([], 1, "serve: no Kubernetes cluster: "),
        ],
    )
    def test_a_wrong_argument_is_one_line(
        self, nowhere: Terminal, arguments: list[str], code: int, expected: str
    ) -> None:
        result = nowhere("serve", *arguments)

        assert result.code == code
        assert result.line.startswith(expected)

    def test_without_a_cluster_that_can_be_read_it_says_how_to_do_without(
        self, nowhere: Terminal
    ) -> None:
        assert nowhere("serve").line.endswith("; --offline invents the nodes")

    def test_an_address_that_is_taken_is_one_line(self, start: Start, nowhere: Terminal) -> None:
        taken = url_of(start("serve", "--offline", "--listen", "127.0.0.1:0")).rpartition(":")[2]

        result = nowhere("serve", "--offline", "--listen", f"127.0.0.1:{taken}")
        assert result.code == 1
        assert result.line.startswith(f"serve: cannot listen on 127.0.0.1 port {taken}: ")

    @pytest.mark.parametrize("limit", ["0", "65"])
    def test_a_hop_limit_is_one_of_ec2(self, nowhere: Terminal, limit: str) -> None:
        assert nowhere("serve", "--hop-limit", limit).code == 2

    def test_the_help_has_examples_and_a_schedule(self, nowhere: Terminal) -> None:
        text = nowhere("serve", "--help").out

        assert "queue-processor imds serve --tokens required --schedule storm.yaml" in text
        assert "- begins: 30s\n" in text
