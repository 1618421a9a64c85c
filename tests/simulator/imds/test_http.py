"""The server on a socket, and its control API."""

import contextlib
import datetime as dt
import http.client
import json
import socket
import urllib.parse
from collections.abc import AsyncIterator

import aiohttp
import pytest

from queue_processor.domain import errors
from queue_processor.simulator.imds.control import ControlApi
from queue_processor.simulator.imds.fleet import MetadataFleet
from queue_processor.simulator.imds.http import MetadataServer
from queue_processor.simulator.imds.service import MetadataService, TokenPolicy
from tests.simulator.imds import conftest
from tests.simulator.imds.conftest import INSTANCE, NODE, RunningSimulator


def ask(
    imds: RunningSimulator,
    path: str,
    method: str = "GET",
    *,
    body: str | None = None,
    content_type: str = "application/json",
) -> tuple[int, str]:
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(imds.url).netloc, timeout=60)
    headers = {} if body is None else {"Content-Type": content_type}
    connection.request(method, path, body=body, headers=headers)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, text


def post(imds: RunningSimulator, *notices: object) -> list[dict[str, str]]:
    status, answer = ask(
        imds, "/simulator/notices", "POST", body=json.dumps({"notices": list(notices)})
    )
    assert status == 200
    results: list[dict[str, str]] = json.loads(answer)["results"]
    return results


SPOT = {"kind": "spot_interruption", "node": NODE}


def test_a_connection_serves_many_requests(imds: RunningSimulator) -> None:
    connection = http.client.HTTPConnection(urllib.parse.urlsplit(imds.url).netloc, timeout=60)
    bodies = []
    for _ in range(3):
        connection.request("GET", f"/nodes/{NODE}/latest/meta-data/instance-id")
        bodies.append(connection.getresponse().read().decode())
        assert connection.sock is not None
    connection.close()

    assert bodies == [INSTANCE] * 3


def test_the_name_of_a_node_can_be_quoted(imds: RunningSimulator) -> None:
    quoted = NODE.replace(".", "%2E")

    assert ask(imds, f"/nodes/{quoted}/latest/meta-data/instance-id") == (200, INSTANCE)


def test_an_announcement_is_printed_and_served(imds: RunningSimulator) -> None:
    (result,) = post(imds, {**SPOT, "instance": INSTANCE, "in": "90s", "action": "stop"})

    status, body = ask(imds, f"/nodes/{NODE}/latest/meta-data/spot/instance-action")
    assert status == 200
    assert json.loads(body) == {"action": "stop", "time": result["announced"]}
    assert imds.lines == [f"{NODE}: spot_interruption announced: {result['announced']}"]


def test_each_of_several_announcements_has_its_own_result(imds: RunningSimulator) -> None:
    results = post(
        imds,
        SPOT,
        {**SPOT, "node": "node-9"},
        {**SPOT, "instance": "i-00000000000000008"},
        {"kind": "scheduled_change", "node": NODE, "cancel": True},
    )

    assert [list(result) for result in results] == [["announced"], *[["error"]] * 3]
    unknown, elsewhere, nothing = (result["error"] for result in results[1:])
    assert unknown == "the cluster of `imds serve` has no such node"
    assert elsewhere == (
        f"runs on i-00000000000000008, but on {INSTANCE} for `imds serve`; start that with the same"
        " KUBECONFIG"
    )
    assert nothing == "no scheduled change to cancel"


