import contextlib
import dataclasses
import io
import re
from collections.abc import Sequence

import pytest
import rich.console

from queue_processor.simulator.demo import checks, display
from queue_processor.simulator.demo.results import Observations
from queue_processor.simulator.demo.timelines import NodeTimeline
from tests.demo import samples

SIZES = [(80, 24), (160, 50), (40, 24)]


def terminal(
    out: io.StringIO, *, width: int = 100, height: int = 40, **variables: str
) -> rich.console.Console:
    """A terminal that can do everything, whichever the tests run on."""
    variables = {"TERM": "xterm", **variables}
    return rich.console.Console(
        file=out, force_terminal=True, width=width, height=height, _environ=variables
    )


def shown(*parts: rich.console.RenderableType, width: int = 120) -> str:
    console = rich.console.Console(file=io.StringIO(), width=width)
    for part in parts:
        console.print(part)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def table_at(
    timelines: Sequence[NodeTimeline], *, seconds: float = 0, rows: int = 10, width: int = 120
) -> str:
    now = samples.at(seconds)
    return shown(display.node_table(timelines, now=now, rows=rows, width=width), width=width)


def lines_in(text: str) -> list[str]:
    """The lines of a table, whatever the widths of its columns."""
    return [" ".join(line.split()) for line in text.splitlines()]


def lines_of(observed: Observations) -> tuple[display.LineReporter, io.StringIO]:
    out = io.StringIO()
    lines = display.LineReporter(rich.console.Console(file=out, width=120), details=False)
    lines.progress(observed.timelines)
    return lines, out


def test_where_there_is_no_terminal_everything_is_printed_once() -> None:
    right = samples.success()
    lines, out = lines_of(right)
    lines.progress(right.timelines)
    assert out.getvalue().splitlines() == [
        "a: spot_interruption",
        "a: cordoned after 0.10 s, 0 pods to move",
        "a: drained after 7.0 s, 0:28 before the deadline",
        "b: autoscaling_termination",
        "b: cordoned after 0.30 s, 0 pods to move",
        "b: drained after 2.0 s, 59:58 before the deadline",
    ]


def test_the_table_shows_how_far_each_node_is() -> None:
    right = samples.success()
    pods = [
        dataclasses.replace(pod, removed=None) if pod.name == "licence-1" else pod
        for pod in right.pods
    ]
    text = table_at(dataclasses.replace(right, pods=pods).timelines, seconds=3)
    assert lines_in(text) == [
        "1 of 2 nodes drained",
        "node kind deadline pods left cordoned state",
        "a spot_interruption 0:32 1 of 2 in 0.10 s draining",
        "b autoscaling_termination 59:58 0 of 1 in 0.30 s drained 2.0 s",
    ]


@pytest.mark.parametrize(
    ("width", "headings"),
    [
        (160, "node kind deadline pods left cordoned state"),
        (80, "node kind deadline pods left state"),
        (79, "node deadline pods left state"),
        (40, "node pods left state"),
    ],
)
def test_a_wider_terminal_shows_more_columns(width: int, headings: str) -> None:
    assert lines_in(table_at(samples.storm().timelines, width=width))[1] == headings


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("seconds", [0, 0.5, 4, 7, 60])
def test_the_table_fits_every_terminal_and_cuts_no_name(
    width: int, height: int, seconds: float
) -> None:
    observed = samples.storm(seconds=seconds)
    reporter = display.TableReporter(
        terminal(io.StringIO(), width=width, height=height),
        lambda: samples.at(seconds),
        details=False,
    )
    with contextlib.closing(reporter):
        lines = shown(reporter.table(observed.timelines), width=width).splitlines()
    assert len(lines) < height
    assert max(map(len, lines)) <= width
    names = [line.split()[0] for line in lines if line.startswith("node-")]
    assert set(names) <= set(observed.scenario.interrupted)
    hidden = re.findall(r"^and (\d+) more", lines[-1])
    assert len(names) + sum(map(int, hidden)) == len(observed.scenario.interrupted)
    assert not [line for line in lines if "…" in line]


