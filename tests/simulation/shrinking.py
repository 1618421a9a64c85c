"""Make a failing scenario smaller: leave things out for as long as the same rule is violated."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from tests.simulation import runs
from tests.simulation.scenario import Choices, Scenario
from tests.simulation.world import SimulationWorld

_PARTS = ("faults", "occurrences", "sendings", "workloads", "machines")


def shrink(
    failing: Scenario, *, world: type[SimulationWorld] = SimulationWorld, most_runs: int = 500
) -> Scenario:
    """Return the smallest scenario that can be reached by leaving out one thing at a time.

    Args:
        failing: A scenario that violates a rule.
        world: Where it does.
        most_runs: How many smaller ones are tried.
    """
    rule = runs.run(failing, world=world).rule
    left = most_runs
    is_smaller = True
    while is_smaller and left > 0:
        is_smaller = False
        for smaller in _smaller(failing):
            left -= 1
            if runs.run(smaller, world=world).rule == rule:
                failing, is_smaller = smaller, True
                break
            if left <= 0:
                break
    return failing


def _smaller(scenario: Scenario) -> Iterator[Scenario]:
    """Yield the scenarios that lack one thing."""
    if scenario.processes > 1:
        yield dataclasses.replace(scenario, processes=scenario.processes - 1)
    for part in _PARTS:
        items = getattr(scenario, part)
        for place in range(len(items)):
            yield dataclasses.replace(scenario, **{part: items[:place] + items[place + 1 :]})
    for field in dataclasses.fields(Choices):
        if getattr(scenario.choices, field.name) != field.default:
            changed: dict[str, Any] = {field.name: field.default}
            usual = dataclasses.replace(scenario.choices, **changed)
            yield dataclasses.replace(scenario, choices=usual)
