"""Instance metadata over requests and responses, without a socket."""

import datetime as dt
import json
import pathlib

import pytest
from multidict import CIMultiDict

from queue_processor.domain.events import EventKind
from queue_processor.domain.identifiers import InstanceId, NodeName
from queue_processor.domain.imds_bodies import InterruptionAction
from queue_processor.simulator.imds.announcements import Announcement, NodeAnnouncement
from queue_processor.simulator.imds.fleet import MetadataFleet
from queue_processor.simulator.imds.instances import SimulatedInstance
from queue_processor.simulator.imds.service import (
    MetadataRequest,
    MetadataResponse,
    MetadataService,
    TokenPolicy,
)

SAMPLES = pathlib.Path(__file__).parents[2] / "data" / "imds"
NOW = dt.datetime(2026, 11, 29, 12, 0, 0, 700_000, tzinfo=dt.UTC)
NODE = NodeName("ip-10-0-1-7.ec2.internal")
OTHER = NodeName("ip-10-0-1-8.ec2.internal")
TTL = "x-aws-ec2-metadata-token-ttl-seconds"
TOKEN = "x-aws-ec2-metadata-token"  # noqa: S105 - the name of a header


def instance_of(node: NodeName, last: int) -> SimulatedInstance:
    return SimulatedInstance(
        node=node,
        instance_id=InstanceId(f"i-{last:017x}"),
        private_ip=f"10.0.1.{last}",
        hostname=node,
        region="eu-west-1",
        zone="eu-west-1b",
    )


class Imds:
    """The metadata of two nodes, and the requests of a caller."""

    def __init__(self, policy: TokenPolicy = TokenPolicy.OPTIONAL) -> None:
        self.fleet = MetadataFleet([instance_of(NODE, 7), instance_of(OTHER, 8)])
        self._service = MetadataService(self.fleet, token_policy=policy)
        self.time = 1000.0

    def __call__(
        self,
        path: str,
        method: str = "GET",
        *,
        node: str | None = NODE,
        caller: str = "127.0.0.1",
        **headers: str,
    ) -> MetadataResponse:
        prefix = "" if node is None else f"/nodes/{node}"
        return self._service.respond(
            MetadataRequest(
                method=method,
                path=f"{prefix}{path}",
                headers=CIMultiDict({key.replace("_", "-"): each for key, each in headers.items()}),
                caller=caller,
                at=self.time,
            )
        )

    def value(self, path: str, **arguments: str) -> str | None:
        """The value below `meta-data/`; None for the 404 of EC2."""
        response = self(f"/latest/meta-data/{path}", **arguments)
        if response.status == 404:
            assert response.body == (SAMPLES / "not_found.html").read_text(encoding="utf-8")
            assert response.content_type == "text/html"
            return None
        assert (response.status, response.content_type) == (200, "text/plain")
        return response.body

    def token(self, *, ttl: str = "21600", node: str = NODE) -> str:
        response = self("/latest/api/token", "PUT", node=node, **{TTL: ttl})
        assert response.status == 200
        return response.body

    def announce(
        self,
        kind: EventKind,
        *,
        action: InterruptionAction | None = None,
        ends_in: dt.timedelta | None = None,
        cancel: bool = False,
    ) -> str:
        announcement = Announcement(kind=kind, action=action, ends_in=ends_in, is_cancelled=cancel)
        order = NodeAnnouncement(node=NODE, announcement=announcement)
        return self.fleet.announce(order, now=NOW)


@pytest.fixture
def imds() -> Imds:
    return Imds()


