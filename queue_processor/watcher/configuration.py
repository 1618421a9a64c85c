"""The configuration of the watcher, from the environment."""

import dataclasses
import math
import os
from collections.abc import Mapping
from typing import TypeVar

from queue_processor.domain import errors, identifiers
from queue_processor.watcher.imds import MetadataEndpoint
from queue_processor.watcher.metadata_watcher import Polling
from queue_processor.watcher.node_patcher import ServiceAccount

SERVICE_ACCOUNT_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount"
HEARTBEAT_FILE = "/run/queue-processor/heartbeat"

# https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
IMDS_ENDPOINT = "http://169.254.169.254"
_ENDPOINTS = {"ipv4": IMDS_ENDPOINT, "ipv6": "http://[fd00:ec2::254]"}
_INTERVALS = (1.0, 30.0)
_Value = TypeVar("_Value")
_SWITCH = {"true": True, "false": False}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WatcherConfiguration:
    """The node that a watcher watches, and the places that it reads and writes.

    Attributes:
        node: The name of its Node.
        heartbeat_path: The file that shows that the watcher makes turns.
    """

    node: str
    endpoint: MetadataEndpoint
    polling: Polling
    account: ServiceAccount
    heartbeat_path: str


def read(environ: Mapping[str, str]) -> WatcherConfiguration:
    """Read the configuration; an empty variable counts as one that is not set.

    Raises:
        ConfigurationError: A variable is missing or wrong.
    """
    variables = {name: text for name, value in environ.items() if (text := value.strip())}
    return WatcherConfiguration(
        node=_node(variables),
        endpoint=_endpoint(variables),
        polling=Polling(
            interval_seconds=_interval(variables),
            is_legacy_read=_choice(variables, "LEGACY_PATHS", "false", _SWITCH),
        ),
        account=_service_account(variables),
        heartbeat_path=variables.get("HEARTBEAT_FILE", HEARTBEAT_FILE),
    )


def _node(variables: Mapping[str, str]) -> str:
    name = variables.get("NODE_NAME")
    if name is None:
        raise errors.ConfigurationError(
            "NODE_NAME is not set: set it to the name of the Node, in a pod by"
            " valueFrom.fieldRef.fieldPath: spec.nodeName"
        )
    if identifiers.parse_node_name(name) is None:
        raise errors.ConfigurationError(f"NODE_NAME: {name[:260]!r} is no name of a Node")
    return name


def _endpoint(variables: Mapping[str, str]) -> MetadataEndpoint:
    for name in ("IMDS_ENDPOINT", "AWS_EC2_METADATA_SERVICE_ENDPOINT"):
        if name in variables:
            try:
                return MetadataEndpoint.parse(variables[name])
            except ValueError as cause:
                raise errors.ConfigurationError(f"{name}: {cause}") from cause
    default = _choice(variables, "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "ipv4", _ENDPOINTS)
    return MetadataEndpoint.parse(default)


def _interval(variables: Mapping[str, str]) -> float:
    text = variables.get("POLL_SECONDS", "2")
    shortest, longest = _INTERVALS
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not shortest <= seconds <= longest:
        raise errors.ConfigurationError(
            f"POLL_SECONDS: {text[:60]!r} is no number of seconds from {shortest:g} to {longest:g}"
        )
    return seconds


def _service_account(variables: Mapping[str, str]) -> ServiceAccount:
    """Return the service account of this pod; later, missing files would cost an interruption."""
    host = variables.get("KUBERNETES_SERVICE_HOST")
    port = variables.get("KUBERNETES_SERVICE_PORT", "")
    if host is None or not port.isdecimal() or int(port) not in range(1, 65536):
        raise errors.ConfigurationError(
            "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT do not name an API server:"
            " run the watcher in a pod"
        )
    account = ServiceAccount(
        host=host.strip("[]"),
        port=int(port),
        folder=variables.get("SERVICE_ACCOUNT_FOLDER", SERVICE_ACCOUNT_FOLDER),
    )
    for path in (account.token_path, account.ca_path):
        if not os.access(path, os.R_OK):
            raise errors.ConfigurationError(
                f"{path} cannot be read: give the pod a service account, with"
                " automountServiceAccountToken: true"
            )
    return account


def _choice(
    variables: Mapping[str, str], name: str, default: str, values: Mapping[str, _Value]
) -> _Value:
    text = variables.get(name, default)
    try:
        return values[text.lower()]
    except KeyError:
        allowed = " or ".join(values)
        raise errors.ConfigurationError(f"{name}: {text[:60]!r} is not {allowed}") from None
