"""Read instance metadata with a session token (IMDSv2), or without one where that is all there is.

A token is valid for six hours and renewed at five sixths of that, or when it is refused (401). If a
renewal fails, the old token stays in use.

Without a token there are two cases in which requests still have a point. They look alike, and only
the log keeps them apart:

- The token request is refused (403, 404, 405): this is IMDSv1, or an emulator of it. If everything
  is refused, such as when instance metadata is turned off, it is neither.
- The token request times out, and others are answered. The answer to a token request may pass
  `HttpPutResponseHopLimit` hops, and a pod without `hostNetwork` is one hop too far for a limit
  of 1. If the instance requires tokens, those other answers are 401.

Either is logged once, when an answer proves it, and the token is requested again from time to time.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-v2-how-it-works.html
"""

import dataclasses
import enum
import http.client
import re
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Protocol

from queue_processor.domain import errors
from queue_processor.watcher.connection import HttpAnswer, KeepAliveConnection, RequestTimedOut
from queue_processor.watcher.json_log import JsonLog

TOKEN_PATH = "/latest/api/token"  # noqa: S105 - a path
TIMEOUT_SECONDS = 2.0

_TOKEN_HEADER = "X-aws-ec2-metadata-token"  # noqa: S105 - the name of a header
_TTL_HEADER = "X-aws-ec2-metadata-token-ttl-seconds"
_LONGEST_TTL_SECONDS = 21_600
_TOKEN = re.compile(rb"[\x21-\x7e]{1,1024}")
_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)*/?")
_TTL = re.compile(r"[0-9]{1,5}")
# After a failed token request that did not prevent answers.
_TOKEN_RETRY_SECONDS = 60.0
_OK, _UNAUTHORIZED, _NOT_FOUND = 200, 401, 404
_REFUSALS = frozenset({403, 404, 405})
_HOP_LIMIT = (
    "token requests time out, and others are answered: run the watcher with hostNetwork: true, or"
    " raise HttpPutResponseHopLimit of the instance to 2"
)


class MetadataConnection(Protocol):
    """The connection to instance metadata."""

    def request(self, method: str, path: str, headers: Mapping[str, str]) -> HttpAnswer:
        """Send a request; `KeepAliveConnection` has the contract."""


class _NoToken(enum.Enum):
    """The reason why there is no token."""

    REFUSED = enum.auto()
    TIMED_OUT = enum.auto()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MetadataEndpoint:
    """The place where instance metadata is, by default or by configuration.

    Attributes:
        base_path: Precedes the paths of instance metadata.
    """

    url: str
    host: str
    port: int
    base_path: str

    @classmethod
    def parse(cls, url: str) -> "MetadataEndpoint":
        """Parse a URL such as `http://169.254.169.254` or `http://HOST:PORT/nodes/NAME`.

        Raises:
            ValueError: It is none.
        """
        parts = urllib.parse.urlsplit(url)
        rest = parts.query or parts.fragment or parts.username
        if parts.scheme != "http" or not parts.hostname or rest or not _PATH.fullmatch(parts.path):
            raise ValueError(f"{url!r} is no URL such as http://HOST:PORT/nodes/NAME")
        return cls(
            url=url,
            host=parts.hostname,
            port=parts.port or http.client.HTTP_PORT,
            base_path=parts.path.rstrip("/"),
        )

    def connect(self) -> KeepAliveConnection:
        """Return a connection that opens with its first request; no proxy is used."""
        return KeepAliveConnection(
            http.client.HTTPConnection(self.host, self.port, timeout=TIMEOUT_SECONDS)
        )


