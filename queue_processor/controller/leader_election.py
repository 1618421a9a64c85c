"""Leader election on a Lease: one process works, the others stand by.

Two processes at work would undo each other: one hides a message that the other deletes, one
uncordons what the other cordons. So exactly one may work, and a second takes over quickly.

The model is client-go's `tools/leaderelection`: the holder renews the Lease every retry period;
a standby takes it when the holder has left, or has not renewed for the duration that it promised.
The differences:

- Time is the event loop's monotonic clock. The times in the Lease are for people. A standby counts
  from when it first saw a record, and a leader from before it sent its last renewal, so that a
  leader always stops (renew deadline) before another starts (duration), whatever the wall clocks.
- A renewal that fails is a failed renewal, whatever the cause, and never a crash. The work goes on
  until the renew deadline, which the limiter of requests checks before each write.
- Losing the Lease cancels the work and waits for its end before anything else. A clean stop does
  the same, and only then empties the holder, so that a standby need not wait for the duration.
- An attempt may take half of the renew deadline. client-go lets one request use up all of it, so
  that a single response that is lost costs the leadership.
- A conflict is not yet a loss: it may be our own write, whose answer did not arrive, or was not
  waited for. So a stop also releases a Lease that it was about to acquire.

Rejected: the official client's election, which measures by the wall clock, never releases the Lease
and does not wait for the work to end (docs/decisions/0002-a-leader-election-of-our-own.md).
"""

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable

import structlog

from queue_processor.controller import ports, waiting
from queue_processor.domain import errors, leases
from queue_processor.domain.leases import Lease, LeaseTimes
from queue_processor.observability import health, metrics

_log = structlog.get_logger(__name__)

_BEAT = "leadership"
_FAILED = (TimeoutError, errors.TemporaryError, errors.PermanentError)


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
            leases: The Lease on the API server.
            identity: Who we are; no other process may have the same.
            times: How long each step may take.
            liveness: Gets a heartbeat whenever the loop makes progress.
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
        """Return True if this process may write, at this very moment."""
        return self._held is not None and asyncio.get_running_loop().time() < self._held_until

    async def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Work whenever we lead, until cancelled.

        Args:
            work: Runs until cancelled; then it releases what it has before it ends.
        """
        metrics.IS_LEADER.set(0)
        while True:
            try:
                await self._acquire()
            except asyncio.CancelledError:
                await waiting.to_the_end(self._release())
                raise
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
                # One who lost the Lease and is ending its work may be told to stop as well.
                await waiting.to_the_end(self._end(working, renewing, is_lost=is_lost))
            if working.done() and not working.cancelled():
                # Work never ends by itself: this raises what ended it.
                working.result()
                raise RuntimeError("the work ended without a cause")

    async def _end(
        self,
        working: "asyncio.Future[None]",
        renewing: "asyncio.Task[None]",
        *,
        is_lost: bool,
    ) -> None:
        """End the work, then the renewals, then give up the Lease."""
        for task in (working, renewing):
            task.cancel()
            await asyncio.wait((task,))
        if not is_lost:
            await self._release()
        self._held = None

    async def _acquire(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._beat()
            started_at = loop.time()
            try:
                async with asyncio.timeout(self._times.attempt_limit.total_seconds()):
                    if await self._try_to_acquire(started_at):
                        return
            except errors.Conflict:
                _log.debug("lease_taken_by_another")
            except _FAILED as error:
                _log.warning("lease_acquire_failed", error=str(error) or "timed out")
            await _sleep_until(self._next_acquire_at(started_at))

    def _beat(self) -> None:
        """Report progress; the next is due after an attempt and a pause, which may be long ones."""
        longest = self._times.attempt_limit + self._times.retry_period
        self._liveness.heartbeat(
            _BEAT, limit_seconds=longest.total_seconds() + health.DEFAULT_LIMIT_SECONDS
        )

    def _next_attempt_at(self, started_at: float) -> float:
        # Counted from the start: an attempt that timed out is followed by the next one at once.
        return started_at + self._times.retry_period.total_seconds()

    def _next_acquire_at(self, started_at: float) -> float:
        # When the Lease gets free, if that is sooner: its duration is no multiple of the period.
        next_at = self._next_attempt_at(started_at)
        if self._seen is None:
            return next_at
        free_at = self._seen_at + self._seen.duration.total_seconds()
        return min(next_at, free_at) if started_at < free_at else next_at

    async def _try_to_acquire(self, started_at: float) -> bool:
        self._held = None
        lease = await self._leases.read()
        if lease is not None and not self._is_free(lease):
            return False
        # From now on it may be ours, whether we hear of it or not.
        self._held = leases.acquired(
            lease, holder=self._identity, duration=self._times.duration, now=self._clock()
        )
        self._hold(await self._leases.write(self._held), started_at)
        return True

    def _is_free(self, lease: Lease) -> bool:
        now = asyncio.get_running_loop().time()
        if lease != self._seen:
            self._seen = lease
            self._seen_at = now
        unchanged_for = dt.timedelta(seconds=now - self._seen_at)
        return lease.is_free_for(self._identity, unchanged_for=unchanged_for)

    def _hold(self, lease: Lease, started_at: float) -> None:
        # Counted from before the request: the others count from when it arrived.
        self._held = lease
        self._held_until = started_at + self._times.renew_deadline.total_seconds()

    async def _renew_until_lost(self) -> None:
        loop = asyncio.get_running_loop()
        started_at = loop.time()
        while self.is_held():
            self._beat()
            await _sleep_until(min(self._next_attempt_at(started_at), self._held_until))
            started_at = loop.time()
            left = self._held_until - started_at
            try:
                async with asyncio.timeout(
                    max(min(self._times.attempt_limit.total_seconds(), left), 0.0)
                ):
                    if not await self._renew(started_at):
                        return
            except _FAILED as error:
                _log.warning("lease_not_renewed", error=str(error) or "timed out")

    async def _renew(self, started_at: float) -> bool:
        """Renew, or return False when another process holds the Lease."""
        now = self._clock()
        lease = await self._write_changed(lambda held: held.renewed(now))
        if lease is not None:
            self._hold(lease, started_at)
        return lease is not None

    async def _release(self) -> None:
        """Empty the holder, so that a standby takes over at its next attempt."""
        if self._held is None:
            return
        now = self._clock()
        try:
            async with asyncio.timeout(self._times.retry_period.total_seconds()):
                lease = await self._write_changed(lambda held: held.released(now))
        except _FAILED as error:
            _log.warning("lease_not_released", error=str(error) or "timed out")
            return
        if lease is not None:
            _count(metrics.LeadershipChange.RELEASED)
            _log.info("leadership_released", identity=self._identity)

    async def _write_changed(self, changed: Callable[[Lease], Lease]) -> Lease | None:
        """Write the Lease that we hold, changed; return None when another process holds it."""
        while self._held is not None and self._held.holder == self._identity:
            try:
                return await self._leases.write(changed(self._held))
            except errors.Conflict:
                self._held = await self._leases.read()
        return None


def _count(change: metrics.LeadershipChange) -> None:
    metrics.LEADERSHIP_CHANGES.labels(change=change).inc()


async def _sleep_until(at: float) -> None:
    await asyncio.sleep(max(at - asyncio.get_running_loop().time(), 0.0))
