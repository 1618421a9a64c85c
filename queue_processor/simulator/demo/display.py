"""How a rehearsal looks: a table that lives, or plain lines, and a summary at the end."""

import contextlib
import datetime as dt
from collections.abc import Callable, Iterator, Sequence

import rich.console
import rich.live
import rich.table
import rich.text

from queue_processor.simulator.demo import checks, evidence, score, summary

# The lines of the table that are not nodes: title, header and its rule, what is not shown.
_OTHER_LINES = 6


class Steps:
    """Shows nothing but the steps: for an output that is for programs."""

    def __init__(self, console: rich.console.Console) -> None:
        self._console = console

    def step(self, text: str) -> None:
        """Print the step."""
        self._console.print(text, highlight=False)

    def progress(self, told: Sequence[evidence.NodeStory]) -> None:
        """Nothing."""

    def outcome(
        self,
        known: evidence.Evidence,
        figures: score.Score,
        judged: Sequence[checks.Check],
    ) -> None:
        """Nothing."""


class Lines(Steps):
    """A line for everything that happens to a node, and the summary."""

    def __init__(self, console: rich.console.Console) -> None:
        super().__init__(console)
        self._shown: dict[str, set[str]] = {}

    def progress(self, told: Sequence[evidence.NodeStory]) -> None:
        """Print what is new."""
        for story in told:
            shown = self._shown.setdefault(story.node, set())
            for name, text in _happenings(story):
                if name not in shown:
                    shown.add(name)
                    self._console.print(f"{story.node}: {text}", highlight=False, soft_wrap=True)

    def outcome(
        self,
        known: evidence.Evidence,
        figures: score.Score,
        judged: Sequence[checks.Check],
    ) -> None:
        """Print the summary."""
        for part in summary.parts(known, figures, judged):
            self._console.print(part, soft_wrap=isinstance(part, rich.text.Text))


class Board(Lines):
    """A table that changes several times a second, and the summary."""

    def __init__(self, console: rich.console.Console, clock: Callable[[], dt.datetime]) -> None:
        super().__init__(console)
        self._clock = clock
        self._live = rich.live.Live(
            console=console, auto_refresh=False, transient=False, vertical_overflow="crop"
        )

    @contextlib.contextmanager
    def on_screen(self) -> Iterator[None]:
        """Give the terminal back at the end, whatever happens."""
        try:
            yield
        finally:
            self._live.stop()

    def progress(self, told: Sequence[evidence.NodeStory]) -> None:
        """Show every node as it is now."""
        self._live.start()
        rows = max(self._console.height - _OTHER_LINES, 1)
        self._live.update(table(told, now=self._clock(), rows=rows), refresh=True)

    def outcome(
        self,
        known: evidence.Evidence,
        figures: score.Score,
        judged: Sequence[checks.Check],
    ) -> None:
        """Leave the last table where it is, and print the summary below it."""
        told = evidence.stories(known)
        self._live.update(table(told, now=self._clock(), rows=len(told)), refresh=True)
        self._live.stop()
        super().outcome(known, figures, judged)


def table(told: Sequence[evidence.NodeStory], *, now: dt.datetime, rows: int) -> rich.table.Table:
    """The nodes; where there are more than fit, those in work come first."""
    done = sum(story.drained_at is not None for story in told)
    made = rich.table.Table(
        title=f"{done} of {len(told)} nodes drained", title_justify="left", box=None, pad_edge=False
    )
    made.add_column("node", no_wrap=True)
    made.add_column("kind", no_wrap=True)
    for heading in ("deadline", "pods left"):
        made.add_column(heading, justify="right", no_wrap=True)
    made.add_column("outcome", no_wrap=True)
    chosen = list(told)
    if len(chosen) > rows:
        chosen.sort(key=lambda story: story.drained_at is not None)
    for story in chosen[:rows]:
        made.add_row(*_cells(story, now))
    if len(chosen) > rows:
        made.add_row(f"and {len(chosen) - rows} more", style="dim")
    return made


def _cells(story: evidence.NodeStory, now: dt.datetime) -> tuple[rich.text.Text, ...]:
    outcome, style = _outcome(story)
    return tuple(
        rich.text.Text(text, style=style)
        for text in (
            story.node,
            _kinds(story),
            _countdown(story, now),
            f"{story.pods_left} of {len(story.pods)}" if story.pods else "none",
            outcome,
        )
    )


def _outcome(story: evidence.NodeStory) -> tuple[str, str]:
    drained = score.seconds_between(story.counts_from, story.drained_at)
    cordoned = score.seconds_between(story.counts_from, story.cordoned_at)
    if drained is not None:
        return f"drained in {drained:.1f} s", "green"
    if cordoned is not None:
        return f"draining, cordoned in {cordoned:.2f} s", "yellow"
    if story.told_at is None:
        return "", "dim"
    return ("interrupted", "red") if story.counts_from else ("not there yet", "dim")


def _countdown(story: evidence.NodeStory, now: dt.datetime) -> str:
    if story.told_at is None:
        return ""
    until = story.drained_at or now
    left = score.seconds_between(until, story.deadline)
    if left is None:
        return "none"
    text = _duration(abs(left))
    return f"-{text}" if left < 0 else text


def _duration(seconds: float) -> str:
    whole = int(seconds)
    if whole >= 86_400:  # noqa: PLR2004 - seconds in a day
        return f"{whole // 86_400} d"
    if whole >= 3600:  # noqa: PLR2004 - seconds in an hour
        return f"{whole // 3600} h"
    return f"{whole // 60}:{whole % 60:02}"


def _kinds(story: evidence.NodeStory) -> str:
    return " + ".join(kind.value for kind in story.kinds)


def _happenings(story: evidence.NodeStory) -> Iterator[tuple[str, str]]:
    """What has happened to a node so far: a name for each thing, and its line."""
    if story.told_at is not None:
        yield "+".join(kind.name for kind in story.kinds), _kinds(story)
    cordoned = score.seconds_between(story.counts_from, story.cordoned_at)
    if cordoned is not None:
        yield "cordoned", f"cordoned after {cordoned:.2f} s, {story.pods_left} pods to move"
    drained = score.seconds_between(story.counts_from, story.drained_at)
    if drained is not None:
        left = score.seconds_between(story.drained_at, story.deadline)
        margin = "no deadline" if left is None else f"{_duration(left)} before the deadline"
        yield "drained", f"drained after {drained:.1f} s, {margin}"
