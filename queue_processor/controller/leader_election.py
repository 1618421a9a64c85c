"""Which process works: a Lease, decided by the loop's monotonic clock alone.

The model is client-go's `tools/leaderelection`, with two differences: a failed renewal
is never a crash, and a clean stop empties the holder, so that a standby need not wait.
"""

import asyncio
import dataclasses
import datetime as dt
from collections.abc import Awaitable, Callable

import structlog

from queue_processor.controller import ports
from queue_processor.domain import errors
from queue_processor.domain.leases import Lease
from queue_processor.observability import health, metrics

_log = structlog.get_logger(__name__)

_BEAT = "leadership"
_FAILED = (TimeoutError, errors.TemporaryError, errors.PermanentError)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTimes:
    """How patient the election is.

    Attributes:
        duration: How long the others wait for a leader that went silent.
        renew_deadline: When a leader that cannot renew stops working; shorter.
        retry_period: The pause between attempts.
    """

    duration: dt.timedelta = dt.timedelta(seconds=15)
    renew_deadline: dt.timedelta = dt.timedelta(seconds=10)
    retry_period: dt.timedelta = dt.timedelta(seconds=2)


class LeaderElector:
    """Acquires the Lease, works while it holds it, and hands it on."""

    def __init__(
        self,
        *,
        leases: ports.Leases,
        identity: str,
        times: LeaseTimes,
        liveness: health.Liveness,
        clock: ports.Clock,
    ) -> None:
        """Build the elector.

        Args:
            leases: Where the Lease lies.
            identity: Who we are; no other process may have the same.
            times: How patient the election is.
            liveness: Told that the loop makes progress.
            clock: For the times that people read in the Lease; decides nothing.
        """
        self._leases = leases
        self._identity = identity
        self._times = times
        self._liveness = liveness
        self._clock = clock
        self._seen: Lease | None = None
        self._seen_at = 0.0
        self._held: Lease | None = None
        self._held_until = 0.0

    def is_held(self) -> bool:
        """Whether this process may write, at this very moment."""
        return self._held is not None and asyncio.get_running_loop().time() < self._held_until

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Work whenever we lead, until cancelled.

        Args:
            work: Runs for ever; when cancelled, it hands back what it has before it ends.
        """
        metrics.IS_LEADER.set(0)
        while True:
            await self._acquire()
            _log.info("leadership_acquired", identity=self._identity)
            metrics.IS_LEADER.set(1)
            _count(metrics.LeadershipChange.ACQUIRED)
            working = asyncio.ensure_future(work())
            renewing = asyncio.create_task(self._renew_until_lost(), name="renew lease")
            try:
                await asyncio.wait((working, renewing), return_when=asyncio.FIRST_COMPLETED)
            finally:
                metrics.IS_LEADER.set(0)
                is_lost = renewing.done()
                if is_lost:
                    self._held_until = 0.0
                    _count(metrics.LeadershipChange.LOST)
                    _log.error("leadership_lost", identity=self._identity)
                await _end(working)
                await _end(renewing)
                if not is_lost:
                    await self._release()
                self._held = None
            if working.done() and not working.cancelled():
                # Work never ends by itself: this raises what ended it.
                working.result()
                raise RuntimeError("the work ended without a cause")

    async def _acquire(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._liveness.heartbeat(_BEAT)
            started_at = loop.time()
            try:
                async with asyncio.timeout(self._times.renew_deadline.total_seconds()):
                    if await self._try_to_acquire(started_at):
                        return
            except errors.Conflict:
                _log.debug("lease_taken_by_another")
            except _FAILED as error:
                _log.warning("lease_acquire_failed", error=str(error) or "timed out")
            await asyncio.sleep(self._times.retry_period.total_seconds())

    async def _try_to_acquire(self, started_at: float) -> bool:
        lease = await self._leases.read()
        if lease is not None and not self._is_free(lease):
            return False
        now = self._clock()
        taken = await self._leases.write(
            Lease(
                holder=self._identity,
                duration=self._times.duration,
                acquired_at=now,
                renewed_at=now,
                transitions=0 if lease is None else lease.transitions + 1,
                resource_version=None if lease is None else lease.resource_version,
            )
        )
        self._hold(taken, started_at)
        return True

    def _is_free(self, lease: Lease) -> bool:
        """Whether the holder left, or has not renewed for the duration that it promised.

        The times in the Lease are another machine's clock: what counts is how long we
        have seen the same record.
        """
        if lease.holder in {"", self._identity}:
            return True
        now = asyncio.get_running_loop().time()
        if lease != self._seen:
            self._seen = lease
            self._seen_at = now
        return now >= self._seen_at + lease.duration.total_seconds()

    def _hold(self, lease: Lease, started_at: float) -> None:
        # Counted from before the request: the others count from when it arrived.
        self._held = lease
        self._held_until = started_at + self._times.renew_deadline.total_seconds()

    async def _renew_until_lost(self) -> None:
        loop = asyncio.get_running_loop()
        while self.is_held():
            self._liveness.heartbeat(_BEAT)
            await asyncio.sleep(
                min(self._times.retry_period.total_seconds(), self._held_until - loop.time())
            )
            started_at = loop.time()
            try:
                async with asyncio.timeout(max(self._held_until - started_at, 0.0)):
                    if not await self._renew(started_at):
                        return
            except _FAILED as error:
                _log.warning("lease_not_renewed", error=str(error) or "timed out")

    async def _renew(self, started_at: float) -> bool:
        """Renew; False when another process holds the Lease."""
        if self._held is None:
            return False
        renewed = dataclasses.replace(self._held, renewed_at=self._clock())
        try:
            self._hold(await self._leases.write(renewed), started_at)
        except errors.Conflict:
            # Perhaps it was our own write, whose answer was lost.
            lease = await self._leases.read()
            if lease is None or lease.holder != self._identity:
                return False
            self._held = lease
        return True

    async def _release(self) -> None:
        """Empty the holder, so that a standby takes over at its next attempt."""
        if self._held is None:
            return
        released = dataclasses.replace(self._held, holder="", renewed_at=self._clock())
        try:
            async with asyncio.timeout(self._times.retry_period.total_seconds()):
                await self._leases.write(released)
            _count(metrics.LeadershipChange.RELEASED)
            _log.info("leadership_released", identity=self._identity)
        except (errors.Conflict, *_FAILED) as error:
            _log.warning("lease_not_released", error=str(error) or "timed out")


def _count(change: metrics.LeadershipChange) -> None:
    metrics.LEADERSHIP_CHANGES.labels(change=change).inc()


async def _end(task: "asyncio.Future[None]") -> None:
    """Cancel a task and wait until it has ended, whatever it makes of that."""
    task.cancel()
    await asyncio.wait((task,))
