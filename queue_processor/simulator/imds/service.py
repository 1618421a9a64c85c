"""Answers the requests of instance metadata, as EC2 does. No sockets, no clock.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
"""

import dataclasses
import enum
import http
import re
import urllib.parse
from collections.abc import Mapping

from queue_processor.domain.identifiers import NodeName
from queue_processor.simulator.imds import tokens
from queue_processor.simulator.imds.announcements import APPEARING_PATHS
from queue_processor.simulator.imds.fleet import MetadataFleet
from queue_processor.simulator.imds.tokens import SessionTokens

NODES = "/nodes/"

_TOKEN = "X-aws-ec2-metadata-token"  # noqa: S105 - the name of a header
_TOKEN_TTL = "X-aws-ec2-metadata-token-ttl-seconds"  # noqa: S105 - the same
_TOKEN_PATH = "api/token"  # noqa: S105 - a path
_DOCUMENT = "dynamic/instance-identity/document"
_METADATA = "meta-data/"
_LATEST = "latest"
# The dated ones are those that cloud-init asks for.
_VERSIONS = ("2009-04-04", "2021-03-23", _LATEST)
_TTL = re.compile(r"[0-9]{1,9}", re.ASCII)
_HTTP_HEADERS = {"Server": "EC2ws", "Accept-Ranges": "none"}

# EC2's own page: https://github.com/aws/amazon-ec2-metadata-mock/issues/81
_ERROR_PAGE = """\
<?xml version="1.0" encoding="iso-8859-1"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"
\t"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">
 <head>
  <title>{status} - {phrase}</title>
 </head>
 <body>
  <h1>{status} - {phrase}</h1>
 </body>
</html>
"""


class TokenPolicy(enum.StrEnum):
    """The need for tokens: HttpTokens in the metadata options of an instance."""

    OPTIONAL = "optional"
    REQUIRED = "required"


@dataclasses.dataclass(frozen=True, slots=True)
class MetadataRequest:
    """A request.

    Attributes:
        path: Without a query, as it is in the request line.
        headers: By name, whatever its case.
        caller: The address that the request comes from.
        at: The time of a clock that never goes back, in seconds.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    caller: str
    at: float


@dataclasses.dataclass(frozen=True, slots=True)
class MetadataResponse:
    """A response.

    Attributes:
        is_token: True for a new token, which may travel as far as the hop limit says.
    """

    status: http.HTTPStatus
    body: str
    headers: Mapping[str, str]
    content_type: str = "text/plain"
    is_token: bool = False


class MetadataService:
    """Instance metadata of a fleet."""

    def __init__(self, fleet: MetadataFleet, *, token_policy: TokenPolicy) -> None:
        self._fleet = fleet
        self._token_policy = token_policy
        self._tokens = SessionTokens()

    def respond(self, request: MetadataRequest) -> MetadataResponse:
        """Answer a request."""
        name, path = self._target_of(request)
        if not self._fleet.has(name):
            # Not EC2's page: nobody would find out what is wrong.
            return _text(
                f"no node {name}: ask for /nodes/NAME/latest/... with the name of a node\n",
                status=http.HTTPStatus.NOT_FOUND,
            )
        node = NodeName(name)
        version, _, rest = path.strip("/").partition("/")
        if rest == _TOKEN_PATH:
            return self._token(request, node, version)
        if request.method not in {"GET", "HEAD"}:
            return _error(http.HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": "GET, HEAD"})
        headers = self._authorized(request, node)
        if headers is None:
            return _error(http.HTTPStatus.UNAUTHORIZED)
        body = self._value(node, version, rest)
        return (
            _error(http.HTTPStatus.NOT_FOUND, headers)
            if body is None
            else _text(body, headers=headers)
        )

    def _target_of(self, request: MetadataRequest) -> tuple[str, str]:
        """Return the name of the node that a request is about, and the path on EC2."""
        if not request.path.startswith(NODES):
            return self._fleet.name_of_caller(request.caller), request.path
        name, _, path = request.path.removeprefix(NODES).partition("/")
        return urllib.parse.unquote(name), path

    def _token(self, request: MetadataRequest, node: NodeName, version: str) -> MetadataResponse:
        if version != _LATEST:
            return _error(http.HTTPStatus.FORBIDDEN)
        if request.method != "PUT":
            return _error(http.HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": "OPTIONS, PUT"})
        if "X-Forwarded-For" in request.headers:
            return _error(http.HTTPStatus.FORBIDDEN)
        text = request.headers.get(_TOKEN_TTL, "")
        ttl_seconds = int(text) if _TTL.fullmatch(text) else 0
        if not 1 <= ttl_seconds <= tokens.LONGEST_TTL_SECONDS:
            return _error(http.HTTPStatus.BAD_REQUEST)
        token = self._tokens.issue(node, ttl_seconds=ttl_seconds, now=request.at)
        response = _text(token, headers={_TOKEN_TTL: str(ttl_seconds)})
        return dataclasses.replace(response, is_token=True)

    def _authorized(self, request: MetadataRequest, node: NodeName) -> dict[str, str] | None:
        """Return the headers for a request that may be answered; None for one that may not."""
        token = request.headers.get(_TOKEN)
        if token is None:
            return {} if self._token_policy is TokenPolicy.OPTIONAL else None
        seconds_left = self._tokens.seconds_left(token, node, now=request.at)
        return {_TOKEN_TTL: str(seconds_left)} if seconds_left else None

    def _value(self, node: NodeName, version: str, path: str) -> str | None:
        """Return the value at a path below a version, or the list of what is below it."""
        if not version:
            return "\n".join(_VERSIONS)
        if version not in _VERSIONS:
            return None
        announced = self._fleet.bodies_of(node)
        if path.startswith(_METADATA):
            # What every node polls, without making up all its other values.
            name = path.removeprefix(_METADATA)
            if name in announced or name in APPEARING_PATHS:
                return announced.get(name)
        instance = self._fleet.instance_of(node)
        values = {f"{_METADATA}{key}": body for key, body in announced.items()}
        values |= {f"{_METADATA}{key}": value for key, value in instance.values().items()}
        values[_DOCUMENT] = instance.identity_document()
        return values.get(path) or _listing(values, path)


def _listing(values: Mapping[str, str], path: str) -> str | None:
    """Return the names below a path, one a line."""
    prefix = f"{path}/" if path else ""
    below = [key.removeprefix(prefix) for key in values if key.startswith(prefix)]
    # EC2 marks directories, but not those right below a version.
    mark = "/" if path else ""
    names = {
        f"{head}{mark}" if rest else head for head, _, rest in (key.partition("/") for key in below)
    }
    return "\n".join(sorted(names)) if names else None


def _text(
    body: str,
    *,
    status: http.HTTPStatus = http.HTTPStatus.OK,
    headers: Mapping[str, str] | None = None,
) -> MetadataResponse:
    return MetadataResponse(status, body, {**_HTTP_HEADERS, **(headers or {})})


def _error(status: http.HTTPStatus, headers: Mapping[str, str] | None = None) -> MetadataResponse:
    page = _ERROR_PAGE.format(status=status.value, phrase=status.phrase)
    every = {**_HTTP_HEADERS, **(headers or {})}
    return MetadataResponse(status, page, every, content_type="text/html")
