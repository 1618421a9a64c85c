"""What the world outside of the cluster is told about a drain."""

import dataclasses
import datetime as dt
import enum

from queue_processor.domain.plan import Plan, Report


class Moment(enum.StrEnum):
    """When something is told; the value is the one in settings and metrics."""

    DRAIN_START = "drain_start"
    DRAIN_END = "drain_end"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DrainNotice:
    """That a drain begins, or how it ended.

    Attributes:
        at: The moment that it is about.
        plan: The one that rules at that moment.
        report: How it ended; None at the beginning.
        took: How long it took, None at the beginning.
    """

    at: dt.datetime
    plan: Plan
    report: Report | None = None
    took: dt.timedelta | None = None

    @property
    def moment(self) -> Moment:
        """Whether it is about the beginning or the end."""
        return Moment.DRAIN_START if self.report is None else Moment.DRAIN_END
