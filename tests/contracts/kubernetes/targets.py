"""The clusters that contract tests run on: the simulated one, in two ways, and a real one."""

import contextlib
from collections.abc import AsyncIterator

import looptime
import pytest

from tests.cluster import plane
from tests.contracts.kubernetes.real import RealTarget
from tests.contracts.kubernetes.simulated import (
    HttpConnection,
    InProcessConnection,
    SimulatedTarget,
)


@contextlib.asynccontextmanager
async def by_call(_: pytest.FixtureRequest) -> AsyncIterator[SimulatedTarget]:
    with looptime.enabled(strict=True):
        target = SimulatedTarget(InProcessConnection)
        await target.open()
    yield target
    await target.close()


@contextlib.asynccontextmanager
async def by_http(_: pytest.FixtureRequest) -> AsyncIterator[SimulatedTarget]:
    target = SimulatedTarget(HttpConnection)
    await target.open()
    yield target
    await target.close()


@contextlib.asynccontextmanager
async def real(request: pytest.FixtureRequest) -> AsyncIterator[RealTarget]:
    control_plane: plane.ControlPlane = request.getfixturevalue("control_plane")
    target = RealTarget(control_plane, request.getfixturevalue("operator_access"))
    try:
        await target.open()
        yield target
    finally:
        await target.close()


BY_CALL = pytest.param(by_call, marks=pytest.mark.looptime, id="simulator by call")
BY_HTTP = pytest.param(by_http, id="simulator by http")
REAL = pytest.param(real, marks=pytest.mark.built, id="real api server")

# For tests of what HTTP can change: they run on the simulator over HTTP, too.
over_http = pytest.mark.parametrize("cluster", [BY_CALL, BY_HTTP, REAL], indirect=True)