def test_where_not_all_nodes_fit_those_that_are_drained_now_come_first() -> None:
    early = samples.storm(seconds=4).timelines
    text = table_at(early, seconds=4, rows=5)
    assert lines_in(text)[0] == "0 of 21 nodes drained"
    assert [line.split()[-1] for line in lines_in(text)[2:7]] == ["draining"] * 5
    assert lines_in(text)[7:] == ["and 16 more: 15 draining, 1 not joined yet"]


def test_of_the_drained_nodes_the_last_ones_stay() -> None:
    right = samples.success()
    text = table_at(right.timelines, seconds=40, rows=1)
    assert lines_in(text)[2].startswith("a spot_interruption")
    assert lines_in(text)[3:] == ["and 1 more: 1 drained"]


def test_a_node_of_two_events_has_both_kinds_where_there_is_room() -> None:
    (line, *_) = samples.success().timelines
    line = dataclasses.replace(line, labels=("rebalance_recommendation", "spot_interruption"))
    assert "rebalance_recommendation + spot_interruption" in table_at([line], width=120)
    assert "rebalance_recommendation +1 " in table_at([line], width=80)


def test_a_deadline_that_has_passed_is_shown_as_such() -> None:
    timelines = dataclasses.replace(samples.success(), cordons={}).timelines
    assert "-0:10" in table_at(timelines, seconds=45)


def test_before_anything_is_sent_the_table_has_all_nodes() -> None:
    text = table_at(Observations(scenario=samples.PLAN).timelines)
    assert lines_in(text)[2:] == ["a none running", "b none running"]


@pytest.mark.parametrize("details", [False, True])
def test_on_a_terminal_the_summary_replaces_the_table_or_stands_below_it(*, details: bool) -> None:
    right = samples.success()
    out = io.StringIO()
    console = terminal(out)
    reporter = display.TableReporter(console, lambda: samples.at(8), details=details)
    with contextlib.closing(reporter):
        reporter.progress(Observations(scenario=samples.PLAN).timelines)
        reporter.progress(right.timelines)
        reporter.outcome(checks.assess(right))
    text = out.getvalue()
    assert text.index("0 of 2 nodes drained") < text.index("2 of 2 nodes drained")
    table_end, summary_start = (
        text.rindex("2 of 2 nodes drained"),
        text.index("21 of 21 checks passed"),
    )
    assert table_end < summary_start
    erases_lines = "\x1b[1A\x1b[2K" in text[table_end:summary_start]
    assert erases_lines is not details
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1


def test_the_terminal_is_given_back_when_a_scenario_breaks_off() -> None:
    out = io.StringIO()
    console = terminal(out)
    reporter = display.TableReporter(console, lambda: samples.at(8), details=False)
    with contextlib.suppress(KeyboardInterrupt), contextlib.closing(reporter):
        reporter.progress(samples.success().timelines)
        raise KeyboardInterrupt
    assert out.getvalue().count("\x1b[?25h") == 1


def played_on(console: rich.console.Console) -> str:
    """Everything that a run of the storm prints there."""
    with contextlib.closing(display.reporter_for(console, details=False)) as reporter:
        reporter.step("Playing storm …")
        for seconds in (0, 4, 60):
            reporter.progress(samples.storm(seconds=seconds).timelines)
        reporter.outcome(checks.assess(samples.storm()))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_without_colours_everything_is_in_words() -> None:
    text = played_on(terminal(io.StringIO(), width=80, height=24, NO_COLOR="1"))
    assert re.search(r"node-019 .* drained", text)
    assert not re.search(r"\x1b\[(?:\d+;)*3\d", text)


def test_a_dumb_terminal_gets_plain_lines() -> None:
    text = played_on(terminal(io.StringIO(), TERM="dumb"))
    assert "\x1b" not in text
    assert "node-019: drained after 10.0 s, 1:50 before the deadline" in text.splitlines()
    assert "21 of 21 checks passed" in text


def test_without_a_terminal_no_line_is_folded() -> None:
    text = played_on(rich.console.Console(file=io.StringIO(), width=1000))
    assert "\x1b" not in text
    assert "node-019: drained after 10.0 s, 1:50 before the deadline" in text.splitlines()
    (others,) = (line for line in text.splitlines() if line.startswith("  pods "))
    assert others.rstrip().endswith("others stay, replaced")
