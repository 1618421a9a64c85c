"""Instance metadata that follows a script; `servers.py` serves it over HTTP."""

import dataclasses
from collections.abc import Callable, Mapping

META_DATA = "/latest/meta-data"
INSTANCE_ACTION = f"{META_DATA}/spot/instance-action"
TERMINATION_TIME = f"{META_DATA}/spot/termination-time"
REBALANCE = f"{META_DATA}/events/recommendations/rebalance"
SCHEDULED = f"{META_DATA}/events/maintenance/scheduled"
HISTORY = f"{META_DATA}/events/maintenance/history"
TARGET_STATE = f"{META_DATA}/autoscaling/target-lifecycle-state"
INSTANCE_ID = f"{META_DATA}/instance-id"

_TOKEN_PATH = "/latest/api/token"  # noqa: S105 - a path
_PAGE = "<!DOCTYPE html>\n<html><body><h1>{}</h1></body></html>\n"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An answer.

    Attributes:
        hangs: There is none.
        missing_bytes: So many bytes of the body are announced, and not sent.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    hangs: bool = False
    missing_bytes: int = 0


def text(body: str) -> Response:
    return Response(body=body.encode())


def page(status: int) -> Response:
    return Response(status=status, body=_PAGE.format(status).encode())


HANGS = Response(hangs=True)


@dataclasses.dataclass(slots=True)
class ScriptedImds:
    """Answers as EC2 does, unless the script has another answer.

    Attributes:
        monotonic: The time in seconds, by which tokens expire.
        is_token_required: False to answer requests without a token, too.
        ttl_seconds: The longest life of a token.
        bodies: The text at each path; 404 at all others.
        script: Answers that take precedence, by path.
        always: The answer to everything, if there is one.
        requests: Method and path of each request.
    """

    monotonic: Callable[[], float]
    is_token_required: bool = True
    ttl_seconds: int = 21_600
    bodies: dict[str, str] = dataclasses.field(default_factory=dict)
    script: dict[str, Response] = dataclasses.field(default_factory=dict)
    always: Response | None = None
    requests: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    _tokens: dict[str, float] = dataclasses.field(default_factory=dict)
    _issued: int = 0

    def respond(self, method: str, path: str, headers: Mapping[str, str]) -> Response:
        """Answer a request; the names of headers are in lower case."""
        self.requests.append((method, path))
        scripted = self.always or self.script.get(path)
        if scripted is not None:
            return scripted
        if (method, path) == ("PUT", _TOKEN_PATH):
            return self._issue(int(headers["x-aws-ec2-metadata-token-ttl-seconds"]))
        token = headers.get("x-aws-ec2-metadata-token")
        if not self._is_allowed(token):
            return page(401)
        body = self.bodies.get(path)
        return page(404) if body is None else text(body)

    def revoke_tokens(self) -> None:
        """Let no token be valid any more."""
        self._tokens.clear()

    def count(self, method: str, path: str) -> int:
        """Return how many requests of this kind there were."""
        return self.requests.count((method, path))

    @property
    def token_requests(self) -> int:
        return self.count("PUT", _TOKEN_PATH)

    def script_tokens(self, response: Response | None) -> None:
        """Answer token requests in this way; None for the usual one."""
        if response is None:
            del self.script[_TOKEN_PATH]
        else:
            self.script[_TOKEN_PATH] = response

    def _issue(self, requested: int) -> Response:
        ttl = min(requested, self.ttl_seconds)
        self._issued += 1
        token = f"token-{self._issued}=="
        self._tokens[token] = self.monotonic() + ttl
        headers = {"X-Aws-Ec2-Metadata-Token-Ttl-Seconds": str(ttl)}
        return Response(body=token.encode(), headers=headers)

    def _is_allowed(self, token: str | None) -> bool:
        if token is None:
            return not self.is_token_required
        return self.monotonic() < self._tokens.get(token, 0.0)