class TestTokens:
    def test_a_token_says_how_long_it_is_valid(self, imds: Imds) -> None:
        granted = imds("/latest/api/token", "PUT", **{TTL: "60"})
        imds.time += 20
        used = imds("/latest/meta-data/instance-id", **{TOKEN: granted.body})

        assert (granted.status, granted.is_token) == (200, True)
        assert granted.headers["X-aws-ec2-metadata-token-ttl-seconds"] == "60"
        assert used.status == 200
        assert used.headers["X-aws-ec2-metadata-token-ttl-seconds"] == "40"

    @pytest.mark.parametrize("ttl", ["1", "21600"])
    def test_the_shortest_and_the_longest_time_are_granted(self, imds: Imds, ttl: str) -> None:
        assert imds.token(ttl=ttl)

    @pytest.mark.parametrize("ttl", ["0", "21601", "-1", "1.5", "", "soon", "9" * 30])
    def test_any_other_time_is_a_bad_request(self, imds: Imds, ttl: str) -> None:
        assert imds("/latest/api/token", "PUT", **{TTL: ttl}).status == 400

    def test_a_missing_time_is_a_bad_request(self, imds: Imds) -> None:
        assert imds("/latest/api/token", "PUT").status == 400

    def test_a_forwarded_request_gets_no_token(self, imds: Imds) -> None:
        headers = {TTL: "60", "x-forwarded-for": "10.0.0.1"}

        assert imds("/latest/api/token", "PUT", **headers).status == 403

    def test_a_dated_version_gives_no_token(self, imds: Imds) -> None:
        assert imds("/2021-03-23/api/token", "PUT", **{TTL: "60"}).status == 403

    def test_a_token_is_not_read(self, imds: Imds) -> None:
        response = imds("/latest/api/token")

        assert (response.status, response.headers["Allow"]) == (405, "OPTIONS, PUT")

    @pytest.mark.parametrize("policy", TokenPolicy)
    @pytest.mark.parametrize("token", ["", "x", "AAAA", "ü", "A" * 400])
    def test_a_token_of_nobody_is_unauthorized_always(
        self, policy: TokenPolicy, token: str
    ) -> None:
        assert Imds(policy)("/latest/meta-data/", **{TOKEN: token}).status == 401

    def test_a_token_is_for_one_node(self, imds: Imds) -> None:
        token = imds.token(node=OTHER)

        assert imds("/latest/meta-data/", **{TOKEN: token}).status == 401

    def test_a_token_ends(self, imds: Imds) -> None:
        token = imds.token(ttl="10")
        imds.time += 9.5
        before = imds("/latest/meta-data/", **{TOKEN: token}).status
        imds.time += 0.5

        assert (before, imds("/latest/meta-data/", **{TOKEN: token}).status) == (200, 401)

    def test_without_one_a_request_is_answered_if_tokens_are_optional(self) -> None:
        path = "/latest/meta-data/instance-id"

        assert Imds(TokenPolicy.OPTIONAL)(path).status == 200
        assert Imds(TokenPolicy.REQUIRED)(path).status == 401

    def test_a_required_token_is_accepted(self) -> None:
        imds = Imds(TokenPolicy.REQUIRED)

        assert imds.value("instance-id", **{TOKEN: imds.token()}) == "i-00000000000000007"


class TestTargets:
    def test_a_path_names_the_node(self, imds: Imds) -> None:
        assert imds.value("instance-id", node=OTHER) == "i-00000000000000008"

    def test_without_a_name_it_is_the_node_with_the_address_of_the_caller(self, imds: Imds) -> None:
        response = imds("/latest/meta-data/instance-id", node=None, caller="10.0.1.8")

        assert response.body == "i-00000000000000008"

    @pytest.mark.parametrize(
        ("node", "caller"), [("node-9", "10.0.1.7"), (None, "10.0.1.9"), ("..", "10.0.1.7")]
    )
    def test_who_is_no_node_is_helped(self, imds: Imds, node: str | None, caller: str) -> None:
        response = imds("/latest/meta-data/", node=node, caller=caller)

        assert response.status == 404
        assert response.body.startswith(f"no node {node or caller}: ask for /nodes/NAME/latest/")

    def test_without_a_cluster_every_name_is_a_node_and_always_the_same(self) -> None:
        first, second = (MetadataFleet().instance_of(NodeName("127.0.0.1")) for _ in range(2))

        assert first == second
        assert first != MetadataFleet().instance_of(NodeName("127.0.0.2"))

    def test_a_replaced_instance_is_announced_nothing(self, imds: Imds) -> None:
        imds.announce(EventKind.SPOT_INTERRUPTION)
        imds.fleet.put(instance_of(NODE, 9))

        assert imds.value("spot/instance-action") is None
        assert imds.value("instance-id") == "i-00000000000000009"

    def test_a_new_list_forgets_who_is_not_in_it(self, imds: Imds) -> None:
        imds.announce(EventKind.SPOT_INTERRUPTION)
        imds.fleet.replace_all([instance_of(OTHER, 8)])
        imds.fleet.replace_all([instance_of(OTHER, 8), instance_of(NODE, 7)])

        assert imds.value("spot/instance-action") is None


class TestValues:
    def test_a_directory_lists_what_is_in_it(self, imds: Imds) -> None:
        assert imds("/").body.splitlines()[-1] == "latest"
        assert imds("/latest/").body.splitlines() == ["dynamic", "meta-data"]
        assert imds("/latest/meta-data/placement/").body.splitlines() == [
            "availability-zone",
            "region",
        ]
        listed = imds("/latest/meta-data/").body.splitlines()
        assert {"ami-id", "events/", "instance-id", "placement/"} <= set(listed)

    def test_everything_that_is_listed_is_there(self, imds: Imds) -> None:
        values: dict[str, str] = {}
        directories = [""]
        while directories:
            directory = directories.pop()
            for name in (imds.value(directory) or "").splitlines():
                path = f"{directory}{name}"
                if name.endswith("/"):
                    directories.append(path)
                else:
                    values[path] = imds.value(path) or ""

        assert len(values) >= 25
        assert all(values.values())
        assert "spot/instance-action" not in values

    @pytest.mark.parametrize(
        "path", ["nothing", "instance-id/nothing", "instance-i", "spot/", "public-ipv4", "iam/"]
    )
    def test_what_is_not_there_is_the_page_of_ec2(self, imds: Imds, path: str) -> None:
        assert imds.value(path) is None

    def test_an_interruption_is_only_below_the_metadata(self, imds: Imds) -> None:
        imds.announce(EventKind.SPOT_INTERRUPTION)

        assert imds("/latest/spot/instance-action").status == 404

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
    def test_nothing_can_be_written(self, imds: Imds, method: str) -> None:
        assert imds("/latest/meta-data/instance-id", method).status == 405

    def test_cloud_init_finds_its_versions(self, imds: Imds) -> None:
        assert imds("/2009-04-04/meta-data/instance-id").body == "i-00000000000000007"
        assert imds("/1999-01-01/meta-data/instance-id").status == 404

    def test_the_identity_document_has_the_fields_of_the_user_guide(self, imds: Imds) -> None:
        document = json.loads(imds("/latest/dynamic/instance-identity/document").body)
        sample = json.loads((SAMPLES / "identity_document.json").read_text(encoding="utf-8"))

        assert document.keys() == sample.keys()
        assert document["instanceId"] == "i-00000000000000007"
        assert (document["region"], document["availabilityZone"]) == ("eu-west-1", "eu-west-1b")

    def test_the_server_calls_itself_what_ec2_does(self, imds: Imds) -> None:
        assert imds("/latest/").headers["Server"] == "EC2ws"


