"""A receiver of webhooks on a real socket, which behaves as badly as it is told to."""

import asyncio
import contextlib
import dataclasses
import enum
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

HIDDEN = "s3cr3t-t0ken"


class Behaviour(enum.Enum):
    """The receiver's answer to a request."""

    TAKES = "takes it"
    TAKES_IT_THE_SECOND_TIME = "takes it the second time"
    HANGS = "hangs"
    HANGS_IN_THE_BODY = "hangs in the body of its answer"
    ANSWERS_500 = "answers 500"
    ASKS_TO_WAIT = "answers 429 and asks to wait for an hour"
    REFUSES = "answers 403"
    REDIRECTS = "redirects"
    RESETS = "resets the connection"


_ANSWERS: Mapping[Behaviour, tuple[int, Mapping[str, str]]] = {
    Behaviour.ANSWERS_500: (500, {}),
    Behaviour.ASKS_TO_WAIT: (429, {"Retry-After": "3600"}),
    Behaviour.REFUSES: (403, {}),
    Behaviour.REDIRECTS: (307, {"Location": "/elsewhere"}),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Post:
    """The requests that came."""

    at: float
    path: str
    headers: Mapping[str, str]
    body: Any


@contextlib.asynccontextmanager
async def serving(
    answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
) -> AsyncIterator[str]:
    """Answer all requests for as long as this lasts; yield the URL of the server."""
    runner = web.ServerRunner(web.Server(answer), shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


class Receiver:
    """Keeps what was posted to it.

    Attributes:
        url: Where to post; its path is a secret.
        posts: All requests, refused ones too.
    """

    def __init__(self, behaviour: Behaviour = Behaviour.TAKES) -> None:
        self.behaviour = behaviour
        self.url = ""
        self.posts: list[Post] = []
        self._released = asyncio.Event()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator["Receiver"]:
        """Answer for as long as this lasts."""
        async with serving(self._answer) as url:
            self.url = f"{url}/{HIDDEN}"
            try:
                yield self
            finally:
                self._released.set()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        now = asyncio.get_running_loop().time()
        self.posts.append(
            Post(now, request.path, dict(request.headers), json.loads(await request.text()))
        )
        match self.behaviour:
            case Behaviour.HANGS:
                await self._released.wait()
            case Behaviour.HANGS_IN_THE_BODY:
                answer = web.StreamResponse()
                await answer.prepare(request)
                await answer.write(b"o")
                await self._released.wait()
                return answer
            case Behaviour.RESETS:
                assert request.transport is not None
                request.transport.abort()
            case _:
                pass
        status, headers = _ANSWERS.get(self.behaviour, (200, {}))
        if self.behaviour is Behaviour.TAKES_IT_THE_SECOND_TIME and len(self.posts) % 2:
            status = 503
        return web.Response(status=status, headers=headers)
