import dataclasses
import datetime as dt

import pytest

from queue_processor.domain import leases
from queue_processor.domain.leases import Lease

NOON = dt.datetime(2026, 5, 1, 12, tzinfo=dt.UTC)
LATER = NOON + dt.timedelta(minutes=1)
DURATION = dt.timedelta(seconds=15)
HELD = Lease(
    holder="one",
    duration=DURATION,
    acquired_at=NOON,
    renewed_at=NOON,
    transitions=3,
    resource_version="7",
)


@pytest.mark.parametrize(
    ("holder", "seconds", "is_free"),
    [("one", 14.999, False), ("one", 15, True), ("", 0, True), ("two", 0, True)],
)
def test_a_lease_is_free_for_its_holder_and_for_others_when_it_was_left_or_has_expired(
    holder: str, seconds: float, *, is_free: bool
) -> None:
    lease = dataclasses.replace(HELD, holder=holder)

    assert lease.is_free_for("two", unchanged_for=dt.timedelta(seconds=seconds)) == is_free


def test_a_lease_that_is_taken_over_counts_the_transition_and_replaces_the_version_seen() -> None:
    taken = leases.acquired(HELD, holder="two", duration=DURATION, now=LATER)

    assert (taken.holder, taken.acquired_at, taken.renewed_at) == ("two", LATER, LATER)
    assert (taken.transitions, taken.resource_version) == (4, "7")


def test_the_first_lease_is_created() -> None:
    made = leases.acquired(None, holder="one", duration=DURATION, now=NOON)

    assert (made.transitions, made.resource_version) == (0, None)


def test_a_renewal_keeps_and_a_release_empties_the_holder() -> None:
    assert HELD.renewed(LATER) == dataclasses.replace(HELD, renewed_at=LATER)
    assert HELD.released(LATER) == dataclasses.replace(HELD, holder="", renewed_at=LATER)
