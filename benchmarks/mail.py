"""SQS for a benchmark: the queue that the tests trust, behind HTTP, in a process of its own.

The queue passes the contract suite that SQS itself is held to (tests/contracts); here it speaks
SQS's JSON protocol, so that the operator's own client is measured and this side is not what limits
it: about 0.2 ms a call.
"""

import collections
import datetime as dt
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from queue_processor.domain import errors
from queue_processor.domain.messages import ReceivedMessage
from tests.fakes.sqs import LONG_POLL, FakeQueue

QUEUE = "storm"
_ACCOUNT = "123456789012"
_JSON = "application/x-amz-json-1.0"

_Entry = Mapping[str, Any]


def _epoch_milliseconds(moment: dt.datetime) -> str:
    return str(int(moment.timestamp() * 1000))


def _wire(message: ReceivedMessage) -> dict[str, object]:
    return {
        "MessageId": message.message_id,
        "ReceiptHandle": message.receipt_handle,
        "Body": message.body,
        "MD5OfBody": hashlib.md5(message.body.encode(), usedforsecurity=False).hexdigest(),
        "Attributes": {
            "SentTimestamp": _epoch_milliseconds(message.sent_at),
            "ApproximateFirstReceiveTimestamp": _epoch_milliseconds(message.first_received_at),
            "ApproximateReceiveCount": str(message.receive_count),
        },
    }


class Mail:
    """The queue, what has been asked of it, and when its last message was deleted."""

    def __init__(self) -> None:
        self._queue = FakeQueue(clock=lambda: dt.datetime.now(tz=dt.UTC))
        self._calls: collections.Counter[str] = collections.Counter()
        self._last_deleted_at = 0.0

    def application(self) -> web.Application:
        """AWS at the root; what the benchmark itself asks beside it."""
        application = web.Application(client_max_size=2**26)
        application.router.add_post("/", self._serve)
        application.router.add_post("/send", self._send)
        application.router.add_get("/figures", self._figures)
        return application

    async def _send(self, request: web.Request) -> web.Response:
        """Put bodies on the queue, all at once."""
        for body in await request.json():
            self._queue.send(body)
        return web.Response()

    async def _figures(self, _request: web.Request) -> web.Response:
        return web.json_response(
            {
                "calls": self._calls,
                "left": self._queue.left,
                "last_deleted_at": self._last_deleted_at,
            }
        )

    async def _serve(self, request: web.Request) -> web.Response:
        action = request.headers["X-Amz-Target"].rpartition(".")[2]
        self._calls[action] += 1
        answer = await self._answer(action, json.loads(await request.read()))
        return web.json_response(answer, content_type=_JSON)

    async def _answer(self, action: str, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        match action:
            case "ReceiveMessage":
                received = await self._queue.receive(asked.get("WaitTimeSeconds", LONG_POLL))
                return {"Messages": [_wire(message) for message in received]}
            case "DeleteMessageBatch":
                return _each(asked["Entries"], self._delete)
            case "ChangeMessageVisibilityBatch":
                return _each(asked["Entries"], self._hide)
            case "GetQueueAttributes":
                arn = f"arn:aws:sqs:us-east-1:{_ACCOUNT}:{QUEUE}"
                return {"Attributes": {"QueueArn": arn, "VisibilityTimeout": "30"}}
            case _:
                raise web.HTTPBadRequest(text=f"{action} has no part in a storm")

    def _delete(self, entry: _Entry) -> None:
        self._queue.delete(entry["ReceiptHandle"])
        self._last_deleted_at = time.time()

    def _hide(self, entry: _Entry) -> None:
        duration = dt.timedelta(seconds=entry["VisibilityTimeout"])
        self._queue.hide(entry["ReceiptHandle"], duration)


def _each(entries: list[_Entry], act: Callable[[_Entry], None]) -> Mapping[str, Any]:
    """Act on each entry; one that fails does not stop the others."""
    done, failed = [], []
    for entry in entries:
        try:
            act(entry)
            done.append({"Id": entry["Id"]})
        except errors.StaleReceiptHandle as fault:
            failed.append(
                {
                    "Id": entry["Id"],
                    "Code": "ReceiptHandleIsInvalid",
                    "Message": str(fault),
                    "SenderFault": True,
                }
            )
    return {"Successful": done, "Failed": failed}


if __name__ == "__main__":
    import sys

    web.run_app(Mail().application(), host="127.0.0.1", port=int(sys.argv[1]), print=None)
