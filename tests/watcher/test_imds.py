"""Session tokens: renewal, refusal, and the two cases without."""

import json

import pytest

from queue_processor.domain import errors
from queue_processor.watcher.imds import MetadataClient, MetadataEndpoint
from queue_processor.watcher.json_log import JsonLog
from tests.watcher import scripted_imds, world
from tests.watcher.scripted_imds import INSTANCE_ACTION, INSTANCE_ID, Response
from tests.watcher.world import WatcherWorld

SIX_HOURS = 21_600


def client_of(stage: WatcherWorld) -> MetadataClient:
    return stage.new_client(JsonLog(stage.log))


def outcome_of(client: MetadataClient) -> str | None:
    """The body, or the error that the client raises."""
    try:
        return client.get(INSTANCE_ID)
    except errors.QueueProcessorError as error:
        return f"{type(error).__name__}: {error}"


def test_one_token_serves_five_hours_of_polls() -> None:
    stage = world.make()

    stage.run_until(SIX_HOURS * 5 / 6 - 1)
    assert stage.imds.token_requests == 1

    stage.run_until(SIX_HOURS * 5 / 6 + 3)
    assert stage.imds.token_requests == 2
    assert stage.log_events() == []


def test_a_token_lives_as_long_as_its_answer_says() -> None:
    stage = world.make()
    stage.imds.ttl_seconds = 60

    stage.run_until(600)

    assert stage.imds.token_requests == 13
    assert stage.log_events() == []


def test_a_token_that_is_refused_is_replaced_at_once() -> None:
    stage = world.make()
    client = client_of(stage)
    client.get(INSTANCE_ID)
    stage.imds.revoke_tokens()

    assert client.get(INSTANCE_ID) == world.INSTANCE
    assert stage.imds.token_requests == 2


def test_a_storm_of_401_costs_one_token_request_per_read() -> None:
    stage = world.make()
    client = client_of(stage)
    client.get(INSTANCE_ID)
    stage.imds.script[INSTANCE_ID] = scripted_imds.page(401)

    for _ in range(100):
        assert outcome_of(client) == "TemporaryError: HTTP 401"
    assert stage.imds.token_requests == 101
    assert stage.imds.count("GET", INSTANCE_ID) == 102

    stage.imds.script.clear()
    assert outcome_of(client) == world.INSTANCE
    assert stage.log_events() == []


def test_a_404_is_an_answer() -> None:
    stage = world.make()

    assert client_of(stage).get(INSTANCE_ACTION) is None


@pytest.mark.parametrize("answer", [scripted_imds.page(503), scripted_imds.page(403)])
def test_a_renewal_that_fails_leaves_the_old_token_in_use(answer: Response) -> None:
    stage = world.make()
    client = client_of(stage)
    client.get(INSTANCE_ID)
    stage.imds.script_tokens(answer)

    stage.time.seconds = SIX_HOURS * 5 / 6 + 1
    assert outcome_of(client) == world.INSTANCE
    assert outcome_of(client) == world.INSTANCE
    assert stage.imds.token_requests == 2

    stage.imds.script_tokens(None)
    stage.time.seconds += 120
    assert outcome_of(client) == world.INSTANCE
    assert stage.imds.token_requests == 3
    assert stage.log_events() == []


def test_a_token_is_not_used_after_its_end() -> None:
    stage = world.make()
    client = client_of(stage)
    client.get(INSTANCE_ID)
    stage.imds.script_tokens(scripted_imds.page(503))

    stage.time.seconds = SIX_HOURS + 1.0
    assert outcome_of(client) == "TemporaryError: token request: HTTP 503"

    stage.imds.script_tokens(None)
    assert outcome_of(client) == world.INSTANCE


@pytest.mark.parametrize("body", ["<html>Sign in</html>", "two words", "", "x" * 1025, "tokén"])
def test_a_body_that_is_no_token_is_never_sent(body: str) -> None:
    stage = world.make()
    stage.imds.script_tokens(scripted_imds.text(body))

    assert outcome_of(client_of(stage)) == ("MalformedMessage: token request: the body is no token")
    assert stage.imds.count("GET", INSTANCE_ID) == 0


@pytest.mark.parametrize("body", [b"\xff\xfe", b"i-\xc3"])
def test_bytes_that_are_no_text_are_malformed(body: bytes) -> None:
    stage = world.make()
    stage.imds.script[INSTANCE_ID] = Response(body=body)

    assert outcome_of(client_of(stage)) == "MalformedMessage: the body is not UTF-8"


# Without tokens.


@pytest.mark.parametrize("status", [403, 404, 405])
def test_imdsv1_is_used_where_there_are_no_tokens_and_logged_once(status: int) -> None:
    stage = world.make()
    stage.imds.is_token_required = False
    stage.imds.script_tokens(scripted_imds.page(status))
    stage.imds.bodies[INSTANCE_ACTION] = '{"action": "stop", "time": "2026-11-29T12:02:00Z"}'

    stage.run_until(600)

    assert len(stage.node.events()) == 1
    assert stage.log_events() == ["imds_v1", "notice_seen", "notices_recorded"]
    # It looks once in a minute whether there are tokens.
    assert 10 <= stage.imds.token_requests <= 11


