import pathlib
from collections.abc import Mapping
from typing import Any, TypeAlias

import pytest
import yaml

Manifest: TypeAlias = Mapping[str, dict[str, Any]]

MANIFEST = pathlib.Path(__file__).parents[2] / "deploy" / "queue-processor.yaml"


@pytest.fixture(scope="session")
def manifest() -> Manifest:
    """The documents by kind; there is one of each."""
    documents = list(yaml.safe_load_all(MANIFEST.read_text(encoding="utf-8")))
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
