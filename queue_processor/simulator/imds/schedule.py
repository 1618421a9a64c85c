"""Announces what is due, when it is due."""

import asyncio
import dataclasses
import datetime as dt
from collections.abc import Callable, Sequence

from queue_processor.domain import errors
from queue_processor.simulator.imds.announcements import NodeAnnouncement


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ScheduledAnnouncement:
    """An announcement, and when it begins (UTC)."""

    begins_at: dt.datetime
    order: NodeAnnouncement


async def run(
    entries: Sequence[ScheduledAnnouncement],
    *,
    announce: Callable[[NodeAnnouncement], object],
    now: Callable[[], dt.datetime],
    on_error: Callable[[str], None],
) -> None:
    """Announce everything in a schedule when it begins; what began before the start, at once.

    Args:
        entries: In the order of their times.
        announce: Announces something, or raises UsageError.
        now: The present (UTC).
        on_error: Called with a line for people about what could not be announced.
    """
    for entry in entries:
        await asyncio.sleep(max((entry.begins_at - now()).total_seconds(), 0))
        try:
            announce(entry.order)
        except errors.UsageError as error:
            on_error(f"{entry.order.node}: not announced: {error}")
