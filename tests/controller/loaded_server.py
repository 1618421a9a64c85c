"""An API server that a storm drives as hard as its limit allows, in virtual time of its own.

It has workers with a queue in front of them. A request takes longer while more are waiting, as on a
real server, whose work gets into its own way: throughput is at its best where the workers are just
busy, and falls from there on. Other clients may keep it busy, and it may refuse what is too much.
"""

import collections
import dataclasses
import functools
import heapq
import itertools
import math
import random
from collections.abc import Callable
from typing import TypeAlias

from queue_processor.controller.adaptive_limit import AdaptiveLimit

# Half of it on the way there, and half on the way back.
_NETWORK_SECONDS = 0.005
_RETRY_AFTER_SECONDS = 1.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """The capacity of a server.

    Attributes:
        workers: How many requests it works on at once.
        seconds: How long one of them takes on average, while none is waiting.
        spread: The standard deviation of the logarithm of that time.
        contention: How much longer it takes for each request that waits, as a share of the workers.
        others: The requests that other clients always have there.
        refuses_beyond: The number of requests from which on it answers 429, with Retry-After.
        changes: After how many seconds it has another number of workers, and how many.
    """

    workers: int
    seconds: float
    spread: float = 0.5
    contention: float = 0.3
    others: int = 0
    refuses_beyond: int | None = None
    changes: tuple[float, int] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a storm.

    Attributes:
        throughput: Evictions per second.
        refused: How many requests were answered with 429.
        limits: The limit at each answer.
    """

    throughput: float
    refused: int
    limits: tuple[int, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class _Request:
    sent_at: float
    began_in: int
    is_full: bool
    is_ours: bool = True


_Happens: TypeAlias = Callable[[], None]


class Storm:
    """As many evictions as the limit allows, until all are through."""

    def __init__(self, server: Server, limit: AdaptiveLimit, *, seed: int) -> None:
        self._server = server
        self._limit = limit
        self._random = random.Random(seed)  # noqa: S311 - a seed makes it the same each time
        self._agenda: list[tuple[float, int, _Happens]] = []
        self._order = itertools.count()
        self._queue: collections.deque[_Request] = collections.deque()
        self._now = 0.0
        self._workers = server.workers
        self._busy = self._held = self._waiting = self._refused = 0
        self._limits: list[int] = []

    def run(self, evictions: int) -> Outcome:
        """Evict so many pods."""
        self._waiting = evictions
        if self._server.changes is not None:
            seconds, workers = self._server.changes
            self._after(seconds, functools.partial(self._set_workers, workers))
        for _ in range(self._server.others):
            self._after(self._random.random() * self._server.seconds, self._send_of_others)
        self._admit()
        while len(self._limits) < evictions:
            self._now, _, happens = heapq.heappop(self._agenda)
            happens()
        return Outcome(evictions / self._now, self._refused, tuple(self._limits))

    def _after(self, seconds: float, happens: _Happens) -> None:
        heapq.heappush(self._agenda, (self._now + seconds, next(self._order), happens))

    @property
    def _is_full(self) -> bool:
        return self._held >= self._limit.slots

    def _admit(self) -> None:
        while self._waiting and not self._is_full:
            self._waiting -= 1
            self._held += 1
            request = _Request(self._now, self._limit.round, self._is_full)
            self._after(_NETWORK_SECONDS / 2, functools.partial(self._arrive, request))

    def _send_of_others(self) -> None:
        self._arrive(_Request(self._now, 0, is_full=False, is_ours=False))

    def _arrive(self, request: _Request) -> None:
        most = self._server.refuses_beyond
        if most is not None and self._busy + len(self._queue) >= most:
            self._after(_NETWORK_SECONDS / 2, functools.partial(self._on_refusal, request))
            return
        self._queue.append(request)
        self._work()

    def _set_workers(self, workers: int) -> None:
        self._workers = workers
        self._work()

    def _work(self) -> None:
        while self._queue and self._busy < self._workers:
            excess = max(0, self._busy + len(self._queue) - self._workers) / self._workers
            spread = self._server.spread
            seconds = self._server.seconds * (1 + self._server.contention * excess)
            seconds *= math.exp(self._random.gauss(0, spread) - spread**2 / 2)
            request = self._queue.popleft()
            self._busy += 1
            self._after(seconds, functools.partial(self._finish, request))

    def _finish(self, request: _Request) -> None:
        self._busy -= 1
        if request.is_ours:
            self._after(_NETWORK_SECONDS / 2, functools.partial(self._on_answer, request))
        else:
            self._send_of_others()
        self._work()

    def _on_answer(self, request: _Request) -> None:
        if request.is_full and self._is_full:
            self._limit.learn(request.began_in, self._now - request.sent_at)
        self._limits.append(self._limit.slots)
        self._held -= 1
        self._admit()

    def _on_refusal(self, request: _Request) -> None:
        self._refused += 1
        self._limit.back_off(request.began_in)
        self._held -= 1
        self._after(_RETRY_AFTER_SECONDS * (1 + self._random.random()), self._send_again)
        self._admit()

    def _send_again(self) -> None:
        self._waiting += 1
        self._admit()
