import contextlib
import dataclasses
import datetime as dt
import io

import rich.console

from queue_processor.simulator.demo import checks, display
from queue_processor.simulator.demo.results import Observations
from tests.demo import samples


def terminal(out: io.StringIO) -> rich.console.Console:
    """A terminal that can do everything, whichever the tests run on."""
    capable = {"TERM": "xterm"}
    return rich.console.Console(
        file=out, force_terminal=True, width=100, height=40, _environ=capable
    )


def shown(*parts: rich.console.RenderableType) -> str:
    console = rich.console.Console(file=io.StringIO(), width=120)
    for part in parts:
        console.print(part)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def lines_in(text: str) -> list[str]:
    """The lines of a table, whatever the widths of its columns."""
    return [" ".join(line.split()) for line in text.splitlines()]


def lines_of(observed: Observations) -> tuple[display.LineReporter, io.StringIO]:
    out = io.StringIO()
    lines = display.LineReporter(rich.console.Console(file=out, width=120))
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
    timelines = dataclasses.replace(right, pods=pods).timelines
    text = shown(display.node_table(timelines, now=samples.at(3), rows=10))
    assert "1 of 2 nodes drained" in text
    assert lines_in(text)[2:] == [
        "a spot_interruption 0:32 1 of 2 draining, cordoned in 0.10 s",
        "b autoscaling_termination 59:58 0 of 1 drained in 2.0 s",
    ]


def test_where_not_all_nodes_fit_those_in_work_are_shown() -> None:
    right = samples.success()
    pods = [
        dataclasses.replace(pod, removed=None) if pod.name == "web-2" else pod for pod in right.pods
    ]
    timelines = dataclasses.replace(right, pods=pods).timelines
    text = shown(display.node_table(timelines, now=samples.at(40), rows=1))
    assert text.splitlines()[2].startswith("b")
    assert "and 1 more" in text


def test_a_deadline_that_has_passed_is_shown_as_such() -> None:
    right = samples.success()
    timelines = dataclasses.replace(right, cordons={}).timelines
    now = samples.at(0) + dt.timedelta(seconds=45)
    assert "-0:10" in shown(display.node_table(timelines, now=now, rows=10))


def test_before_anything_is_sent_the_table_has_all_nodes_and_no_outcome() -> None:
    observed = Observations(scenario=samples.PLAN)
    text = shown(display.node_table(observed.timelines, now=samples.at(0), rows=10))
    assert lines_in(text)[2:] == ["a none", "b none"]


def test_the_summary_has_the_figures_and_the_low_point_of_every_workload() -> None:
    right = samples.success()
    text = shown(*display.summary(checks.assess(right)))
    rows = lines_in(text)
    assert "web 3 2 2 maxUnavailable 1" in rows
    assert "event to cordon p50 0.10 s, p99 0.30 s, max 0.30 s" in rows
    assert "pods 2 evicted (1 times refused), 1 deleted at the deadline" in rows
    assert "21 of 21 checks passed" in text
    assert "FAILED" not in text


def test_the_summary_names_every_check_that_failed() -> None:
    wrong = dataclasses.replace(samples.success(), left=2)
    text = shown(*display.summary(checks.assess(wrong)))
    assert "20 of 21 checks passed" in text
    assert "FAILED  no message is left there: expected 0, found 2" in text


def test_on_a_terminal_the_table_lives_and_the_summary_stands_below_it() -> None:
    right = samples.success()
    out = io.StringIO()
    console = terminal(out)
    reporter = display.TableReporter(console, lambda: samples.at(8))
    with contextlib.closing(reporter):
        reporter.progress(Observations(scenario=samples.PLAN).timelines)
        reporter.progress(right.timelines)
        reporter.outcome(checks.assess(right))
    text = out.getvalue()
    assert text.index("0 of 2 nodes drained") < text.index("2 of 2 nodes drained")
    assert text.rindex("2 of 2 nodes drained") < text.index("21 of 21 checks passed")
    assert text.count("\x1b[?25l") == text.count("\x1b[?25h") == 1


def test_the_terminal_is_given_back_when_a_scenario_breaks_off() -> None:
    out = io.StringIO()
    console = terminal(out)
    reporter = display.TableReporter(console, lambda: samples.at(8))
    with contextlib.suppress(KeyboardInterrupt), contextlib.closing(reporter):
        reporter.progress(samples.success().timelines)
        raise KeyboardInterrupt
    assert out.getvalue().count("\x1b[?25h") == 1
