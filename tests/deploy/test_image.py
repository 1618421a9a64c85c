"""The image: its metadata, its content, and the program in it."""

import asyncio
import contextlib
import dataclasses
import importlib.util
import json
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import tomllib
import urllib.request
from collections.abc import AsyncIterator, Iterator
from typing import Any

import dockerfile_parse  # type: ignore[import-untyped]  # it has no annotations
import pytest
from packaging import tags, utils

from queue_processor.settings import groups
from queue_processor.simulator.aws import simulator
from queue_processor.simulator.kube import api, http
from queue_processor.simulator.kube.cluster import SimulatedCluster
from tests.deploy import container

ROOT = pathlib.Path(__file__).parents[2]
DOCKERFILE = ROOT / "Dockerfile"
PARSED = dockerfile_parse.DockerfileParser(str(DOCKERFILE))
INSTRUCTIONS = [(entry["instruction"], entry["value"]) for entry in PARSED.structure]
# Of each instruction the last one: that of the last stage.
STATED = dict(INSTRUCTIONS)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
HOME = "opt/queue-processor"
UNCHECKED_HASH = 0b01
MEBIBYTE = 1024

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def image() -> Iterator[pathlib.Path]:
    """The file system that the Dockerfile makes."""
    container.skip_where_it_cannot_be()
    with tempfile.TemporaryDirectory(prefix="image-") as folder:
        # Others than root look in there later.
        pathlib.Path(folder).chmod(0o755)
        yield container.built(INSTRUCTIONS, ROOT, pathlib.Path(folder))