class MetadataClient:
    """Reads instance metadata.

    Args:
        connection: To the host of the endpoint.
        log: Gets a line when there are no tokens, and when there are again.
        monotonic: The time in seconds.
        base_path: That of the endpoint.
    """

    def __init__(
        self,
        connection: MetadataConnection,
        *,
        log: JsonLog,
        monotonic: Callable[[], float],
        base_path: str = "",
    ) -> None:
        self._connection = connection
        self._log = log
        self._monotonic = monotonic
        self._base_path = base_path
        self._token: str | None = None
        self._no_token: _NoToken | None = None
        self._logged: _NoToken | None = None
        self._renew_at = self._expires_at = monotonic()

    def get(self, path: str) -> str | None:
        """Return the body at a path such as `/latest/meta-data/instance-id`; None if it is a 404.

        Raises:
            TemporaryError: There was no answer, or a status other than 200 and 404.
            MalformedMessage: The body is too long, or not text.
        """
        is_renewed = self._renew_if_due()
        answer = self._request(path)
        if answer.status == _UNAUTHORIZED and not is_renewed:
            self._token = None
            self._renew()
            is_renewed = True
            answer = self._request(path)
        self._note_version(answer.status, is_renewed=is_renewed)
        if answer.status == _OK:
            return _text(answer)
        if answer.status == _NOT_FOUND:
            return None
        without = "" if self._token else ", without a token"
        if answer.status == _UNAUTHORIZED:
            self._token = None
        if self._token is None:
            # A token may be all that is missing.
            self._renew_at = self._monotonic()
        raise errors.TemporaryError(f"HTTP {answer.status}{without}")

    def _request(self, path: str) -> HttpAnswer:
        headers = {} if self._token is None else {_TOKEN_HEADER: self._token}
        return self._connection.request("GET", self._base_path + path, headers)

    def _renew_if_due(self) -> bool:
        """Return True if a token was requested."""
        now = self._monotonic()
        if now >= self._expires_at:
            self._token = None
        if now < self._renew_at:
            return False
        self._renew()
        return True

    def _renew(self) -> None:
        """Request a token; without one, note why, or raise if that leaves nothing to try."""
        self._renew_at = self._monotonic() + _TOKEN_RETRY_SECONDS
        try:
            self._no_token = self._request_token()
        except RequestTimedOut:
            self._no_token = _NoToken.TIMED_OUT
        except errors.QueueProcessorError:
            if self._token is None:
                self._renew_at = self._monotonic()
                raise

    def _request_token(self) -> _NoToken | None:
        headers = {_TTL_HEADER: str(_LONGEST_TTL_SECONDS)}
        answer = self._connection.request("PUT", self._base_path + TOKEN_PATH, headers)
        if answer.status in _REFUSALS:
            return _NoToken.REFUSED
        if answer.status != _OK:
            raise errors.TemporaryError(f"token request: HTTP {answer.status}")
        if not _TOKEN.fullmatch(answer.body):
            raise errors.MalformedMessage("token request: the body is no token")
        self._token = answer.body.decode()
        ttl = _ttl_seconds(answer)
        now = self._monotonic()
        self._renew_at = now + ttl * 5 / 6
        self._expires_at = now + ttl
        return None

    def _note_version(self, status: int, *, is_renewed: bool) -> None:
        """Log that there are no tokens, if an answer right after the token request shows it."""
        if self._token is not None:
            if self._logged is not None:
                self._log.info("imds_tokens_available")
            self._logged = None
            return
        if not is_renewed or self._no_token is self._logged:
            return
        is_read = status in {_OK, _NOT_FOUND}
        if self._no_token is _NoToken.REFUSED and is_read:
            self._log.warning("imds_v1", cause="it refuses to issue tokens, and works without them")
        elif self._no_token is _NoToken.TIMED_OUT and (is_read or status == _UNAUTHORIZED):
            self._log.warning("imds_hop_limit", cause=_HOP_LIMIT)
        else:
            return
        self._logged = self._no_token


def _text(answer: HttpAnswer) -> str:
    if not answer.is_complete:
        raise errors.MalformedMessage(f"the body is longer than {len(answer.body)} bytes")
    try:
        return answer.body.decode()
    except UnicodeDecodeError as cause:
        raise errors.MalformedMessage("the body is not UTF-8") from cause


def _ttl_seconds(answer: HttpAnswer) -> int:
    header = answer.headers.get(_TTL_HEADER.lower(), "")
    ttl = int(header) if _TTL.fullmatch(header) else _LONGEST_TTL_SECONDS
    return min(max(ttl, 1), _LONGEST_TTL_SECONDS)
