"""The short run of `make simulate`, and what makes it worth something."""

import os
import subprocess
import sys

import pytest

from tests.simulation import planted, report, runs, scenario, shrinking

SEEDS = 200


# Each found a defect that the short run does not.
FOUND = {
    8152: "a change was cancelled while volumes were detached, and the drain went on",
    9830: "the same, with a single workload",
    3619: "a dead node came back while the watch was silent, and its pods were deleted by force",
}


@pytest.mark.parametrize("seed", FOUND)
def test_a_seed_that_found_a_defect_finds_none_any_more(seed: int) -> None:
    assert runs.run(scenario.draw(seed)).violation is None


@pytest.mark.parametrize("first", range(0, SEEDS, 100))
def test_no_world_violates_a_rule(first: int) -> None:
    results = runs.run_seeds(range(first, first + 100), processes=1)

    assert [f"seed {each.seed}: {each.violation}" for each in results if each.violation] == []


@pytest.mark.parametrize("defect", planted.DEFECTS, ids=lambda defect: defect.__name__)
def test_a_planted_defect_is_found(defect: type[planted.PlantedDefect]) -> None:
    finding = report.find(defect)

    assert finding.seed is not None


def test_a_run_repeats_exactly() -> None:
    for seed in range(20):
        first, second = runs.run(scenario.draw(seed)), runs.run(scenario.draw(seed))

        assert first.trace == second.trace, f"seed {seed}"


def test_runs_are_equal_in_processes_that_hash_differently() -> None:
    command = (sys.executable, "-m", "tests.simulation", "--digests", "--seeds", "20")
    digests = [
        subprocess.run(  # noqa: S603 - the command is constant
            (*command, "--processes", "1"),
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]

    assert len(digests[0].splitlines()) == 20
    assert digests[0] == digests[1]


def test_a_failing_scenario_is_shrunk_to_what_it_takes() -> None:
    world = planted.MessageDeletedBeforeDrain
    finding = report.find(world)
    assert finding.seed is not None

    smallest = shrinking.shrink(scenario.draw(finding.seed), world=world, most_runs=200)

    assert len(smallest.sendings) == 1
    assert (smallest.faults, smallest.occurrences) == ((), ())
