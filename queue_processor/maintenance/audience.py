"""Whether somebody reads a queue, as far as it can be seen from here."""

import asyncio
import dataclasses
import datetime as dt

from queue_processor.adapters.aws.queue import QueueState
from queue_processor.domain import errors
from queue_processor.domain.leases import Lease
from queue_processor.maintenance import cluster
from queue_processor.settings import ToolSettings


@dataclasses.dataclass(frozen=True, slots=True)
class Audience:
    """Who reads a queue.

    Attributes:
        is_excluded: It is certain that no operator reads it.
        text: What is known, for people.
    """

    is_excluded: bool
    text: str


def of(queue: QueueState, settings: ToolSettings, *, now: dt.datetime) -> Audience:
    """Tell who reads a queue.

    A message that somebody holds proves a reader. That nobody holds one proves nothing: an
    operator that waits for work holds none. So the Lease counts too, and where it cannot be
    read, or there is none to read, somebody may be there.
    """
    if queue.held:
        return Audience(is_excluded=False, text=f"somebody holds {queue.held} of its messages now")
    if not settings.leader_election.enabled:
        return Audience(
            is_excluded=False,
            text="nobody holds a message of it now, but whether an operator waits at it cannot be"
            " seen without leader election",
        )
    try:
        lease = asyncio.run(cluster.lease(settings))
    except errors.QueueProcessorError as error:
        return Audience(
            is_excluded=False,
            text="nobody holds a message of it now, but an operator may wait at it; the Lease"
            f" cannot be read: {error}",
        )
    if lease is not None and _is_held(lease, now):
        return Audience(is_excluded=False, text=f"{lease.holder} leads in the cluster")
    return Audience(
        is_excluded=True, text="nobody holds a message of it, and no operator leads in the cluster"
    )


def _is_held(lease: Lease, now: dt.datetime) -> bool:
    """Whether a leader may be alive; the clocks of two machines differ by less than a lease."""
    return bool(lease.holder) and (
        lease.renewed_at is None or now - lease.renewed_at < 2 * lease.duration
    )
