"""A Lease object and what it says about who leads."""

import dataclasses
import datetime as dt


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
