"""Faults to order: answers, delays and broken connections instead of, or before, the real thing."""

import asyncio
import dataclasses
import re
from collections.abc import Sequence

from queue_processor.simulator.kube import statuses


class ConnectionCutError(ConnectionResetError):
    """The server closes the connection without an answer."""


@dataclasses.dataclass(frozen=True, slots=True)
class ErrorResponse:
    """ErrorResponse with a Status; ``retry_after`` in seconds, 0 for no such header."""

    code: int
    reason: str = ""
    message: str = "ordered by a test"
    retry_after: int = 0

    def refusal(self) -> statuses.ApiError:
        """The answer as the API raises it."""
        details = {"retryAfterSeconds": self.retry_after} if self.retry_after else None
        return statuses.ApiError(self.code, self.reason, self.message, details)


@dataclasses.dataclass(frozen=True, slots=True)
class Delay:
    """ErrorResponse later than usual."""

    seconds: float


@dataclasses.dataclass(frozen=True, slots=True)
class Hang:
    """Never answer; it ends with the client's patience."""


@dataclasses.dataclass(frozen=True, slots=True)
class Cut:
    """Close the connection: before the request has had its effect, or after."""

    after_effect: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """What to do to which requests.

    ``method`` and ``path`` are regular expressions for the whole text (the path without its
    query), ``user_agent`` for a part of it. The fault ends after ``times`` requests or after
    ``seconds`` of the loop's clock, whichever comes first; ``None`` sets no such limit.
    """

    effect: ErrorResponse | Delay | Hang | Cut
    method: str = ".*"
    path: str = ".*"
    user_agent: str = ""
    times: int | None = None
    seconds: float | None = None

    def concerns(self, method: str, path: str, user_agent: str) -> bool:
        """Whether it is about such a request."""
        return (
            re.fullmatch(self.method, method) is not None
            and re.fullmatch(self.path, path) is not None
            and re.search(self.user_agent, user_agent) is not None
        )


@dataclasses.dataclass(slots=True)
class _Active:
    fault: Fault
    left: int | None
    ends: float | None


class FaultInjector:
    """The faults in force, the first that fits counts."""

    def __init__(self) -> None:
        self._active: list[_Active] = []
        self._fresh: list[Fault] = []

    def add(self, *faults: Fault) -> None:
        """Put faults in force: from now, or from the first request when no loop runs yet."""
        self._fresh += faults
        try:
            now = asyncio.get_running_loop().time()
        except RuntimeError:
            return
        self._start(now)

    def clear(self) -> None:
        """End all faults."""
        self._active.clear()
        self._fresh.clear()

    @property
    def pending(self) -> Sequence[Fault]:
        """The faults that have not ended by their count; for asserting that all were met."""
        return [entry.fault for entry in self._active if entry.left != 0] + self._fresh

    def meet(
        self, method: str, path: str, user_agent: str
    ) -> ErrorResponse | Delay | Hang | Cut | None:
        """What is to be done to a request, if anything; counts it."""
        now = asyncio.get_running_loop().time()
        self._start(now)
        self._active = [
            entry
            for entry in self._active
            if entry.left != 0 and (entry.ends is None or now < entry.ends)
        ]
        for entry in self._active:
            if entry.fault.concerns(method, path, user_agent):
                if entry.left is not None:
                    entry.left -= 1
                return entry.fault.effect
        return None

    def _start(self, now: float) -> None:
        fresh, self._fresh = self._fresh, []
        for fault in fresh:
            ends = None if fault.seconds is None else now + fault.seconds
            self._active.append(_Active(fault, fault.times, ends))
