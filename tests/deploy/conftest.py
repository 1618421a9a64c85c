import pathlib
from collections.abc import Mapping
from typing import Any, TypeAlias

import pytest

from tests.deploy import chart, programs

Manifest: TypeAlias = Mapping[str, dict[str, Any]]


@pytest.fixture(scope="session")
def manifest() -> Manifest:
    """The documents by kind; there is one of each."""
    documents = chart.documents(chart.BASE.path.read_text(encoding="utf-8"))
    by_kind = {document["kind"]: document for document in documents}
    assert len(by_kind) == len(documents)
    return by_kind


@pytest.fixture(scope="session")
def pod(manifest: Manifest) -> dict[str, Any]:
    """The spec of the pod."""
    spec: dict[str, Any] = manifest["Deployment"]["spec"]["template"]["spec"]
    return spec


@pytest.fixture(scope="session")
def container(pod: dict[str, Any]) -> dict[str, Any]:
    """The spec of the only container."""
    (only,) = pod["containers"]
    assert isinstance(only, dict)
    return only


@pytest.fixture(scope="session")
def tools() -> pathlib.Path:
    """The folder with helm and the other programs."""
    return programs.built_or_skip()


@pytest.fixture(scope="session")
def helm(tools: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> chart.Helm:
    """Helm."""
    return chart.Helm(program=tools / "helm", folder=tmp_path_factory.mktemp("helm"))