@pytest.mark.parametrize(
    ("notice", "error"),
    [
        ("text", "a str, where an object is needed"),
        ({"node": NODE}, "kind: missing, where a text is needed"),
        ({"kind": "spot_interruption"}, "node: missing, where a text is needed"),
        ({**SPOT, "node": "a/b"}, "node: 'a/b' is not the name of a node"),
        ({**SPOT, "kind": "reboot"}, "kind: 'reboot' is none of spot_interruption, "),
        ({**SPOT, "kind": "state_change"}, "instance metadata announces no state_change; "),
        ({**SPOT, "in": "soon"}, "in: 'soon' is not a time such as 30s"),
        ({**SPOT, "in": 30}, "in: a int, where a text is needed"),
        ({**SPOT, "action": "reboot"}, "action: 'reboot' is none of terminate, stop, hibernate"),
        ({**SPOT, "instance": "node"}, "instance: 'node' is no instance id"),
        ({**SPOT, "cancel": "yes"}, "cancel: a str, not true or false"),
        ({**SPOT, "cancel": True}, "EC2 never cancels a spot_interruption"),
        ({**SPOT, "kind": "scheduled_change", "action": "stop"}, "scheduled_change has no action"),
        ({**SPOT, "kind": "rebalance_recommendation", "in": "1s"}, "a time is for a spot_"),
        ({**SPOT, "when": "now"}, "when: no such field"),
    ],
)
def test_a_wrong_announcement_is_one_line(
    imds: RunningSimulator, notice: object, error: str
) -> None:
    (result,) = post(imds, notice)

    assert result["error"].startswith(error)
    assert "\n" not in result["error"]
    assert imds.lines == []


@pytest.mark.parametrize("body", ["", "[]", '{"notices": {}}', "[" * 100_000])
def test_what_is_no_request_is_refused(imds: RunningSimulator, body: str) -> None:
    status, answer = ask(imds, "/simulator/notices", "POST", body=body)

    assert status == 400
    assert json.loads(answer)["error"]


def test_a_page_in_a_browser_can_announce_nothing(imds: RunningSimulator) -> None:
    """It needs no permission of the server only for content types such as this one."""
    body = json.dumps({"notices": [SPOT]})

    status, _ = ask(imds, "/simulator/notices", "POST", body=body, content_type="text/plain")
    assert status == 415
    assert ask(imds, "/simulator/notices", "OPTIONS")[0] == 405
    assert ask(imds, "/simulator/notices")[0] == 405
    assert ask(imds, f"/nodes/{NODE}/latest/meta-data/spot/instance-action")[0] == 404


def server_of(fleet: MetadataFleet, *, hop_limit: int | None = None) -> MetadataServer:
    return MetadataServer(
        MetadataService(fleet, token_policy=TokenPolicy.OPTIONAL),
        ControlApi(fleet, now=lambda: dt.datetime.now(dt.UTC), on_announced=print),
        hop_limit=hop_limit,
    )


@contextlib.asynccontextmanager
async def serving(*, hop_limit: int | None = None) -> AsyncIterator[tuple[MetadataServer, int]]:
    """A server on the loop of the test, and its port."""
    server = server_of(conftest.fleet_of_one(), hop_limit=hop_limit)
    try:
        yield server, await server.start("127.0.0.1", 0)
    finally:
        await server.stop()


def ttl_of(server: MetadataServer) -> int:
    """The TTL of the packets on its only connection."""
    assert server._runner is not None
    assert server._runner.server is not None
    (connection,) = server._runner.server.connections
    assert connection.transport is not None
    opened: socket.socket = connection.transport.get_extra_info("socket")
    return opened.getsockopt(socket.IPPROTO_IP, socket.IP_TTL)


@pytest.mark.parametrize("hop_limit", [None, 3])
async def test_the_packets_of_a_token_have_the_hop_limit(hop_limit: int | None) -> None:
    """Nothing counts hops on this machine, so the socket has to show it."""
    with socket.socket() as fresh:
        by_default = fresh.getsockopt(socket.IPPROTO_IP, socket.IP_TTL)
    async with serving(hop_limit=hop_limit) as (server, port), aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{port}/nodes/{NODE}/latest"
        await session.get(f"{url}/meta-data/")
        at_first = ttl_of(server)
        headers = {"X-aws-ec2-metadata-token-ttl-seconds": "60"}
        answer = await session.put(f"{url}/api/token", headers=headers)

        assert answer.status == 200
        assert (at_first, ttl_of(server)) == (by_default, hop_limit or by_default)


async def test_an_address_that_is_taken_is_one_line(imds: RunningSimulator) -> None:
    taken = int(imds.url.rpartition(":")[2])
    expected = rf"^cannot listen on 127\.0\.0\.1 port {taken}: .*--listen$"

    with pytest.raises(errors.ConfigurationError, match=expected):
        await server_of(conftest.fleet_of_one()).start("127.0.0.1", taken)
