"""Copies the messages of a queue to the disk, and leaves them to the operator."""

import dataclasses
from collections.abc import Callable, Sequence

from queue_processor.adapters.aws.queue import QueueClient
from queue_processor.adapters.files.recordings import Recording
from queue_processor.domain import errors
from queue_processor.domain.messages import QueueMessage
from queue_processor.maintenance import mail
from queue_processor.maintenance.stopping import Stop

_LONGEST_PAUSE_SECONDS = 16.0


@dataclasses.dataclass(slots=True)
class Copied:
    """What has been copied.

    Attributes:
        recorded: How many messages are new in the recording.
        known: How many were in it before.
    """

    recorded: int = 0
    known: int = 0


class Recorder:
    """Copies what a queue holds, or everything that comes until it is stopped."""

    def __init__(
        self,
        queue_client: QueueClient,
        recording: Recording,
        *,
        stop: Stop,
        told: Callable[[Copied], None],
    ) -> None:
        self._mailbox = queue_client
        self._recording = recording
        self._stop = stop
        self._told = told
        self.copied = Copied()

    def run(self) -> None:
        """Copy what is visible."""
        for found in mail.glances(self._mailbox):
            fresh = self._copy(found)
            self.copied.known += len(found) - len(fresh)
            if self._stop.is_asked:
                break

    def follow(self) -> None:
        """Copy what is visible, and what comes, until stopped.

        Raises:
            PermanentError: A message stays in the queue, and looking at it on and on would
                move it to the dead-letter queue.
        """
        redrive = self._mailbox.state().redrive
        self.run()
        pause = 0.0
        while not self._stop.wait(pause):
            found = mail.glance(self._mailbox, mail.GLANCE)
            fresh = self._copy(found)
            if redrive is not None:
                _spare(found, redrive.max_receive_count)
            # What nobody takes is looked at less and less often; an empty queue has waited.
            is_idle = bool(found) and not fresh
            pause = min(max(2 * pause, 1.0), _LONGEST_PAUSE_SECONDS) if is_idle else 0.0

    def _copy(self, found: Sequence[QueueMessage]) -> Sequence[QueueMessage]:
        fresh = [each for each in found if not self._recording.knows(each.message_id)]
        if fresh:
            self._recording.add(fresh)
            self.copied.recorded += len(fresh)
            self._told(self.copied)
        return fresh


def _spare(found: Sequence[QueueMessage], max_receive_count: int) -> None:
    """Leave half of the receives that a message has to the operator."""
    worn = next((each for each in found if 2 * each.receive_count > max_receive_count), None)
    if worn is not None:
        raise errors.PermanentError(
            f"message {worn.message_id} stays in the queue and has been received"
            f" {worn.receive_count} times; after {max_receive_count} it goes to the dead-letter"
            " queue, so nobody looks any more. Does the operator run?"
        )
