"""A witness in the simulated AWS: looks at the cluster before anything final is done there."""

import asyncio
import io
import json
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING
from urllib import parse

from queue_processor.simulator.aws import records

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_INSTANCE = re.compile(r"\bi-[0-9a-f]{8,17}\b")
_TARGET = "HTTP_X_AMZ_TARGET"
_SECONDS = 30.0


class Witness:
    """Asks, before a message is deleted or a lifecycle action completed, whether it is too early.

    The request waits for the answer, so that it is about the moment of the request.
    """

    def __init__(
        self,
        messages: Callable[[], Sequence[records.MessageSnapshot]],
        ask: Callable[[str, str], Awaitable[None]],
    ) -> None:
        """Build the witness, in the event loop that answers it.

        Args:
            messages: The messages that are in the queue.
            ask: Is called with each instance, and with what is about to be done.
        """
        self._loop = asyncio.get_running_loop()
        self._messages = messages
        self._ask = ask

    def around(self, app: "WSGIApplication") -> "WSGIApplication":
        """Return the application, with the witness in front of it."""

        def answer(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
            action = str(environ.get(_TARGET, "")).rpartition(".")[2]
            if action.startswith("DeleteMessage") or not action:
                body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
                environ["wsgi.input"] = io.BytesIO(body)
                self._look(body)
            return app(environ, start_response)

        return answer

    def _look(self, body: bytes) -> None:
        if body.startswith(b"{"):
            request = json.loads(body)
            entries = request.get("Entries", [request])
            handles = {entry.get("ReceiptHandle") for entry in entries}
            for message in self._messages():
                if message.receipt_handle in handles:
                    for instance in set(_INSTANCE.findall(message.body)):
                        self._await(instance, "message deleted")
            return
        form = parse.parse_qs(body.decode())
        if form.get("Action") == ["CompleteLifecycleAction"]:
            (instance,) = form["InstanceId"]
            self._await(instance, "lifecycle action completed")

    def _await(self, instance: str, what: str) -> None:
        async def ask() -> None:
            await self._ask(instance, what)

        asyncio.run_coroutine_threadsafe(ask(), self._loop).result(_SECONDS)
