"""Whether the loops make progress, and whether the program can judge messages."""

import dataclasses
import time


@dataclasses.dataclass(slots=True)
class _Beat:
    at: float
    limit_seconds: float


class Liveness:
    """What /healthz and /readyz answer from.

    A loop that is awaited for longer than its limit is stuck; one that rests is not
    expected to beat.
    """

    def __init__(self) -> None:
        self._beats: dict[str, _Beat] = {}
        self.is_ready = False

    def heartbeat(self, loop: str, *, limit_seconds: float = 60.0) -> None:
        """Say that a loop makes progress, and when the next word is due."""
        self._beats[loop] = _Beat(time.monotonic(), limit_seconds)

    def pause(self, loop: str) -> None:
        """Say that a loop is not running, in good order."""
        self._beats.pop(loop, None)

    def stalled(self) -> list[str]:
        """The loops that have not made progress for too long."""
        now = time.monotonic()
        return sorted(
            name for name, beat in self._beats.items() if now - beat.at > beat.limit_seconds
        )
