"""The soak test: a few trials of each kind of end of a process, and that its judgement works."""

import asyncio
import contextlib
import pathlib
import random

import pytest

from benchmarks.soak import campaigns, churn, disturbances
from benchmarks.soak.environment import SoakEnvironment
from benchmarks.soak.findings import FindingKind, Trial
from tests.cluster import plane

_BY_NAME = {campaign.name: campaign for campaign in campaigns.STORMS}


@pytest.mark.parametrize(
    ("name", "takeovers"),
    [("kill-with-standby", disturbances.LEADERS_ENDED), ("stop-alone", 0)],
)
async def test_nothing_is_lost_when_leaders_end_in_a_storm(
    control_plane: plane.ControlPlane, tmp_path: pathlib.Path, name: str, takeovers: int
) -> None:
    trials: list[Trial] = []

    await _BY_NAME[name].run_on(control_plane, 1, 1, logs=tmp_path, report=trials.append)

    (trial,) = trials
    assert trial.findings == []
    assert trial.faults == disturbances.LEADERS_ENDED
    assert len(trial.takeovers) == takeovers


async def test_a_message_that_is_deleted_too_early_is_a_finding_and_so_is_a_node_left_alone(
    control_plane: plane.ControlPlane, tmp_path: pathlib.Path
) -> None:
    rng = random.Random(1)  # noqa: S311 not for secrets
    async with SoakEnvironment.opened(control_plane, tmp_path, seed=1) as environment:
        storm = environment.new_storm()
        await storm.populate(rng)
        async with storm.history.watching():
            storm.strike(rng)
            await asyncio.to_thread(_delete_one_message, environment)
            await storm.judge()

    found = [finding.kind for finding in storm.findings]
    assert found.count(FindingKind.EARLY) == 1
    # All other messages, two lifecycle actions, and all nodes.
    assert found.count(FindingKind.LOST) == 5 + 2 + 6
    assert len(found) == 14


def _delete_one_message(environment: SoakEnvironment) -> None:
    client = environment.aws.session.client("sqs", endpoint_url=environment.aws.endpoint_url)
    with contextlib.closing(client):
        url = environment.queue_url
        (message,) = client.receive_message(QueueUrl=url)["Messages"]
        client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])


def test_memory_and_metric_series_stay_flat_while_nodes_come_and_go(tmp_path: pathlib.Path) -> None:
    trials: list[Trial] = []
    campaign = churn.ChurnCampaign(name="churn", faults="", trials=1, hours=2)

    campaign.run(1, 1, logs=tmp_path / "logs", report=trials.append)

    assert [trial.findings for trial in trials] == [[]]


def test_memory_that_the_operator_keeps_is_counted_wherever_it_is() -> None:
    kept: dict[str, list[str]] = {}

    def remember(text: str) -> None:
        kept.setdefault(text, []).append(text)

    before = churn.size_of(remember)
    for number in range(1000):
        remember(f"i-{number:017x}")

    assert churn.size_of(remember) > before + 100_000
