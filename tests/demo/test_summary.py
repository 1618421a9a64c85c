"""The end of a scenario: on a screen, in full, and for programs."""

import dataclasses
import io
import json
from typing import Any

import pytest
import rich.console

from queue_processor.simulator.demo import checks, summary, workloads
from queue_processor.simulator.demo.results import Observations
from queue_processor.simulator.demo.scenario import Workload
from queue_processor.simulator.kube import history
from tests.demo import samples

ALL_CHECKS = [check.name for check in checks.assess(samples.success()).checks]


def with_low(observed: Observations, workload: str, count: int) -> Observations:
    low = history.LowPoint("default", workload, count, 3, samples.at(1))
    return dataclasses.replace(observed, lows={**observed.lows, workload: low})


def printed(observed: Observations, *, width: int = 120, details: bool = False) -> list[str]:
    console = rich.console.Console(file=io.StringIO(), width=width)
    for part in summary.summary(checks.assess(observed), details=details):
        console.print(part)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def row(lines: list[str], name: str) -> str:
    (line,) = (line for line in lines if line.startswith(name + " "))
    return line.removeprefix(name).strip()


def test_the_summary_has_the_figures() -> None:
    lines = printed(samples.success())
    assert row(lines, "event to cordon") == "p50 0.10 s, p99 0.30 s, max 0.30 s"
    assert row(lines, "pods") == "2 evicted (1 times refused), 1 deleted at the deadline"
    assert row(lines, "workloads") == "2, 2 always had the ready replicas they need"
    assert lines[-1] == "Everything came out right."
    assert not [line for line in lines if "FAILED" in line]


@pytest.mark.parametrize("width", [80, 160])
def test_the_summary_of_the_storm_fits_24_lines_and_cuts_nothing(width: int) -> None:
    observed = with_low(samples.storm(), "web-2", 0)
    lines = printed(observed, width=width)
    assert len(lines) <= 24
    assert max(map(len, lines)) <= width
    assert not [line for line in lines if "…" in line]
    assert [line for line in lines if line.startswith("  web-2: 0 of ")]


def test_at_40_columns_no_name_is_wrapped_or_cut() -> None:
    observed = with_low(samples.storm(), "web-2", 0)
    in_short, in_full = (printed(observed, width=40, details=each) for each in (False, True))
    for lines in (in_short, in_full):
        assert max(map(len, lines)) <= 40
        assert [line for line in lines if line.startswith("  web-2: 0 of ")]
    names = [line.split()[0] for line in in_full if line]
    assert names[names.index("workload") + 1 :][:35] == [
        each.name for each in observed.scenario.workloads
    ]


def test_every_check_that_passed_is_named_below_its_group() -> None:
    assessment = checks.assess(samples.success())
    lines = printed(samples.success(), width=200)
    for group in assessment.groups:
        assert row(lines, f"  {group.name}").split(", ") == [check.label for check in group.checks]


def test_no_two_checks_of_a_group_share_a_label() -> None:
    for group in checks.assess(samples.success()).groups:
        labels = [check.label for check in group.checks]
        assert len(set(labels)) == len(labels)


def test_the_summary_names_every_check_that_failed() -> None:
    lines = printed(dataclasses.replace(samples.success(), left=2))
    assert "20 of 21 checks passed" in lines
    assert "FAILED  no message is left there: expected 0, found 2" in lines
    assert "none is left" not in row(lines, "  messages")
    assert lines[-1] == "Something did not come out right."


def test_details_name_every_check_and_every_workload() -> None:
    lines = printed(samples.success(), details=True)
    assert [" ".join(line.split()) for line in lines if line.startswith("web ")] == [
        "web 3 2 2 maxUnavailable 1"
    ]
    assert [line.strip() for line in lines if line.strip() in ALL_CHECKS] == ALL_CHECKS


def test_only_the_first_workloads_below_their_need_are_listed_without_details() -> None:
    observed = samples.storm()
    names = [each.name for each in observed.scenario.workloads[:5]]
    for name in names:
        observed = with_low(observed, name, 0)
    lines = printed(observed)
    assert row(lines, "workloads") == "35, 30 always had the ready replicas they need"
    assert "  and 2 more: --details lists them" in lines
    in_full = printed(observed, details=True)
    assert [line.split(":")[0].strip() for line in in_full if " needed: " in line] == names


@pytest.mark.parametrize(
    ("workload", "pods", "reason"),
    [
        ("licence", samples.success().pods, "the deadline overrode its budget"),
        ("licence", (), "its single replica had to move"),
        ("cron", (), "it has no budget, and all its replicas had to move at once"),
        ("web", (), "it lost pods against its budget"),
    ],
)
def test_a_workload_below_its_need_is_explained(
    workload: str, pods: tuple[history.PodRecord, ...], reason: str
) -> None:
    plan = dataclasses.replace(
        samples.PLAN,
        workloads=(*samples.PLAN.workloads, Workload(name="cron", nodes=("a", "b"))),
    )
    observed = dataclasses.replace(samples.success(), scenario=plan, pods=pods)
    results = workloads.workload_results(with_low(observed, workload, 0))
    assert {each.workload.name: each.shortfall for each in results if each.shortfall} == {
        workload: reason
    }


def test_programs_get_every_check_and_every_workload_below_its_need() -> None:
    observed = with_low(dataclasses.replace(samples.success(), left=2), "licence", 0)
    made: dict[str, Any] = json.loads(json.dumps(summary.fields(checks.assess(observed))))
    assert [check["name"] for check in made["checks"]] == ALL_CHECKS
    assert [check["name"] for check in made["checks"] if not check["passed"]] == [
        "no message is left there"
    ]
    assert made["failed_checks"] == [
        {"name": "no message is left there", "expected": "0", "found": "2"}
    ]
    assert made["workloads_below_need"] == [
        {
            "name": "licence",
            "replicas": 1,
            "lowest": 0,
            "needed": 1,
            "reason": "the deadline overrode its budget",
        }
    ]
    assert (made["scenario"], made["seed"], made["workloads"]) == ("small", 0, 2)
