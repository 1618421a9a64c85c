"""deploy/release.py in a copy of the project: a version is set, and its files are made and used."""

import hashlib
import os
import pathlib
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Mapping

import pytest
import uv
import yaml

from deploy import release
from tests import gobinaries
from tests.deploy import chart, programs
from tests.release import copies

ROOT = release.ROOT
IMAGE = f"registry.example/team/queue-processor@sha256:{'0123456789abcdef' * 4}"
VERSION = "7.8.9"
# Of what `set` and `files` read and write.
COPIED = (
    *("CHANGELOG.md", "Dockerfile", "LICENSE", "README.md", "pyproject.toml", "uv.lock"),
    *("deploy", "docs", "infra", "queue_processor"),
)

# Helm may have to be built first.
pytestmark = [pytest.mark.built, pytest.mark.timeout(gobinaries.BUILD_SECONDS)]


def run(
    folder: pathlib.Path, *arguments: str, path: str = os.environ["PATH"]
) -> subprocess.CompletedProcess[str]:
    """Run the script of the copy."""
    return subprocess.run(  # noqa: S603 - our own arguments
        [sys.executable, "deploy/release.py", *arguments],
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A copy of the project in which the next version is set."""
    folder = tmp_path_factory.mktemp("project")
    copies.copy_project(COPIED, folder)
    # `make manifests` follows.
    finished = run(folder, "set", VERSION)
    assert finished.returncode == 0, finished.stderr
    base = folder / chart.BASE.path.relative_to(ROOT)
    old = release.version()
    base.write_text(base.read_text(encoding="utf-8").replace(old, VERSION), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def files(project: pathlib.Path) -> Mapping[str, pathlib.Path]:
    """The files of the release, by name."""
    tools = pathlib.Path(uv.find_uv_bin()).parent
    path = f"{tools}:{programs.built_or_skip()}:/usr/bin:/bin"
    finished = run(project, "files", "--image", IMAGE, path=path)
    assert finished.returncode == 0, finished.stderr
    return {file.name: file for file in (project / "dist").iterdir()}


def test_every_place_has_the_version_of_the_project() -> None:
    assert {place.read() for place in release.PLACES} == {release.version()}


def test_the_repository_is_the_same_everywhere() -> None:
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
    about = yaml.safe_load((chart.CHART / "Chart.yaml").read_text(encoding="utf-8"))

    assert {about["home"], *about["sources"]} == {urls["Repository"]}
    assert all(url.startswith(urls["Repository"]) for url in urls.values())


def test_setting_a_version_dates_what_was_unreleased(project: pathlib.Path) -> None:
    before = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    after = (project / "CHANGELOG.md").read_text(encoding="utf-8")

    assert run(project, "version", "--tag", f"v{VERSION}").stdout == f"{VERSION}\n"
    assert release.section(after, VERSION) == release.section(before, "Unreleased")
    assert release.section(after, "Unreleased").strip() == ""


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("version", "--tag", "v0.0.1"), "tag the commit with v7.8.9, or run"),
        (("set", "next"), "'next' is not a version such as 1.2.3"),
        (("set", "8.0.0"), "there is nothing under '## [Unreleased]'"),
        (("files", "--image", "registry.example/queue-processor:7.8.9"), "REPOSITORY@sha256:"),
    ],
    ids=["another tag", "no version", "nothing unreleased", "an image without a digest"],
)
def test_what_does_not_fit_is_refused_in_a_line(
    project: pathlib.Path, arguments: tuple[str, ...], reason: str
) -> None:
    finished = run(project, *arguments)

    assert finished.returncode == 1
    assert reason in finished.stderr
    assert len(finished.stderr.splitlines()) == 1


def test_the_files_are_complete_and_have_their_checksums(
    files: Mapping[str, pathlib.Path],
) -> None:
    sums = dict(
        line.split("  ")[::-1] for line in files["SHA256SUMS"].read_text("utf-8").splitlines()
    )

    assert sums.keys() == {
        f"queue-processor-{VERSION}.tgz",
        f"queue_processor-{VERSION}-py3-none-any.whl",
        f"queue_processor-{VERSION}.tar.gz",
        "queue-processor.cloudformation.yaml",
        "queue-processor.yaml",
    }
    for name, checksum in sums.items():
        assert hashlib.sha256(files[name].read_bytes()).hexdigest() == checksum


@pytest.mark.parametrize(
    "name", [f"queue_processor-{VERSION}-py3-none-any.whl", f"queue_processor-{VERSION}.tar.gz"]
)
def test_a_distribution_installs_and_runs(
    files: Mapping[str, pathlib.Path], name: str, tmp_path: pathlib.Path
) -> None:
    program = uv.find_uv_bin()
    python = tmp_path / "venv" / "bin" / "python"
    install = ("pip", "install", "--quiet", "--python", str(python))
    for command in (
        ("venv", "--quiet", "--python", sys.executable, str(tmp_path / "venv")),
        # Exactly what is locked: other versions may have come out since.
        (*install, "--constraints", str(locked_versions(tmp_path)), str(files[name])),
    ):
        subprocess.run([program, *command], check=True, cwd=ROOT)  # noqa: S603 - our own
    shown = subprocess.run(  # noqa: S603 - what was installed
        [str(python.parent / "queue-processor"), "--version"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )

    assert shown.stdout.split()[-1] == VERSION


def locked_versions(folder: pathlib.Path) -> pathlib.Path:
    """Write what uv.lock names as constraints."""
    options = ("--frozen", "--no-dev", "--no-emit-project", "--no-hashes", "--quiet")
    path = folder / "constraints.txt"
    command = (uv.find_uv_bin(), "export", *options, "--output-file", str(path))
    subprocess.run(command, check=True, cwd=ROOT)  # noqa: S603 - our own arguments
    return path


def test_the_description_on_pypi_leads_to_files_of_this_version(
    files: Mapping[str, pathlib.Path],
) -> None:
    with tarfile.open(files[f"queue_processor-{VERSION}.tar.gz"]) as archive:
        member = archive.extractfile(f"queue_processor-{VERSION}/PKG-INFO")
        assert member is not None
        text = member.read().decode()

    assert f"](https://github.com/queue-processor/queue-processor/blob/v{VERSION}/docs/" in text
    assert "](docs/" not in text
    assert "Project-URL: Changelog, https://" in text


def test_the_chart_runs_the_published_image(
    files: Mapping[str, pathlib.Path], tmp_path: pathlib.Path
) -> None:
    helm = chart.Helm(program=programs.built_or_skip() / "helm", folder=tmp_path)
    package = str(files[f"queue-processor-{VERSION}.tgz"])
    values = {"settings": {"queue_url": "https://sqs.eu-west-1.amazonaws.com/123456789012/q"}}
    text = helm.run("template", "queue-processor", package, values=values)

    assert images(text) == {IMAGE}
    assert f'app.kubernetes.io/version: "{VERSION}"' in text
    assert f"helm.sh/chart: queue-processor-{VERSION}" in text


def test_the_manifest_runs_the_published_image(files: Mapping[str, pathlib.Path]) -> None:
    text = files["queue-processor.yaml"].read_text(encoding="utf-8")

    assert images(text) == {IMAGE}
    assert text.count("REPLACE-WITH-") == 1


def images(manifest: str) -> set[str]:
    """Collect the images of all containers."""
    return {
        container["image"]
        for body in chart.documents(manifest)
        if body["kind"] in {"Deployment", "DaemonSet"}
        for container in body["spec"]["template"]["spec"]["containers"]
    }
