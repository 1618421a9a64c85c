"""Moves dead letters back to their queue: each is sent first, and then deleted."""

import dataclasses
import datetime as dt
from collections.abc import Callable, Collection, Sequence

from queue_processor.adapters.aws import batches
from queue_processor.domain import errors
from queue_processor.domain.events import EventKind
from queue_processor.domain.explanation import Explanation, Verdict
from queue_processor.domain.messages import ReceivedMessage
from queue_processor.maintenance import mail
from queue_processor.maintenance.pacing import Pace

# Longer than it takes to look through most dead-letter queues; whoever is killed in the middle
# leaves messages that nobody sees for as long.
_HIDDEN = dt.timedelta(minutes=10)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which dead letters go back.

    Attributes:
        kinds: Only events of these kinds; empty: every message.
    """

    kinds: frozenset[EventKind] = frozenset()

    def takes(self, known: Explanation) -> bool:
        """Whether a message goes back: what would only be dead-lettered again does not."""
        if known.verdict is Verdict.MALFORMED:
            return False
        return not self.kinds or known.kind in self.kinds


def choice(filters: Collection[str]) -> Choice:
    """Read filters such as `kind=spot_interruption`; any of them may hold.

    Raises:
        UsageError: One is something else.
    """
    kinds = set()
    for text in filters:
        key, _, value = text.partition("=")
        if key != "kind" or value not in set(EventKind):
            raise errors.UsageError(
                f"{text!r} is no filter: kind= and one of {', '.join(EventKind)}"
            )
        kinds.add(EventKind(value))
    return Choice(kinds=frozenset(kinds))


@dataclasses.dataclass(slots=True)
class Moved:
    """What has become of the messages that were chosen.

    Attributes:
        moved: How many have been moved.
        doubled: The ids of those that the queue has taken and that lie here still.
        refused: What the queue said about those that it did not take, by message id.
    """

    moved: int = 0
    doubled: list[str] = dataclasses.field(default_factory=list)
    refused: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def handled(self) -> int:
        """How many have been dealt with."""
        return self.moved + len(self.refused)


class Redriver:
    """Moves messages batch by batch: sent first, then deleted, so that none is lost.

    A process that is killed in between leaves a batch in both queues. The operator handles such a
    message twice, which changes nothing the second time.
    """

    def __init__(self, route: mail.Route, *, pace: Pace) -> None:
        self._route = route
        self._pace = pace
        self._aside: dict[str, ReceivedMessage] = {}
        self.moved = Moved()

    def run(self, chosen: Collection[str], *, told: Callable[[int], None]) -> None:
        """Move messages until none of them is left to be seen, or somebody asks for the end.

        Args:
            chosen: The ids of the messages to move.
            told: Is told how many have been dealt with, after each batch.

        Raises:
            PermanentError: AWS refuses us.
            TemporaryError: AWS did not answer; the last batch may be in both queues.
        """
        left = set(chosen)
        fruitless = 0
        try:
            while left and fruitless < mail.FRUITLESS and self._pace.wait():
                held = self._receive()
                ours = [each for each in held if each.message_id in left]
                others = {each.message_id: each for each in held if each not in ours}
                fruitless = 0 if ours or others.keys() - self._aside.keys() else fruitless + 1
                self._aside |= others
                self._move(ours)
                left.difference_update(each.message_id for each in ours)
                self._pace.passed(len(ours))
                told(self.moved.handled)
        finally:
            self._route.dead_letters.give_back(each.receipt_handle for each in self._aside.values())

    def _receive(self) -> Sequence[ReceivedMessage]:
        return self._route.dead_letters.receive(
            self._pace.batch_size, hidden=_HIDDEN, wait=mail.PATIENCE
        )

    def _move(self, held: Sequence[ReceivedMessage]) -> None:
        # What is not moved, for whatever reason, is given back at the end.
        self._aside |= {each.message_id: each for each in held}
        for batch in batches.filled(held, size_of=lambda each: each.size):
            self._delete(self._send(batch))

    def _send(self, batch: Sequence[ReceivedMessage]) -> Sequence[ReceivedMessage]:
        """Send messages to the other queue; those that it has taken."""
        results = self._route.target.send(batch)
        self.moved.refused |= {
            each.message_id: str(error)
            for each, error in zip(batch, results, strict=True)
            if error is not None
        }
        return [each for each, error in zip(batch, results, strict=True) if error is None]

    def _delete(self, sent: Sequence[ReceivedMessage]) -> None:
        if not sent:
            return
        results = self._route.dead_letters.delete([each.receipt_handle for each in sent])
        for each, error in zip(sent, results, strict=True):
            self.moved.moved += 1
            if error is None:
                del self._aside[each.message_id]
            else:
                self.moved.doubled.append(each.message_id)
