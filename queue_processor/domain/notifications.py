"""What the world outside of the cluster is told about a drain."""

import dataclasses
import datetime as dt
import enum

from queue_processor.domain.plan import InstanceReport, Plan


class DrainPhase(enum.StrEnum):
    """When something is told; the value is the one in settings and metrics."""

    DRAIN_START = "drain_start"
    DRAIN_END = "drain_end"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DrainNotification:
    """That a drain begins, or how it ended.

    Attributes:
        at: The moment that it is about.
        plan: The one that rules at that moment.
        report: How it ended; None at the beginning.
        took: How long it took, None at the beginning.
    """

    at: dt.datetime
    plan: Plan
    report: InstanceReport | None = None
    took: dt.timedelta | None = None

    @property
    def moment(self) -> DrainPhase:
        """Whether it is about the beginning or the end."""
        return DrainPhase.DRAIN_START if self.report is None else DrainPhase.DRAIN_END
