"""Old handlers believe it: the SDK, pollers in the shell, aws-node-termination-handler."""

import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from botocore import utils

from queue_processor.domain.events import EventKind
from queue_processor.simulator.imds.service import TokenPolicy
from tests.simulator.imds import conftest
from tests.simulator.imds.conftest import INSTANCE, NODE, RunningSimulator

# In the order in which version 1.25 asks, below the URL that its INSTANCE_METADATA_URL names.
AT_ITS_START = {
    "instance-id": INSTANCE,
    "instance-type": "m5.large",
    "instance-life-cycle": "spot",
    "local-hostname": NODE,
    "local-ipv4": "10.0.1.7",
    "public-hostname": None,
    "public-ipv4": None,
    "placement/availability-zone": "eu-west-1b",
}
POLLED = {
    "spot/instance-action": None,
    "events/recommendations/rebalance": None,
    "events/maintenance/scheduled": "[]",
    "autoscaling/target-lifecycle-state": "InService",
}
# The loop that the EC2 user guide shows, once, without a token.
POLLER = (
    'if curl -s "$1/latest/meta-data/spot/termination-time" | grep -q ".*T.*Z";'
    " then echo terminated; fi;"
    ' if curl -sf "$1/latest/meta-data/spot/instance-action" > /dev/null; then echo action; fi'
)


def announce(imds: RunningSimulator, kind: EventKind) -> None:
    """Have the server announce something, in its own way of counting time."""
    request = urllib.request.Request(  # noqa: S310 - our own server
        f"{imds.url}/simulator/notices",
        data=f'{{"notices": [{{"node": "{NODE}", "kind": "{kind}"}}]}}'.encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as response:  # noqa: S310 - our own server
        assert b'"announced"' in response.read()


class BotocoreClient(utils.IMDSFetcher):
    """The SDK's own reader, for any path."""

    def value(self, path: str) -> str | None:
        """Return a value; None if there is none."""
        token: str | None = self._fetch_metadata_token()  # type: ignore[attr-defined] # not in the stubs
        assert token is not None
        response = self._get_request(f"latest/meta-data/{path}", lambda _: False, token=token)  # type: ignore[attr-defined] # the same
        text: str = response.text
        return text if response.status_code == 200 else None


@pytest.fixture(params=TokenPolicy)
def of_each_policy(request: pytest.FixtureRequest) -> Iterator[RunningSimulator]:
    with conftest.running(policy=request.param) as made:
        yield made


def test_the_sdk_reads_interruptions_below_an_endpoint_with_a_path(
    of_each_policy: RunningSimulator,
) -> None:
    imds = of_each_policy
    client = BotocoreClient(config={"ec2_metadata_service_endpoint": imds.node_url})
    before = client.value("spot/instance-action")
    announce(imds, EventKind.SPOT_INTERRUPTION)

    assert before is None
    assert '"action": "terminate"' in (client.value("spot/instance-action") or "")


def test_the_sdk_finds_its_region(of_each_policy: RunningSimulator) -> None:
    fetcher = utils.InstanceMetadataRegionFetcher(
        config={"ec2_metadata_service_endpoint": of_each_policy.node_url}
    )

    assert fetcher.retrieve_region() == "eu-west-1"


def test_the_sdk_finds_no_role(of_each_policy: RunningSimulator) -> None:
    fetcher = utils.InstanceMetadataFetcher(
        config={"ec2_metadata_service_endpoint": of_each_policy.node_url}
    )

    assert fetcher.retrieve_iam_role_credentials() == {}


def test_node_termination_handler_finds_all_that_it_asks_for(
    of_each_policy: RunningSimulator,
) -> None:
    client = BotocoreClient(base_url=of_each_policy.node_url)

    assert {path: client.value(path) for path in AT_ITS_START} == AT_ITS_START
    assert {path: client.value(path) for path in POLLED} == POLLED


@pytest.mark.parametrize(
    ("policy", "printed"),
    [(TokenPolicy.OPTIONAL, ["terminated", "action"]), (TokenPolicy.REQUIRED, [])],
)
def test_a_poller_without_tokens_fires_if_they_are_optional(
    policy: TokenPolicy, printed: list[str]
) -> None:
    with conftest.running(policy=policy) as imds:
        quiet = poll(imds)
        announce(imds, EventKind.SPOT_INTERRUPTION)

        assert quiet == []
        assert poll(imds) == printed


def poll(imds: RunningSimulator) -> list[str]:
    finished = subprocess.run(  # noqa: S603 - the poller under test
        ["/bin/sh", "-c", POLLER, "poller", imds.node_url],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return finished.stdout.split()
