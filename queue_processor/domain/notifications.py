"""Notifications about drains for receivers outside of the cluster."""

import dataclasses
import datetime as dt
import enum

from queue_processor.domain.plan import InstanceReport, Plan


class DrainPhase(enum.StrEnum):
    """The phases of a drain that receivers can be notified of; the values are those in settings."""

    DRAIN_START = "drain_start"
    DRAIN_END = "drain_end"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DrainNotification:
    """The start or the end of a drain.

    Attributes:
        at: When the drain started or ended.
        plan: The plan with the earliest deadline at that time.
        report: The result; None at the start.
        took: The duration of the drain; None at the start.
    """

    at: dt.datetime
    plan: Plan
    report: InstanceReport | None = None
    took: dt.timedelta | None = None

    @property
    def phase(self) -> DrainPhase:
        """Return `DRAIN_END` if there is a report."""
        return DrainPhase.DRAIN_START if self.report is None else DrainPhase.DRAIN_END
