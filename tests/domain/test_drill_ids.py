import uuid

from hypothesis import given
from hypothesis import strategies as st

from queue_processor.domain import drill_ids


@given(st.uuids(version=4))
def test_the_id_of_a_drill_is_a_uuid_that_aws_does_not_make(random: uuid.UUID) -> None:
    event_id = drill_ids.from_random(random)

    parsed = uuid.UUID(event_id)
    assert (str(parsed), parsed.version, parsed.variant) == (event_id, 8, uuid.RFC_4122)
    assert drill_ids.is_drill(event_id)
    assert not drill_ids.is_drill(str(random))


@given(st.uuids(version=4), st.uuids(version=4))
def test_two_drills_have_different_ids(one: uuid.UUID, other: uuid.UUID) -> None:
    random_bits = (1 << 76) - 1
    are_alike = one.int & random_bits == other.int & random_bits
    assert (drill_ids.from_random(one) == drill_ids.from_random(other)) is are_alike
