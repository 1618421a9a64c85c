"""Pods that their budgets block, and how long it takes to delete them all at their deadline.

At a hard deadline blocked pods are deleted, each in time for its grace period. In a storm they are
all due at the same moment, and the API server deletes some hundred of them in a second: the last
ones would get their SIGTERM too late, or not at all. So deletions begin earlier, by the time that
it takes to delete all pods that are due by then, at the rate at which the API server has answered.

That rate is the most answers in one second of the last minutes. In a calm minute there are few
requests, and their number says nothing about the server. But each of these pods has been refused,
in the first seconds of its drain and together with the others, so the best second shows how fast
the server is. Where it shows less than the slowest rate below, evictions under one budget waited
for each other, or for a webhook, and not for the server.
"""

import asyncio
import collections
import datetime as dt

_REMEMBERED_SECONDS = 120
# Deadlines within so many seconds of each other are one.
_SAME_SECONDS = 10
_SLOWEST_PER_SECOND = 50
# What is over that soon needs no earlier beginning.
_NEGLIGIBLE = dt.timedelta(seconds=2)


class BlockedPods:
    """Counts the blocked pods of all drains, and the answers of the API server."""

    def __init__(self) -> None:
        self._due: dict[str, int] = {}
        self._counts: collections.Counter[int] = collections.Counter()
        self._answers: collections.Counter[int] = collections.Counter()

    def add(self, uid: str, due_at: dt.datetime | None) -> None:
        """Count a pod that has to be deleted at this time; None: it is not deleted."""
        self.discard(uid)
        if due_at is not None:
            self._due[uid] = period = int(due_at.timestamp() // _SAME_SECONDS)
            self._counts[period] += 1

    def discard(self, uid: str) -> None:
        """Count a pod no more, if it was counted."""
        period = self._due.pop(uid, None)
        if period is not None:
            self._counts[period] -= 1
            if not self._counts[period]:
                del self._counts[period]

    def count_answer(self) -> None:
        """Count the answer to an eviction or a deletion."""
        second = int(asyncio.get_running_loop().time())
        if second not in self._answers:
            for past in [each for each in self._answers if each < second - _REMEMBERED_SECONDS]:
                del self._answers[past]
        self._answers[second] += 1

    def lead(self, due_at: dt.datetime) -> dt.timedelta:
        """Return how long it takes to delete the pods that are due by this time."""
        if not self._counts:
            # Nearly always, and this is asked for every pod.
            return dt.timedelta()
        period = due_at.timestamp() // _SAME_SECONDS
        count = sum(pods for due, pods in self._counts.items() if due <= period)
        rate = max((_SLOWEST_PER_SECOND, *self._answers.values()))
        lead = dt.timedelta(seconds=count / rate)
        return lead if lead > _NEGLIGIBLE else dt.timedelta()
