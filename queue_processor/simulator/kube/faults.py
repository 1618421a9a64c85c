"""Fault injection: errors, delays and broken connections instead of, or before, the response."""

import asyncio
import dataclasses
import re
from collections.abc import Sequence

from queue_processor.simulator.kube import objects, statuses


class ConnectionCutError(ConnectionResetError):
    """The server closes the connection without a response."""


@dataclasses.dataclass(frozen=True, slots=True)
class ErrorResponse:
    """Respond with an error; ``retry_after`` in seconds, 0 for no such header.

    ``causes`` are the reasons in the details of the Status object. The response comes after
    ``after_seconds``, as that of a request whose admission webhook times out.
    """

    code: int
    reason: str = ""
    message: str = "injected by a test"
    retry_after: int = 0
    causes: tuple[str, ...] = ()
    after_seconds: float = 0.0

    def error(self) -> statuses.ApiError:
        """Return the error as the API server raises it."""
        details: objects.JsonObject = {}
        if self.retry_after:
            details["retryAfterSeconds"] = self.retry_after
        if self.causes:
            details["causes"] = [{"reason": reason} for reason in self.causes]
        return statuses.ApiError(self.code, self.reason, self.message, details or None)


@dataclasses.dataclass(frozen=True, slots=True)
class Delay:
    """Respond late."""

    seconds: float


@dataclasses.dataclass(frozen=True, slots=True)
class Hang:
    """Never respond: the request ends with the client's timeout."""


@dataclasses.dataclass(frozen=True, slots=True)
class Cut:
    """Close the connection: before the request has had its effect, or after."""

    after_effect: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """An effect on some requests.

    ``method`` and ``path`` (without the query) are regular expressions for the whole text. The
    fault ends after ``times`` requests or after ``seconds`` of the loop's clock, whichever comes
    first; ``None`` sets no such limit.
    """

    effect: ErrorResponse | Delay | Hang | Cut
    method: str = ".*"
    path: str = ".*"
    times: int | None = None
    seconds: float | None = None

    def matches(self, method: str, path: str) -> bool:
        """Return True if it affects such a request."""
        return bool(re.fullmatch(self.method, method) and re.fullmatch(self.path, path))


@dataclasses.dataclass(slots=True)
class _ActiveFault:
    fault: Fault
    left: int | None
    ends: float | None


class FaultInjector:
    """The faults in force; the first that matches a request counts."""

    def __init__(self) -> None:
        self._active: list[_ActiveFault] = []

    def add(self, *faults: Fault) -> None:
        """Start faults."""
        now = asyncio.get_running_loop().time()
        for fault in faults:
            ends = None if fault.seconds is None else now + fault.seconds
            self._active.append(_ActiveFault(fault, fault.times, ends))

    @property
    def pending(self) -> Sequence[Fault]:
        """Return the faults with ``times`` left, for asserting that all have happened."""
        return [entry.fault for entry in self._active if entry.left != 0]

    def take(self, method: str, path: str) -> ErrorResponse | Delay | Hang | Cut | None:
        """Return the effect on a request, if any, and count it."""
        now = asyncio.get_running_loop().time()
        self._active = [
            entry
            for entry in self._active
            if entry.left != 0 and (entry.ends is None or now < entry.ends)
        ]
        for entry in self._active:
            if entry.fault.matches(method, path):
                if entry.left is not None:
                    entry.left -= 1
                return entry.fault.effect
        return None
