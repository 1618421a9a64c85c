import contextlib
import pathlib
from collections.abc import Iterator

import pytest
import trustme

from tests.watcher.servers import FakeApiServer


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def api_server(authority: trustme.CA) -> Iterator[FakeApiServer]:
    """An API server with one Node."""
    started = FakeApiServer(authority)
    started.nodes["node-1"] = {"owner": "kubelet"}
    with contextlib.closing(started.server):
        yield started


@pytest.fixture
def service_account(authority: trustme.CA, tmp_path: pathlib.Path) -> pathlib.Path:
    """The folder that a pod has."""
    folder = tmp_path / "serviceaccount"
    folder.mkdir()
    authority.cert_pem.write_to_path(str(folder / "ca.crt"))
    (folder / "token").write_text("first-token\n", encoding="ascii")
    return folder
