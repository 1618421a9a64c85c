"""Poll without pauses, and print the CPU seconds of a poll.

Run as `python -m tests.watcher.polling ENDPOINT POLLS` in a process of its own.
"""

import datetime as dt
import sys
import time
from collections.abc import Mapping

from queue_processor.watcher.imds import MetadataClient, MetadataEndpoint
from queue_processor.watcher.json_log import JsonLog
from queue_processor.watcher.metadata_watcher import MetadataWatcher, Polling, WatcherClock

# Until the connection is open and everything is imported.
_WARM_UP = 20
_BATCHES = 4


class _NoNode:
    """A Node that nothing is written on."""

    def annotate(self, annotations: Mapping[str, str]) -> None:
        raise AssertionError(annotations)


def _main(url: str, polls: int) -> None:
    endpoint = MetadataEndpoint.parse(url)
    log = JsonLog(sys.stderr)
    watcher = MetadataWatcher(
        MetadataClient(endpoint.connect(), log=log, monotonic=time.monotonic),
        _NoNode(),
        polling=Polling(interval_seconds=0),
        clock=WatcherClock(now=lambda: dt.datetime.now(dt.UTC), monotonic=time.monotonic),
        log=log,
    )
    for _ in range(_WARM_UP):
        watcher.turn()
    batches = [_cpu_seconds(watcher, polls) for _ in range(_BATCHES)]
    # What else runs on the machine makes polls dearer, never cheaper.
    sys.stdout.write(f"{min(batches) / polls}\n")


def _cpu_seconds(watcher: MetadataWatcher, polls: int) -> float:
    began = time.process_time()
    for _ in range(polls):
        watcher.turn()
    return time.process_time() - began


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]))
