"""The ids of events that a drill sends.

They are UUIDs, as AWS gives its events, but of version 8, which is left to those who make them; the
ids of AWS are of version 4. So an event of a drill has the shape of every other, the operator
handles it like every other, and its id shows in logs and on nodes where it came from.

https://datatracker.ietf.org/doc/html/rfc9562#section-5.8
"""

import uuid

# Below what all ids have: the variant and 74 random bits of a UUID of version 4.
_REST_BITS = 76
# "drill" in ASCII, a zero, and the version.
_HEAD = (int.from_bytes(b"drill\0") << 4 | 8) << _REST_BITS
_PREFIX = str(uuid.UUID(int=_HEAD))[:15]


def from_random(random: uuid.UUID) -> str:
    """Return the id of a drill's event, made from a random UUID."""
    return str(uuid.UUID(int=_HEAD | random.int & ((1 << _REST_BITS) - 1)))


def is_drill(event_id: str) -> bool:
    """Return True if a drill sent the event with this id."""
    return event_id.startswith(_PREFIX)
