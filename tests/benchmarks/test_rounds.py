"""The storms of a run."""

from benchmarks.environment import Load
from benchmarks.rounds import Sizes


def test_a_disturbed_storm_has_an_undisturbed_one_beside_it() -> None:
    sizes = Sizes(storms=[50], slow=[50], kills=[100, 50], limits=[20])

    assert sizes.loads == [Load(50), Load(100), Load(20), Load(50, exits_after="5s")]


def test_rows_name_what_is_unusual() -> None:
    assert [Load(50).name, Load(50, exits_after="5s").name] == [
        "50 nodes",
        "50 nodes, pods that stop in 5s",
    ]