@dataclasses.dataclass(frozen=True, slots=True)
class Container:
    """The image as Kubernetes runs it: not as root, and unable to write."""

    image: pathlib.Path

    def invocation(self, *arguments: str, **variables: str) -> list[str]:
        """The command of this machine that starts it."""
        # PATH has the program only: no shell, and no tools.
        environment = {**PARSED.envs, "PATH": f"/{HOME}/bin", **variables}
        arguments = arguments or tuple(json.loads(STATED["CMD"]))
        command = (*json.loads(STATED["ENTRYPOINT"]), *arguments)
        return container.invocation(self.image, command, environment, user=STATED["USER"])

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return subprocess.run(  # noqa: S603 - the program under test
            self.invocation(*arguments, **variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def running(image: pathlib.Path) -> Container:
    """The image, ready to be run."""
    return Container(image)


def packages(image: pathlib.Path) -> pathlib.Path:
    """The folder in which everything is installed."""
    (found,) = (image / HOME / "lib").glob("python3.*/site-packages")
    return found


def installed(image: pathlib.Path) -> dict[str, str]:
    """The versions of what is installed, by name."""
    names = (path.stem for path in packages(image).glob("*.dist-info"))
    pairs = (name.rpartition("-") for name in names)
    return {utils.canonicalize_name(name): version for name, _, version in pairs}


def locked() -> dict[str, dict[str, Any]]:
    """Return the entries of uv.lock, by package."""
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
    return {package["name"]: package for package in lock["package"]}


# Metadata.


def test_the_dockerfile_passes_its_linter() -> None:
    linter = pathlib.Path(sys.executable).with_name("hadolint")
    finished = subprocess.run(  # noqa: S603 - a tool of the environment
        [str(linter), "--failure-threshold=style", str(DOCKERFILE)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout


def test_the_image_has_labels() -> None:
    prefix = "org.opencontainers.image."
    labels = {key.removeprefix(prefix): value for key, value in PARSED.labels.items()}
    assert labels["title"] == PROJECT["name"]
    assert labels["version"] == PROJECT["version"]
    assert labels["licenses"] == PROJECT["license"]
    assert STATED["EXPOSE"] == str(groups.HttpSettings().port)
    assert STATED["HEALTHCHECK"] == "NONE"


def test_the_user_is_the_one_of_the_pod(pod: dict[str, object]) -> None:
    context = pod["securityContext"]
    assert isinstance(context, dict)
    assert STATED["USER"] == f"{context['runAsUser']}:{context['runAsGroup']}"


# Content.


def test_the_image_has_only_the_program_and_its_dependencies(image: pathlib.Path) -> None:
    assert [path.name for path in (image / "opt").iterdir()] == ["queue-processor"]
    names = installed(image).keys()
    assert {"queue-processor", "boto3", "kopf", "kubernetes"} <= names
    assert names.isdisjoint({"pytest", "moto", "mypy", "pip", "uv"})


def test_every_module_is_compiled_and_its_source_is_not_checked_again(
    image: pathlib.Path,
) -> None:
    modules = sorted(packages(image).rglob("*.py"))
    assert len([path for path in modules if "queue_processor" in path.parts]) > 50
    flags = {}
    for module in modules:
        compiled = pathlib.Path(importlib.util.cache_from_source(str(module)))
        # https://peps.python.org/pep-0552/: the flags come after the magic number.
        flags[module] = compiled.read_bytes()[4] if compiled.exists() else None
    assert {module for module, flag in flags.items() if flag != UNCHECKED_HASH} == set()


def test_the_installed_packages_are_those_of_the_lock(image: pathlib.Path) -> None:
    lock = locked()
    found = installed(image)
    assert found == {name: lock[name]["version"] for name in found}


@pytest.mark.parametrize("architecture", ["x86_64", "aarch64"])
def test_nothing_has_to_be_compiled_on_either_architecture(
    image: pathlib.Path, architecture: str
) -> None:
    base = re.search(r"python:3\.(\d+)\.", DOCKERFILE.read_text(encoding="utf-8"))
    assert base is not None
    # What Debian 12 runs. https://peps.python.org/pep-0600/
    platforms = [f"manylinux_2_{minor}_{architecture}" for minor in range(36, 4, -1)]
    platforms += [f"manylinux2014_{architecture}", f"linux_{architecture}"]
    version = (3, int(base[1]))
    fits = {
        *tags.cpython_tags(python_version=version, platforms=platforms),
        *tags.compatible_tags(python_version=version, platforms=platforms),
    }
    lock = locked()
    for name in installed(image).keys() - {PROJECT["name"]}:
        wheels = [wheel["url"].rpartition("/")[2] for wheel in lock[name]["wheels"]]
        assert any(fits & utils.parse_wheel_filename(wheel)[3] for wheel in wheels), name


# The program.


def test_the_help_is_printed(running: Container) -> None:
    finished = running.run("--help")
    assert finished.returncode == 0, finished.stderr
    assert "Usage: queue-processor" in finished.stdout


def test_a_wrong_setting_is_one_line_and_an_exit_code_of_its_own(running: Container) -> None:
    url = "https://sqs.eu-west-1.amazonaws.com/123456789012/q"
    finished = running.run(QUEUE_PROCESSOR_QUEUE_URL=url, QUEUE_PROCESSOR_LOG__LEVEL="loud")
    assert finished.returncode == 2
    (line,) = finished.stderr.splitlines()
    assert line.startswith("settings: log.level: 'loud' is not allowed")


def test_without_arguments_it_runs_the_operator(running: Container) -> None:
    finished = running.run()
    assert finished.returncode == 2
    (line,) = finished.stderr.splitlines()
    assert line.startswith("settings: queue_url: not set")


@pytest.fixture
async def surroundings(image: pathlib.Path) -> AsyncIterator[dict[str, str]]:
    """AWS and a cluster, simulated; the environment of a program that finds them."""
    cluster = SimulatedCluster()
    cluster.add_node("node-a", instance_id="i-0aaaaaaaaaaaaaaaa")
    shell = http.HttpServer(api.SimulatedApiServer(cluster))
    await shell.start()
    kubeconfig = shell.write_kubeconfig(image / "kubeconfig")
    kubeconfig.chmod(0o644)
    with simulator.AwsSimulator() as aws:
        yield {
            **aws.environment(),
            "QUEUE_PROCESSOR_QUEUE_URL": aws.deploy().queue_url,
            "QUEUE_PROCESSOR_HTTP__BIND": "127.0.0.1:0",
            "KUBECONFIG": "/kubeconfig",
        }
    await shell.stop()


async def test_it_works_on_a_read_only_file_system_and_stops_cleanly(
    running: Container, surroundings: dict[str, str]
) -> None:
    process = await asyncio.create_subprocess_exec(
        *running.invocation(**surroundings), stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(60):
            port = (await logged(process, "http_listening"))["port"]
            assert (await logged(process, "nodes_indexed"))["nodes"] == 1
            await logged(process, "leadership_acquired")
        url = f"http://127.0.0.1:{port}/readyz"
        assert await asyncio.to_thread(status_of, url) == 200
        about = told_by_the_kernel(process.pid)
        assert set(about["Uid"].split()) == {"65532"}
        assert int(about["CapEff"], 16) == 0
        assert about["NoNewPrivs"].strip() == "1"
        # Without bytecode it is 70 MiB larger.
        assert int(about["VmHWM"].split()[0]) < 150 * MEBIBYTE

        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            await logged(process, "stopped")
            assert await process.wait() == 0
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def logged(process: asyncio.subprocess.Process, event: str) -> dict[str, object]:
    """Read the log until a line about an event."""
    assert process.stderr is not None
    lines: list[dict[str, object]] = []
    while line := await process.stderr.readline():
        lines.append(json.loads(line))
        if lines[-1]["event"] == event:
            return lines[-1]
    raise AssertionError(lines)


def told_by_the_kernel(pid: int) -> dict[str, str]:
    """The status of a process on Linux. https://man7.org/linux/man-pages/man5/proc_pid_status.5.html."""
    lines = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return dict(line.split(":", 1) for line in lines)


def status_of(url: str) -> int:
    with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 - our own server
        return int(answer.status)