def test_tokens_are_used_when_they_are_issued_after_all() -> None:
    stage = world.make()
    stage.imds.is_token_required = False
    stage.imds.script_tokens(scripted_imds.page(404))
    stage.at(300, lambda: stage.imds.script_tokens(None))
    stage.at(300, lambda: setattr(stage.imds, "is_token_required", True))

    stage.run_until(600)

    assert stage.log_events() == ["imds_v1", "imds_tokens_available"]
    assert outcome_of(client_of(stage)) == world.INSTANCE


def test_metadata_that_is_turned_off_for_a_minute_is_no_imdsv1() -> None:
    stage = world.make()
    stage.imds.always = scripted_imds.page(403)
    stage.at(60, lambda: setattr(stage.imds, "always", None))

    stage.run_until(120)

    assert stage.log_events() == ["imds_unavailable", "imds_available"]
    (line,) = stage.logged("imds_unavailable")
    assert line["cause"] == "HTTP 403, without a token"


@pytest.mark.parametrize("is_token_required", [False, True])
def test_a_hop_limit_is_named_with_its_cure(is_token_required: bool) -> None:  # noqa: FBT001
    stage = world.make()
    stage.imds.is_token_required = is_token_required
    stage.imds.script_tokens(scripted_imds.HANGS)

    stage.run_until(600)

    (line,) = stage.logged("imds_hop_limit")
    assert "HttpPutResponseHopLimit" in line["cause"]
    assert "hostNetwork" in line["cause"]
    # Without tokens, instance metadata that requires them answers 401 to everything.
    assert stage.log_events().count("imds_unavailable") == is_token_required


def test_notices_are_recorded_in_spite_of_a_hop_limit_where_tokens_are_optional() -> None:
    stage = world.make()
    stage.imds.is_token_required = False
    stage.imds.script_tokens(scripted_imds.HANGS)
    stage.run_until(30)
    stage.imds.bodies[INSTANCE_ACTION] = '{"action": "stop", "time": "2026-11-29T12:02:00Z"}'

    stage.run_until(40)

    assert len(stage.node.events()) == 1


@pytest.mark.parametrize("is_token_required", [False, True])
def test_metadata_that_hangs_for_a_while_is_no_hop_limit(is_token_required: bool) -> None:  # noqa: FBT001
    stage = world.make()
    stage.imds.is_token_required = is_token_required
    stage.imds.always = scripted_imds.HANGS
    stage.at(30, lambda: setattr(stage.imds, "always", None))

    stage.run_until(200)

    assert stage.log_events() == ["imds_unavailable", "imds_available"]
    assert outcome_of(client_of(stage)) == world.INSTANCE


# Endpoints.


@pytest.mark.parametrize(
    ("url", "host", "port", "base_path"),
    [
        ("http://169.254.169.254", "169.254.169.254", 80, ""),
        ("http://169.254.169.254/", "169.254.169.254", 80, ""),
        ("http://[fd00:ec2::254]", "fd00:ec2::254", 80, ""),
        (
            "http://imds.test:8169/nodes/node-1.internal/",
            "imds.test",
            8169,
            "/nodes/node-1.internal",
        ),
    ],
)
def test_an_endpoint_has_a_host_and_perhaps_a_port_and_a_path(
    url: str, host: str, port: int, base_path: str
) -> None:
    endpoint = MetadataEndpoint.parse(url)

    assert (endpoint.host, endpoint.port, endpoint.base_path) == (host, port, base_path)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "169.254.169.254",
        "https://169.254.169.254",
        "http://",
        "http://host:port",
        "http://host:99999",
        "http://host/a path",
        "http://host/nodes/$(NODE_NAME)",
        "http://host/?node=1",
        "http://[fd00",
    ],
)
def test_what_is_no_endpoint_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        MetadataEndpoint.parse(url)


def test_the_path_of_the_endpoint_precedes_every_path() -> None:
    stage = world.make()
    stage.imds.bodies = {f"/nodes/node-1{INSTANCE_ID}": world.INSTANCE}
    stage.imds.script["/nodes/node-1/latest/api/token"] = scripted_imds.page(404)
    stage.imds.is_token_required = False
    client = MetadataClient(
        world.ScriptedConnection(stage.imds, stage.time),
        log=JsonLog(stage.log),
        monotonic=stage.time.monotonic,
        base_path="/nodes/node-1",
    )

    assert outcome_of(client) == world.INSTANCE


# The log.


def test_a_line_has_the_shape_of_the_logs_of_the_operator() -> None:
    stage = world.make()
    JsonLog(stage.log, node="node-1").info("notice_seen", body="ü\n")

    (line,) = stage.log.getvalue().splitlines()
    fields = json.loads(line)
    assert fields.pop("timestamp").endswith("Z")
    assert fields == {"event": "notice_seen", "level": "info", "node": "node-1", "body": "ü\n"}
