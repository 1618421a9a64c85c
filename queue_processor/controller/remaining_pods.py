"""Pods that drains still have to remove, and whether the API server is fast enough for them.

At a hard deadline blocked pods are deleted, each in time for its grace period. In a storm they are
all due at the same moment, and the API server deletes some hundred of them in a second: the last
ones would get their SIGTERM too late, or not at all. So deletions begin earlier, by the time that
it takes to delete all blocked pods that are due by then, at the rate at which the API server has
answered.

Other pods wait because thousands of evictions are ahead of them. A deletion is less work for the
API server than an eviction: measured on a busy one, 200 of them are answered in the time of 80
evictions. So where all that are left cannot be evicted in time, the next ones are deleted instead,
until those behind them fit again.

The rate is the most answers in one second of the last minutes. In a calm minute there are few
requests, and their number says nothing about the server. But a blocked pod has been refused in the
first seconds of its drain, together with the others, so the best second shows how fast the server
is. Where it shows less than the slowest rate below, evictions under one budget waited for each
other, or for a webhook, and not for the server.
"""

import asyncio
import collections
import datetime as dt
from typing import NamedTuple

_REMEMBERED_SECONDS = 120
# Deadlines within so many seconds of each other are one.
_SAME_SECONDS = 10
_SLOWEST_PER_SECOND = 50
# What is over that soon needs no earlier beginning.
_NEGLIGIBLE = dt.timedelta(seconds=2)


class _Due(NamedTuple):
    """The time at which a pod has to be deleted, rounded; `is_blocked` if its budget refused it."""

    period: int
    is_blocked: bool


class RemainingPods:
    """Counts the pods that all drains still have to remove, and the answers of the API server."""

    def __init__(self) -> None:
        self._due: dict[str, _Due] = {}
        self._counts: collections.Counter[_Due] = collections.Counter()
        self._answers: collections.Counter[int] = collections.Counter()

    def add(self, uid: str, due_at: dt.datetime | None) -> None:
        """Count a pod that has to be deleted at this time; None: it is not deleted.

        A pod that is counted already stays blocked if it was.
        """
        before = self._due.get(uid)
        self.discard(uid)
        if due_at is not None:
            is_blocked = before is not None and before.is_blocked
            self._count(uid, _Due(_period(due_at), is_blocked))

    def note_blocked(self, uid: str) -> None:
        """Note that its budget has blocked a pod, if the pod is counted."""
        if uid in self._due:
            blocked = self._due[uid]._replace(is_blocked=True)
            self.discard(uid)
            self._count(uid, blocked)

    def discard(self, uid: str) -> None:
        """Count a pod no more, if it was counted."""
        due = self._due.pop(uid, None)
        if due is not None:
            self._counts[due] -= 1
            if not self._counts[due]:
                del self._counts[due]

    def count_answer(self) -> None:
        """Count the answer to an eviction or a deletion."""
        second = int(asyncio.get_running_loop().time())
        if second not in self._answers:
            for past in [each for each in self._answers if each < second - _REMEMBERED_SECONDS]:
                del self._answers[past]
        self._answers[second] += 1

    def lead(self, due_at: dt.datetime) -> dt.timedelta:
        """Return how long it takes to delete the blocked pods that are due by this time."""
        return self._time_for(due_at, only_blocked=True)

    def time_for_all(self, due_at: dt.datetime) -> dt.timedelta:
        """Return how long it takes to remove all pods that are due by this time."""
        return self._time_for(due_at, only_blocked=False)

    def _count(self, uid: str, due: _Due) -> None:
        self._due[uid] = due
        self._counts[due] += 1

    def _time_for(self, due_at: dt.datetime, *, only_blocked: bool) -> dt.timedelta:
        period = _period(due_at)
        count = sum(
            pods
            for due, pods in self._counts.items()
            if due.period <= period and (due.is_blocked or not only_blocked)
        )
        if not count:
            # Nearly always, and this is asked for every pod.
            return dt.timedelta()
        rate = max((_SLOWEST_PER_SECOND, *self._answers.values()))
        needed = dt.timedelta(seconds=count / rate)
        return needed if needed > _NEGLIGIBLE else dt.timedelta()


def _period(moment: dt.datetime) -> int:
    return int(moment.timestamp() // _SAME_SECONDS)
