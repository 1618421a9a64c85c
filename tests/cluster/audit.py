"""The requests of an account, read from the audit log of the API server.

https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/
"""

import dataclasses
import datetime as dt
import http
import json
import pathlib

from tests.cluster.manifests import JsonObject

_WATCH_OPENED = "ResponseStarted"


@dataclasses.dataclass(frozen=True, slots=True)
class Access:
    """A verb on a resource: what a rule grants.

    Attributes:
        resource: With its subresource, as in `pods/eviction`.
        group: The API group; empty for the core group.
    """

    verb: str
    resource: str
    group: str = ""

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}{'.' if self.group else ''}{self.group}"


@dataclasses.dataclass(frozen=True, slots=True)
class Request:
    """A request and the code of its answer; `name` is empty where a collection was asked.

    Attributes:
        answered_at: For a watch, when it began.
    """

    access: Access
    namespace: str
    name: str
    code: int
    received_at: dt.datetime
    answered_at: dt.datetime

    @property
    def is_about_a_resource(self) -> bool:
        """True unless it is about the API itself, such as /version."""
        return not self.access.resource.startswith("/")

    @property
    def is_refused(self) -> bool:
        """True if the account may not do that."""
        return self.code == http.HTTPStatus.FORBIDDEN


class AuditLog:
    """The requests of one account, from a moment on."""

    def __init__(self, path: pathlib.Path, account: str) -> None:
        """Begin now.

        Args:
            path: The log.
            account: The account's user name.
        """
        self._path = path
        self._account = account
        self._begin = path.stat().st_size
        self._excused = 0

    def requests(self) -> list[Request]:
        """The requests that were answered since the beginning, watches that are open included."""
        with self._path.open("rb") as log:
            log.seek(self._begin)
            *whole, _ = log.read().split(b"\n")
        records = [json.loads(line) for line in whole]
        return [
            _request(record)
            for record in records
            if record["user"]["username"] == self._account
            and (record["verb"] != "watch" or record["stage"] == _WATCH_OPENED)
        ]

    def made(self, verb: str, resource: str) -> list[Request]:
        """The requests with this verb for this resource."""
        return [
            request
            for request in self.requests()
            if (request.access.verb, request.access.resource) == (verb, resource)
        ]

    def refused(self) -> list[Request]:
        """The requests that were refused because the account may not make them."""
        return [request for request in self.requests() if request.is_refused][self._excused :]

    def excuse(self) -> None:
        """Count the refusals so far no more: it is the test that made them happen."""
        self._excused += len(self.refused())


def _request(record: JsonObject) -> Request:
    # What is no resource, such as /version, has no reference.
    reference = record.get("objectRef") or {"resource": record["requestURI"]}
    steps = (reference["resource"], reference.get("subresource"))
    return Request(
        access=Access(
            verb=record["verb"],
            resource="/".join(step for step in steps if step),
            group=reference.get("apiGroup", ""),
        ),
        namespace=reference.get("namespace", ""),
        name=reference.get("name", ""),
        code=record.get("responseStatus", {}).get("code", 0),
        received_at=dt.datetime.fromisoformat(record["requestReceivedTimestamp"]),
        answered_at=dt.datetime.fromisoformat(record["stageTimestamp"]),
    )
