"""How far something has come: a bar on a terminal, lines elsewhere; always on stderr."""

import contextlib
import time
from collections.abc import Callable, Iterator

import rich.console
import rich.progress

from queue_processor.messages import printing

_LINE_SECONDS = 1.0


@contextlib.contextmanager
def shown(total: int, *, done: str) -> Iterator[Callable[[int], None]]:
    """Show progress for as long as this lasts; the function is told how many are done.

    Args:
        total: How many there are.
        done: What has happened to them: `sent`, `moved`.
    """
    console = rich.console.Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield _Lines(total, done).tell
        return
    with rich.progress.Progress(
        rich.progress.TextColumn(done),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TimeRemainingColumn(),
        console=console,
    ) as bars:
        bar = bars.add_task(done, total=total)
        yield lambda count: bars.update(bar, completed=count)


class _Lines:
    """A line a second, and one at the end."""

    def __init__(self, total: int, done: str) -> None:
        self._total = total
        self._done = done
        self._began_at = self._told_at = time.monotonic()

    def tell(self, count: int) -> None:
        now = time.monotonic()
        if count < self._total and now - self._told_at < _LINE_SECONDS:
            return
        self._told_at = now
        line = f"{count} of {self._total} {self._done}"
        if 0 < count < self._total:
            left = (now - self._began_at) / count * (self._total - count)
            line += f", {printing.span(left)} left"
        printing.note(line)