class TestAnnouncements:
    def test_before_any_the_paths_are_what_they_are_on_a_quiet_instance(self, imds: Imds) -> None:
        assert {
            path: imds.value(path)
            for path in (
                "spot/instance-action",
                "spot/termination-time",
                "events/recommendations/rebalance",
                "events/maintenance/scheduled",
                "events/maintenance/history",
                "autoscaling/target-lifecycle-state",
            )
        } == {
            "spot/instance-action": None,
            "spot/termination-time": None,
            "events/recommendations/rebalance": None,
            "events/maintenance/scheduled": "[]",
            "events/maintenance/history": "[]",
            "autoscaling/target-lifecycle-state": "InService",
        }

    def test_a_spot_interruption_is_in_two_minutes_on_both_paths(self, imds: Imds) -> None:
        imds.announce(EventKind.SPOT_INTERRUPTION)

        assert (
            imds.value("spot/instance-action")
            == '{"action": "terminate", "time": "2026-11-29T12:02:00Z"}'
        )
        assert imds.value("spot/termination-time") == "2026-11-29T12:02:00Z"
        assert imds.value("spot/") == "instance-action\ntermination-time"
        assert imds.value("spot/instance-action", node=OTHER) is None

    def test_a_time_does_not_move(self, imds: Imds) -> None:
        imds.announce(EventKind.SPOT_INTERRUPTION, ends_in=dt.timedelta(seconds=45))
        first = imds.value("spot/instance-action")
        imds.time += 100

        assert imds.value("spot/instance-action") == first
        assert first is not None
        assert "12:00:45Z" in first

    def test_an_instance_that_is_stopped_has_no_termination_time(self, imds: Imds) -> None:
        imds.announce(EventKind.SPOT_INTERRUPTION, action=InterruptionAction.STOP)

        assert imds.value("spot/termination-time") is None
        assert json.loads(imds.value("spot/instance-action") or "")["action"] == "stop"

    def test_hibernation_begins_at_once(self, imds: Imds) -> None:
        imds.announce(EventKind.SPOT_INTERRUPTION, action=InterruptionAction.HIBERNATE)

        assert json.loads(imds.value("spot/instance-action") or "") == {
            "action": "hibernate",
            "time": "2026-11-29T12:00:00Z",
        }

    def test_several_notices_stand_beside_each_other(self, imds: Imds) -> None:
        imds.announce(EventKind.SPOT_INTERRUPTION)
        imds.announce(EventKind.REBALANCE_RECOMMENDATION)
        imds.announce(EventKind.AUTOSCALING_TERMINATION)
        ids = [imds.announce(EventKind.SCHEDULED_CHANGE) for _ in range(2)]

        listed = json.loads(imds.value("events/maintenance/scheduled") or "")
        assert [event["EventId"] for event in listed] == ids
        assert imds.value("spot/instance-action") is not None
        assert (
            imds.value("events/recommendations/rebalance")
            == '{"noticeTime": "2026-11-29T12:00:00Z"}'
        )
        assert imds.value("autoscaling/target-lifecycle-state") == "Terminated"

    def test_a_cancelled_change_moves_to_the_history(self, imds: Imds) -> None:
        change_id = imds.announce(EventKind.SCHEDULED_CHANGE, ends_in=dt.timedelta(days=2))
        imds.announce(EventKind.SCHEDULED_CHANGE, cancel=True)

        assert imds.value("events/maintenance/scheduled") == "[]"
        (event,) = json.loads(imds.value("events/maintenance/history") or "")
        assert event == {
            "NotBefore": "1 Dec 2026 12:00:00 GMT",
            "Code": "instance-retirement",
            "Description": "[Canceled] The instance is running on degraded hardware",
            "EventId": change_id,
            "State": "canceled",
        }
