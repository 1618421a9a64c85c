"""Learns how many requests may run at once: as many as the API server answers without a queue.

The problem. More requests at once end a storm sooner, until the API server is busy. From there on
each one waits for the others, and a busy server even does less, since its work gets into its own
way. Where that point is depends on its size, on its load, and on what else it does at the time: no
constant is right for a small control plane and for a large one.

The approach. In a closed loop the throughput is N / R (Little's law): N requests at once, each
answered after R seconds. A few more requests are worth their while if R grows by less than N does,
so what counts is the slope of ln R over ln N: 0 for a server with time to spare, 1 for one that
only queues, more for one that suffers. The limit climbs that hill. In each round it is one step
higher or lower than in the one before; two rounds give a slope, and the next step goes up if it is
gentle, and down if it is steep. So the limit is never at rest, and stays within a few steps of the
knee. A round is as many answers as there are slots, of requests that began and ended in it: before
that, the answers are still those of the last limit. So an eviction that a webhook holds up does not
count, as its round ends without it. The time of a round is the median of its answers, because some
of them wait for something else, such as another eviction under their budget.

A 429 that names a time to retry means that the API server itself has too many requests, in API
Priority and Fairness. The limit goes down by one step at once, and once for all requests of a
round. https://kubernetes.io/docs/concepts/cluster-administration/flow-control/

The next storm starts where the last one ended: it is the same API server, and a limit that does not
fit any more is left by a step in each round. A new process starts in between.

What this follows. Vegas compares the actual with the expected throughput instead of waiting for
losses (Brakmo and Peterson, IEEE JSAC 13(8), 1995); Netflix's concurrency-limits brought that to
requests (https://github.com/Netflix/concurrency-limits); the trials with a higher and a lower rate
are those of PCC (Dong et al., NSDI 2015). Rejected: what Vegas and Netflix's Gradient do, to
compare with the shortest time seen, since evictions differ, connections have to be opened first,
and on a server that others keep busy the limit would give way until nothing is left; AIMD alone,
since an API server queues for seconds before it refuses; one line through all recent answers, whose
slope is an average of both sides of the knee. docs/decisions/0015 has the figures.
"""

import math
import statistics

from queue_processor.observability import metrics

_START = 24
_FLOOR = 8
_CEILING = 128
# A larger step finds the knee sooner, and stays further away from it.
_STEP = 1.25
# Below 1, where throughput is at its best: the last few percent would double the queue.
_STEEP = 0.9
# A few answers are no reason for more than that, and no server gets faster under load.
_GENTLEST, _STEEPEST = 0.0, 2.0
# Shorter than any answer over a network; in virtual time an answer may take no time at all.
_SHORTEST_SECONDS = 0.001


class AdaptiveLimit:
    """The number of slots, learned from the answers to requests that held one."""

    def __init__(self, *, floor: int = _FLOOR, ceiling: int = _CEILING) -> None:
        """Start in between; the limit is constant if both bounds are the same."""
        self._floor = floor
        self._ceiling = ceiling
        self._round = 0
        self._slope = 0.0
        self._last: tuple[int, float] | None = None
        self._begin_round(self._within(_START))

    @property
    def slots(self) -> int:
        """Return how many requests may run at once."""
        return self._slots

    @property
    def round(self) -> int:
        """Return the number of the round, which a request keeps until it is answered."""
        return self._round

    def learn(self, began_in: int, seconds: float) -> None:
        """Learn from an answer to a request while all slots are held.

        Args:
            began_in: The round in which the request began.
            seconds: How long the answer took.
        """
        if began_in != self._round:
            return
        self._seconds.append(max(seconds, _SHORTEST_SECONDS))
        if len(self._seconds) >= self._slots:
            self._end_round(statistics.median(self._seconds))

    def back_off(self, began_in: int) -> None:
        """Give way to an API server that refused a request of a round, because it has too many."""
        if began_in == self._round:
            self._last = None
            self._begin_round(self._step(up=False))

    def _end_round(self, seconds: float) -> None:
        if self._last is not None and self._last[0] != self._slots:
            last_slots, last_seconds = self._last
            slope = math.log(seconds / last_seconds) / math.log(self._slots / last_slots)
            self._slope = (self._slope + min(max(slope, _GENTLEST), _STEEPEST)) / 2
        self._last = (self._slots, seconds)
        up = self._slope < _STEEP
        following = self._step(up=up)
        # At a bound it turns round, or it would never learn that the knee has moved.
        self._begin_round(following if following != self._slots else self._step(up=not up))

    def _step(self, *, up: bool) -> int:
        return self._within(round(self._slots * _STEP if up else self._slots / _STEP))

    def _within(self, slots: int) -> int:
        return min(max(slots, self._floor), self._ceiling)

    def _begin_round(self, slots: int) -> None:
        self._slots = slots
        self._round += 1
        self._seconds: list[float] = []
        metrics.REQUESTS_IN_FLIGHT_LIMIT.set(slots)
