"""Run the watcher of one node until it is stopped."""

import os
from collections.abc import Callable

from queue_processor.watcher.json_log import JsonLog
from queue_processor.watcher.metadata_watcher import MetadataWatcher


class Heartbeat:
    """A file whose time shows that the watcher makes turns, for the liveness probe of the pod.

    It makes no difference whether instance metadata or the API server answers: a restart would not
    bring either back.
    """

    def __init__(self, path: str, log: JsonLog) -> None:
        self._path = path
        self._log = log
        self._is_logged = False

    def beat(self) -> None:
        """Set the time of the file to the present."""
        try:
            with open(self._path, "ab"):  # noqa: PTH123 - pathlib would cost memory
                os.utime(self._path)
        except OSError as error:
            if not self._is_logged:
                self._log.warning("heartbeat_not_written", cause=str(error))
            self._is_logged = True


def run(watcher: MetadataWatcher, heartbeat: Heartbeat, wait: Callable[[float], bool]) -> None:
    """Make turns until `wait`, which pauses for some seconds, returns True."""
    while True:
        seconds = watcher.turn()
        heartbeat.beat()
        if wait(seconds):
            return
