"""Takes the nodes of a drill back into use, a while after its events were sent."""

import asyncio
import datetime as dt
from collections.abc import Collection

import humanize
import typer

from queue_processor.domain import errors
from queue_processor.domain.identifiers import NodeName
from queue_processor.domain.nodes import NodeView
from queue_processor.messages import connection, marked, output, uncordon
from queue_processor.messages.rate_limiter import StopSignal

# How often the nodes are read that are still being drained when the time has come.
_READ_SECONDS = 5.0
# So many reads in a row may fail.
_ATTEMPTS = 12


class DrillUndo:
    """Uncordons the nodes of a drill, each once its drain is over.

    Attributes:
        left: The nodes that are still being drained.
        kept: The nodes that stay as they are: another event holds them, or none does.
    """

    def __init__(self, names: Collection[NodeName], *, event_ids: Collection[str]) -> None:
        """Undo nothing yet.

        Args:
            names: The nodes that the events are about.
            event_ids: Of the events. An event bus may have given them ids that no drill makes.
        """
        self._event_ids = frozenset(event_ids)
        self.left = set(names)
        self.kept: set[NodeName] = set()

    def run(self, delay: dt.timedelta, *, stop: StopSignal) -> None:
        """Wait, and uncordon.

        Raises:
            Exit: Some nodes stay as they are, or a stop was requested.
            ConfigurationError: The cluster cannot be read.
        """
        output.note(
            f"{len(self.left)} nodes will be uncordoned in {humanize.precisedelta(delay)};"
            " Ctrl-C leaves them as they are"
        )
        is_stopped, attempts = stop.wait(delay.total_seconds()), _ATTEMPTS
        while self.left and not is_stopped:
            try:
                asyncio.run(self._uncordon_drained())
                attempts = _ATTEMPTS
            except errors.ConfigurationError as error:
                attempts -= 1
                if not attempts:
                    raise
                output.note(f"{error}; trying again")
            is_stopped = bool(self.left) and stop.wait(_READ_SECONDS)
        if is_stopped:
            output.note("not undone; later: queue-processor nodes uncordon --all-drills")
            raise typer.Exit(output.INTERRUPTED)
        if self.kept:
            raise typer.Exit(output.FAILED)

    async def _uncordon_drained(self) -> None:
        async with connection.open_cluster() as opened:
            views = {view.name: view for view in await marked.marked_views(opened)}
            for name in sorted(self.left):
                view = views.get(name)
                reason = self._why_kept(view)
                if view is None or reason is not None:
                    output.note(f"{name} stays as it is: {reason}")
                    self.kept.add(name)
                elif await uncordon.uncordon(opened.api, view):
                    output.note(f"{name}: back in use")
                else:
                    continue
                self.left.remove(name)

    def _why_kept(self, view: NodeView | None) -> str | None:
        """Return why a node is not uncordoned; None if it is."""
        if view is None:
            return "the operator does not hold it"
        others = [
            f"{hold.kind} (event {hold.event_id})"
            for hold in view.holds
            if not hold.is_of_drill and hold.event_id not in self._event_ids
        ]
        if others:
            return f"it is also held by {', '.join(others)}"
        return None if view.holds else "it is marked, and no event is written on it"
