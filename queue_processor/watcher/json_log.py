"""Log JSON lines in the shape of the operator's logs (docs/logs.md)."""

import datetime as dt
import json
from typing import TextIO


class JsonLog:
    """Writes one JSON object per line; structlog would take half of the watcher's memory.

    Args:
        stream: Receives the lines.
        fields: Are in every line.
    """

    def __init__(self, stream: TextIO, **fields: object) -> None:
        self._stream = stream
        self._fields = fields

    def info(self, event: str, **fields: object) -> None:
        """Log something that needs no action."""
        self._write("info", event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Log something that the runbook explains."""
        self._write("warning", event, fields)

    def _write(self, level: str, event: str, fields: dict[str, object]) -> None:
        now = dt.datetime.now(dt.UTC).isoformat(timespec="microseconds")
        line = {
            **self._fields,
            **fields,
            "event": event,
            "level": level,
            "timestamp": now.replace("+00:00", "Z"),
        }
        self._stream.write(json.dumps(line) + "\n")
        self._stream.flush()
