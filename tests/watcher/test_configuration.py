import pathlib

import pytest

from queue_processor.domain import errors
from queue_processor.watcher import configuration
from queue_processor.watcher.configuration import WatcherConfiguration
from queue_processor.watcher.metadata_watcher import Polling


@pytest.fixture
def variables(service_account: pathlib.Path) -> dict[str, str]:
    """The variables that every pod has, and the one that it needs."""
    return {
        "NODE_NAME": "ip-10-0-0-1.eu-west-1.compute.internal",
        "KUBERNETES_SERVICE_HOST": "10.96.0.1",
        "KUBERNETES_SERVICE_PORT": "443",
        "SERVICE_ACCOUNT_FOLDER": str(service_account),
    }


def error_of(variables: dict[str, str]) -> str:
    with pytest.raises(errors.ConfigurationError) as caught:
        configuration.read(variables)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def read(variables: dict[str, str], **more: str) -> WatcherConfiguration:
    return configuration.read({**variables, **more})


def test_a_name_and_a_pod_are_enough(variables: dict[str, str]) -> None:
    configured = read(variables)

    assert configured.node == "ip-10-0-0-1.eu-west-1.compute.internal"
    assert configured.endpoint.url == "http://169.254.169.254"
    assert configured.polling == Polling(interval_seconds=2.0, is_legacy_read=False)
    assert (configured.account.host, configured.account.port) == ("10.96.0.1", 443)
    assert configured.heartbeat_path == "/run/queue-processor/heartbeat"


@pytest.mark.parametrize(
    ("more", "url"),
    [
        ({"IMDS_ENDPOINT": "http://a:1/nodes/n"}, "http://a:1/nodes/n"),
        ({"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://b/"}, "http://b/"),
        (
            {"IMDS_ENDPOINT": "http://a", "AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://b"},
            "http://a",
        ),
        ({"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "IPv6"}, "http://[fd00:ec2::254]"),
        ({"AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "ipv4"}, "http://169.254.169.254"),
        (
            {
                "AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://b",
                "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE": "IPv6",
            },
            "http://b",
        ),
        ({"IMDS_ENDPOINT": ""}, "http://169.254.169.254"),
    ],
)
def test_the_endpoint_is_the_first_that_is_set(
    more: dict[str, str], url: str, variables: dict[str, str]
) -> None:
    assert read(variables, **more).endpoint.url == url


def test_everything_else_can_be_set(variables: dict[str, str]) -> None:
    configured = read(
        variables,
        POLL_SECONDS="1.5",
        LEGACY_PATHS="True",
        HEARTBEAT_FILE="/tmp/beat",  # noqa: S108
    )

    assert configured.polling == Polling(interval_seconds=1.5, is_legacy_read=True)
    assert configured.heartbeat_path == "/tmp/beat"  # noqa: S108


def test_an_ipv6_api_server_may_have_brackets(variables: dict[str, str]) -> None:
    assert read(variables, KUBERNETES_SERVICE_HOST="[fd00::1]").account.host == "fd00::1"
    assert read(variables, KUBERNETES_SERVICE_HOST="fd00::1").account.host == "fd00::1"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NODE_NAME", ""),
        ("NODE_NAME", "$(NODE_NAME)"),
        ("NODE_NAME", "a/b"),
        ("IMDS_ENDPOINT", "169.254.169.254"),
        ("IMDS_ENDPOINT", "http://host:port"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "https://host"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "IPv5"),
        ("POLL_SECONDS", "0"),
        ("POLL_SECONDS", "0.9"),
        ("POLL_SECONDS", "31"),
        ("POLL_SECONDS", "nan"),
        ("POLL_SECONDS", "2s"),
        ("LEGACY_PATHS", "yes"),
        ("KUBERNETES_SERVICE_HOST", ""),
        ("KUBERNETES_SERVICE_PORT", ""),
        ("KUBERNETES_SERVICE_PORT", "https"),
        ("KUBERNETES_SERVICE_PORT", "65536"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_variable(
    name: str, value: str, variables: dict[str, str]
) -> None:
    assert name in error_of({**variables, name: value})


@pytest.mark.parametrize("name", ["token", "ca.crt"])
def test_a_pod_without_a_service_account_is_refused_at_the_start(
    name: str, variables: dict[str, str], service_account: pathlib.Path
) -> None:
    (service_account / name).unlink()

    reason = error_of(variables)
    assert str(service_account / name) in reason
    assert "automountServiceAccountToken" in reason
