"""Talks to the control API of `imds serve`."""

import http
import http.client
import json
import re
from collections.abc import Sequence

from queue_processor.domain import errors
from queue_processor.domain.aws_events import Event
from queue_processor.simulator.imds import control

_URL = re.compile(
    r"http://(?P<host>\[[0-9a-fA-F:.]+\]|[^:/\[\]\s?#@]+)(?::(?P<port>[0-9]{1,5}))?/?", re.ASCII
)
_ANSWER_SECONDS = 10.0
_PORT = 8169
_LAST_PORT = 65_535


class SimulatorClient:
    """Sends announcements to a running simulator. It asks no proxy: the server is near."""

    def __init__(self, url: str) -> None:
        """Connect to nothing yet.

        Raises:
            UsageError: The URL is not one of a simulator.
        """
        match = _URL.fullmatch(url)
        port = _PORT if match is None or match["port"] is None else int(match["port"])
        if match is None or port > _LAST_PORT:
            raise errors.UsageError(
                f"--server: {url!r} is not the URL of a simulator, such as http://127.0.0.1:8169"
            )
        self.url = url.rstrip("/")
        self._address = match["host"].strip("[]"), port

    def put(self, events: Sequence[Event]) -> Sequence[str | Exception]:
        """Announce something; return for each its id or time, or the error.

        Raises:
            TemporaryError: The server does not answer.
            PermanentError: It is another server.
        """
        answer = self._post(json.dumps({"notices": events}))
        try:
            results = json.loads(answer)["results"]
            return [
                errors.PermanentError(each["error"]) if "error" in each else str(each["announced"])
                for each in results
            ]
        except (ValueError, LookupError, TypeError) as cause:
            raise self._not_a_simulator(answer) from cause

    def _post(self, body: str) -> str:
        host, port = self._address
        connection = http.client.HTTPConnection(host, port, timeout=_ANSWER_SECONDS)
        try:
            connection.request(
                "POST", control.PATH, body=body, headers={"Content-Type": control.CONTENT_TYPE}
            )
            response = connection.getresponse()
            answer = response.read().decode(errors="replace")
        except ConnectionRefusedError as cause:
            raise errors.PermanentError(
                f"nothing listens on {self.url}: start `queue-processor imds serve`, or name its"
                " address with --server"
            ) from cause
        except (OSError, http.client.HTTPException) as cause:
            raise errors.TemporaryError(f"{self.url} does not answer: {cause}") from cause
        finally:
            connection.close()
        if response.status != http.HTTPStatus.OK:
            raise self._not_a_simulator(answer)
        return answer

    def _not_a_simulator(self, answer: str) -> errors.PermanentError:
        start = " ".join(answer.split())[:100]
        return errors.PermanentError(
            f"{self.url} is no `queue-processor imds serve` of this version: it answers {start!r}"
        )
