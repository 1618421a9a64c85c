"""The Lease that decides which process works, and who may take it."""

import dataclasses
import datetime as dt

_PARTS_IN_A_POD = 3


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTimes:
    """The times of a leader election, named as in client-go.

    Attributes:
        duration: How long the others wait for a leader that went silent.
        renew_deadline: When a leader that cannot renew stops working; shorter.
        retry_period: The time from one attempt to the next.
    """

    duration: dt.timedelta = dt.timedelta(seconds=15)
    renew_deadline: dt.timedelta = dt.timedelta(seconds=10)
    retry_period: dt.timedelta = dt.timedelta(seconds=2)

    @property
    def attempt_limit(self) -> dt.timedelta:
        """Return how long one attempt may take: a second one fits into the renew deadline."""
        return self.renew_deadline / 2


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The spec of a coordination.k8s.io/v1 Lease.

    https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/lease-v1/

    Attributes:
        holder: The identity of the leader; empty when the last one left in good order.
        resource_version: None for a Lease that is to be created.
    """

    holder: str
    duration: dt.timedelta
    acquired_at: dt.datetime | None
    renewed_at: dt.datetime | None
    transitions: int
    resource_version: str | None

    def is_free_for(self, identity: str, *, unchanged_for: dt.timedelta) -> bool:
        """Return True if the holder left, or has not renewed for as long as it promised.

        A holder in the same pod is dead: the kubelet restarts a container when it has ended.

        Args:
            identity: The candidate.
            unchanged_for: How long this very record has been seen. The times in the record
                are another machine's clock.
        """
        return (
            self.holder in {"", identity}
            or _is_of_one_pod(self.holder, identity)
            or unchanged_for >= self.duration
        )

    def is_held(self, now: dt.datetime) -> bool:
        """Return True if it seems that somebody leads, to an onlooker that sees the Lease once."""
        # The clocks of two machines differ by less than the duration of the Lease.
        return bool(self.holder) and (
            self.renewed_at is None or now - self.renewed_at < 2 * self.duration
        )

    def renewed(self, now: dt.datetime) -> "Lease":
        """Return the Lease as its holder renews it."""
        return dataclasses.replace(self, renewed_at=now)

    def released(self, now: dt.datetime) -> "Lease":
        """Return the Lease as its holder leaves it: a standby need not wait."""
        return dataclasses.replace(self, holder="", renewed_at=now)


def identity_of(host: str, *, pod_uid: str | None, nonce: str) -> str:
    """Return the identity of a process: no other has the same, and those of one pod show that.

    Args:
        host: The name of the pod, or of the machine.
        pod_uid: The UID of the pod; None outside of a cluster.
        nonce: Different in each process.
    """
    return "_".join(part for part in (host, pod_uid, nonce) if part)


def _is_of_one_pod(identity: str, other: str) -> bool:
    # Neither the names of pods nor UIDs contain an underscore.
    parts, other_parts = identity.split("_"), other.split("_")
    return len(parts) == len(other_parts) == _PARTS_IN_A_POD and parts[:2] == other_parts[:2]


def acquired(
    previous: Lease | None, *, holder: str, duration: dt.timedelta, now: dt.datetime
) -> Lease:
    """Return the Lease that a process writes to take over from the previous holder, if any."""
    return Lease(
        holder=holder,
        duration=duration,
        acquired_at=now,
        renewed_at=now,
        transitions=0 if previous is None else previous.transitions + 1,
        resource_version=None if previous is None else previous.resource_version,
    )
