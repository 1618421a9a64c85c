"""Process entry: `queue-processor-watcher` and `python -m queue_processor.watcher`."""

import datetime as dt
import os
import signal
import sys
import threading
import time
import types
from collections.abc import Sequence
from typing import NoReturn

from queue_processor.domain import errors
from queue_processor.watcher import configuration, loop
from queue_processor.watcher.configuration import WatcherConfiguration
from queue_processor.watcher.imds import MetadataClient
from queue_processor.watcher.json_log import JsonLog
from queue_processor.watcher.loop import Heartbeat
from queue_processor.watcher.metadata_watcher import MetadataWatcher, WatcherClock
from queue_processor.watcher.node_patcher import NodePatcher

_PROGRAM = "queue-processor-watcher"
_WRONG_USAGE = 2
_HELP = f"""\
Usage: {_PROGRAM}

Record on the Node what EC2 instance metadata announces: Spot interruptions, rebalance
recommendations, scheduled events, and terminations by Auto Scaling.

Environment:
  NODE_NAME       The name of the Node. Required.
  IMDS_ENDPOINT   The URL of instance metadata, without /latest. Without it,
                  AWS_EC2_METADATA_SERVICE_ENDPOINT, else the link-local address of the
                  AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE (IPv4 or IPv6).
                  Default: {configuration.IMDS_ENDPOINT}
  POLL_SECONDS    From one poll to the next, 1 to 30. Default: 2
  LEGACY_PATHS    true to read spot/termination-time, too. Default: false
  HEARTBEAT_FILE  Its time of modification is set after each turn.
                  Default: {configuration.HEARTBEAT_FILE}

It reaches the API server with the service account of its pod, which has to be allowed to patch
nodes, and logs JSON lines to stderr.

Examples:
  NODE_NAME=ip-10-0-0-1.ec2.internal {_PROGRAM}
  NODE_NAME=node-1 IMDS_ENDPOINT=http://imds.example:8169/nodes/node-1 POLL_SECONDS=1 {_PROGRAM}
"""


def main() -> int:
    """Run the watcher, and return the exit code."""
    return _main(sys.argv[1:])


def _main(arguments: Sequence[str]) -> int:
    match arguments:
        case []:
            pass
        case ["--help" | "-h"]:
            sys.stdout.write(_HELP)
            return 0
        case _:
            return _refuse(f"unexpected argument {arguments[0]!r}: see --help")
    try:
        configured = configuration.read(os.environ)
    except errors.ConfigurationError as error:
        return _refuse(str(error))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    _run(configured)
    return 0


def _refuse(reason: str) -> int:
    sys.stderr.write(f"{_PROGRAM}: {reason}\n")
    return _WRONG_USAGE


def _stop(number: int, frame: types.FrameType | None) -> NoReturn:
    """End the process, also out of a request: nothing is lost that is not read again."""
    del number, frame
    raise SystemExit(0)


def _run(configured: WatcherConfiguration) -> None:
    log = JsonLog(sys.stderr, logger="queue_processor.watcher", node=configured.node)
    log.info(
        "watcher_started",
        imds=configured.endpoint.url,
        poll_seconds=configured.polling.interval_seconds,
    )
    watcher = MetadataWatcher(
        MetadataClient(
            configured.endpoint.connect(),
            log=log,
            monotonic=time.monotonic,
            base_path=configured.endpoint.base_path,
        ),
        NodePatcher(configured.account, configured.node),
        polling=configured.polling,
        clock=WatcherClock(now=lambda: dt.datetime.now(dt.UTC), monotonic=time.monotonic),
        log=log,
    )
    loop.run(watcher, Heartbeat(configured.heartbeat_path, log), threading.Event().wait)


if __name__ == "__main__":
    sys.exit(main())
