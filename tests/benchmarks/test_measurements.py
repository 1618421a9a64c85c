"""Figures from the audit log and from the kernel."""

import datetime as dt
import subprocess
import sys

from benchmarks import measurements
from benchmarks.measurements import MachineTimes
from tests.cluster.audit import Access, Request

NOON = dt.datetime(2026, 11, 29, 12, tzinfo=dt.UTC)
SPIN = "import time\nwhile time.process_time() < 0.2: pass"


def _request(verb: str, resource: str, name: str, second: int, code: int = 200) -> Request:
    at = NOON + dt.timedelta(seconds=second)
    return Request(Access(verb, resource), "work", name, code, received_at=at, answered_at=at)


def test_a_pod_is_gone_when_its_deletion_succeeded() -> None:
    requests = [
        _request("delete", "pods", "node-1-0", 1, code=409),
        _request("delete", "pods", "node-1-0", 2),
        _request("delete", "pods", "node-2-0", 3),
        _request("patch", "pods", "node-2-0", 4),
    ]

    gone_at = measurements.pods_gone_at(requests)

    assert gone_at == {"node-1-0": NOON.timestamp() + 2, "node-2-0": NOON.timestamp() + 3}


def test_the_first_patch_cordons() -> None:
    requests = [_request("patch", "nodes", "node-1", second) for second in (3, 5)]

    assert measurements.cordoned_at(requests) == {"node-1": NOON.timestamp() + 3}


def test_others_have_what_is_busy_and_not_ours() -> None:
    before = MachineTimes(total=100.0, busy=50.0, ours=20.0)

    assert MachineTimes(total=120.0, busy=65.0, ours=33.0).others_percent(before) == 10.0
    # The kernel counts in ticks: ours may be more than all.
    assert MachineTimes(total=120.0, busy=65.0, ours=35.1).others_percent(before) == 0.0


def test_our_time_has_that_of_children_alive_and_ended() -> None:
    begin = MachineTimes.read()
    command = [sys.executable, "-c", f"{SPIN}\ninput()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as child:  # noqa: S603 - our own
        while MachineTimes.read().ours < begin.ours + 0.2:
            assert child.poll() is None
        alive = MachineTimes.read()
        child.kill()
    ended = MachineTimes.read()

    assert ended.ours >= alive.ours
    assert ended.total > begin.total
