"""SQS for a benchmark, in a process of its own: the simulated queue, and a count of its calls."""

import collections
import json
import sys
import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from queue_processor.simulator.aws import http

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

QUEUE = "storm"


class CountedQueue:
    """Serves SQS, and beside it `/send` and `/figures` for the benchmark itself."""

    def __init__(self) -> None:
        self._sqs = http.HttpSqs()
        self._sqs.call("CreateQueue", QueueName=QUEUE)
        self._counting = threading.Lock()
        self._calls: collections.Counter[str] = collections.Counter()

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Answer one request."""
        action = self._sqs.action_of(environ)
        if action is not None:
            with self._counting:
                self._calls[action] += 1
            return self._sqs(environ, start_response)
        if environ["PATH_INFO"] == "/send":
            self._send(json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))))
        body = json.dumps(self._figures()).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        start_response("200 OK", headers)
        return [body]

    def _send(self, bodies: Iterable[str]) -> None:
        with self._sqs.locked() as service:
            for body in bodies:
                service.queues[QUEUE].send(body, now=time.time())

    def _figures(self) -> dict[str, object]:
        """Return the calls by action, the messages left, and when the last one was deleted."""
        with self._sqs.locked() as service:
            queue = service.queues[QUEUE]
            deleted = [each.deleted_at for each in queue.history() if each.deleted_at is not None]
            left = queue.state(time.time()).total
        with self._counting:
            calls = dict(self._calls)
        last = max(deleted).timestamp() if deleted else 0.0
        return {"calls": calls, "left": left, "last_deleted_at": last}


if __name__ == "__main__":
    http.WsgiServer(CountedQueue(), int(sys.argv[1])).serve()
