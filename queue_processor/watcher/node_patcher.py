"""Write annotations on one Node with the service account of the pod."""

import dataclasses
import http.client
import json
import os
import ssl
import urllib.parse
from collections.abc import Mapping
from typing import Protocol

from queue_processor.domain import errors, json_fields
from queue_processor.watcher.connection import HttpAnswer, KeepAliveConnection

# Admission webhooks have ten seconds by default.
TIMEOUT_SECONDS = 10.0

_LONGEST_MESSAGE = 400
_CURES: Mapping[int, str] = {
    401: "the API server does not accept the token of the service account",
    403: "allow the service account to patch nodes, as the ClusterRole of the chart does",
    404: "set NODE_NAME to the name of the Node: valueFrom.fieldRef.fieldPath: spec.nodeName",
    422: "let the admission policies accept it: NODE_NAME has to be the Node that the pod runs on,"
    " and the annotations queue-processor/notice-* have to be allowed",
}
# They are answered the same until a person changes something.
_REFUSALS = frozenset({403, 404, 422})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAccount:
    """The API server, and the folder with `token` and `ca.crt`, as a pod has them.

    The files are read for each request: Kubernetes replaces them.
    """

    host: str
    port: int
    folder: str

    @property
    def token_path(self) -> str:
        """The file with the token."""
        return os.path.join(self.folder, "token")  # noqa: PTH118 - pathlib would cost memory

    @property
    def ca_path(self) -> str:
        """The file with the certificate authorities of the API server."""
        return os.path.join(self.folder, "ca.crt")  # noqa: PTH118 - the same

    def read_token(self) -> str:
        """Return the token, or raise OSError or ValueError."""
        with open(self.token_path, encoding="ascii") as file:  # noqa: PTH123 - the same
            words = file.read().split()
        if len(words) != 1:
            raise ValueError(f"{self.token_path} has no token")
        return words[0]

    def connect(self) -> KeepAliveConnection:
        """Return a connection that opens with its first request."""
        # The default context would load the certificate authorities of the system: 2 MiB.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self.ca_path)
        return KeepAliveConnection(
            http.client.HTTPSConnection(
                self.host, self.port, timeout=TIMEOUT_SECONDS, context=context
            )
        )


class ApiAccess(Protocol):
    """The access to an API server; `ServiceAccount` is that of a pod."""

    def read_token(self) -> str:
        """Return the token, or raise OSError or ValueError."""

    def connect(self) -> KeepAliveConnection:
        """Return a connection that opens with its first request."""


class NodePatcher:
    """Writes annotations by a JSON merge patch; a connection lasts for one request."""

    def __init__(self, account: ApiAccess, node: str) -> None:
        self._account = account
        self._path = f"/api/v1/nodes/{urllib.parse.quote(node, safe='')}"

    def annotate(self, annotations: Mapping[str, str]) -> None:
        """Set annotations; `NodeWriter` of the recorder has the contract."""
        body = json.dumps({"metadata": {"annotations": dict(annotations)}}).encode()
        try:
            headers = {
                "Authorization": f"Bearer {self._account.read_token()}",
                "Content-Type": "application/merge-patch+json",
                # The answer is not read; without this it is the whole Node.
                "Accept": "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,"
                "application/json",
                "User-Agent": "queue-processor-watcher",
            }
            connection = self._account.connect()
        except (OSError, ValueError) as cause:
            raise errors.TemporaryError(f"service account: {cause}") from cause
        try:
            _raise_for(connection.request("PATCH", self._path, headers, body))
        finally:
            connection.close()


def _raise_for(answer: HttpAnswer) -> None:
    if http.client.OK <= answer.status < http.client.MULTIPLE_CHOICES:
        return
    cure = _CURES.get(answer.status)
    text = f"HTTP {answer.status}: {_message(answer)}{f' ({cure})' if cure else ''}"
    if answer.status in _REFUSALS:
        raise errors.PermanentError(text)
    raise errors.TemporaryError(text)


def _message(answer: HttpAnswer) -> str:
    """Return the message of a Kubernetes Status, or the beginning of what is there instead."""
    text = answer.body.decode(errors="replace")
    try:
        message = json_fields.text_at(json_fields.load(text, "the answer"), "message")
    except errors.MalformedMessage:
        message = text
    return message[:_LONGEST_MESSAGE]
