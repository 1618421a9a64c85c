"""The order in which requests to the API server get their slots."""

import enum
from typing import NamedTuple


class Priority(enum.IntEnum):
    """The purposes of requests, the most urgent first; a list may be of one object."""

    CORDON = 0
    FORCE_DELETE = 1
    ENDING = 2
    LIST = 3
    EVICTION = 4
    PROGRESS = 5


class Rank(NamedTuple):
    """The place of a request among all that wait; the lowest is first.

    Attributes:
        priority: The purpose.
        urgency: The deadline, rounded.
        is_repeated: Whether it has been refused before.
        turn: How many turns its drain had before.
        order: In which they came.
    """

    priority: Priority
    urgency: int
    is_repeated: bool
    turn: int
    order: int
