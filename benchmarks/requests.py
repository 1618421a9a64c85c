"""What the operator's requests to the API server, as the audit log has them, tell of a storm."""

import collections
import http
from collections.abc import Mapping, Sequence

from tests.cluster.audit import Request


def count(requests: Sequence[Request]) -> Mapping[str, int]:
    """How many there were by verb and resource, most frequent first."""
    found = collections.Counter(f"{each.access.verb} {each.access.resource}" for each in requests)
    return dict(found.most_common())


def cordoned_at(requests: Sequence[Request]) -> Mapping[str, float]:
    """When each node was cordoned: its first patch that was granted; seconds since the epoch."""
    return dict(reversed(_granted(requests, "nodes")))


def drained_at(requests: Sequence[Request]) -> Mapping[str, float]:
    """When each node was told drained: the last condition that was written on it; likewise."""
    return dict(_granted(requests, "nodes/status"))


def eviction_seconds(requests: Sequence[Request]) -> Sequence[float]:
    """How long the API server took for each eviction."""
    return [
        (each.answered_at - each.received_at).total_seconds()
        for each in requests
        if each.access.resource == "pods/eviction"
    ]


def _granted(requests: Sequence[Request], resource: str) -> Sequence[tuple[str, float]]:
    """The name of the node and the time, for each patch that was granted, in their order."""
    patches = [
        (each.name, each.answered_at.timestamp())
        for each in requests
        if (each.access.verb, each.access.resource) == ("patch", resource)
        and each.code == http.HTTPStatus.OK
    ]
    return sorted(patches, key=lambda patch: patch[1])
