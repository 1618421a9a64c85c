"""What the operator asked of the API server, and when: read from the audit log."""

import collections
import dataclasses
import datetime as dt
import json
import pathlib
from collections.abc import Iterator, Mapping

from tests.cluster import world

_USER = "system:serviceaccount:{}:{}".format(*world.OPERATOR)
_OK = 200


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """One request.

    Attributes:
        verb: As RBAC says it: `patch`, `watch` …
        resource: With its subresource: `pods/eviction`.
        name: The object's name; empty for collections.
        code: The status that was answered.
        received_at: Seconds since the epoch.
        answered_at: Likewise; for a watch, when it began.
    """

    verb: str
    resource: str
    name: str
    code: int
    received_at: float
    answered_at: float

    @property
    def seconds(self) -> float:
        """How long the API server took."""
        return self.answered_at - self.received_at


def read(audit_log: pathlib.Path, *, since: float) -> list[Request]:
    """The operator's requests since a moment (seconds since the epoch), each of them once."""
    return [found for found in _all(audit_log) if found.received_at >= since]


def _all(audit_log: pathlib.Path) -> Iterator[Request]:
    seen: set[str] = set()
    with audit_log.open(encoding="utf-8") as lines:
        for line in lines:
            entry = json.loads(line)
            # A watch is told of when it begins and when it ends.
            if entry["user"]["username"] == _USER and entry["auditID"] not in seen:
                seen.add(entry["auditID"])
                yield _request(entry)


def _request(entry: Mapping[str, object]) -> Request:
    about = entry.get("objectRef")
    about = about if isinstance(about, dict) else {}
    status = entry.get("responseStatus")
    subresource = f"/{about['subresource']}" if "subresource" in about else ""
    return Request(
        verb=str(entry["verb"]),
        resource=f"{about.get('resource', entry['requestURI'])}{subresource}",
        name=about.get("name", ""),
        code=status.get("code", 0) if isinstance(status, dict) else 0,
        received_at=_seconds(entry["requestReceivedTimestamp"]),
        answered_at=_seconds(entry["stageTimestamp"]),
    )


def _seconds(stamp: object) -> float:
    return dt.datetime.fromisoformat(str(stamp)).timestamp()


def count(requests: list[Request]) -> Mapping[str, int]:
    """How many there were by verb and resource, most frequent first."""
    found = collections.Counter(f"{each.verb} {each.resource}" for each in requests)
    return dict(found.most_common())


def cordoned_at(requests: list[Request]) -> Mapping[str, float]:
    """When each node was cordoned: its first patch that was granted."""
    return {each.name: each.answered_at for each in reversed(_granted(requests, "nodes"))}


def drained_at(requests: list[Request]) -> Mapping[str, float]:
    """When each node was told drained: the last condition that was written on it."""
    return {each.name: each.answered_at for each in _granted(requests, "nodes/status")}


def _granted(requests: list[Request], resource: str) -> list[Request]:
    patches = [
        each
        for each in requests
        if each.verb == "patch" and each.resource == resource and each.code == _OK
    ]
    return sorted(patches, key=lambda each: each.answered_at)
