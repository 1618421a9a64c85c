"""The campaigns: the faults of each, and how they hit a storm."""

import asyncio
import contextlib
import dataclasses
import itertools
import pathlib
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol, TypeAlias

from benchmarks.soak import churn, disturbances
from benchmarks.soak.environment import SoakEnvironment
from benchmarks.soak.findings import Trial
from tests import operators
from tests.cluster import assets, plane

Report: TypeAlias = Callable[[Trial], None]
Disturb: TypeAlias = Callable[[SoakEnvironment, random.Random], Awaitable[None]]

# The API server keeps an audit log that grows by half a megabyte with each storm.
_TRIALS_PER_CONTROL_PLANE = 25
# Those of production; else the tests have 3, 2 and 0.4 s.
_PATIENT = operators.election(lease=15, renew=10, retry=2)


class Campaign(Protocol):
    """Trials of one kind."""

    @property
    def name(self) -> str:
        """Return its name, for the command line."""

    @property
    def faults(self) -> str:
        """Return what happens in each trial, for people."""

    @property
    def trials(self) -> int:
        """Return how many trials a full run has."""

    def run(self, trials: int, seed: int, *, logs: pathlib.Path, report: Report) -> None:
        """Run so many trials, and report each; `logs` takes what the operators log."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class StormCampaign:
    """Storms with one kind of faults.

    Attributes:
        faults: What happens during each storm, for people.
        trials: How many storms a full run has.
        disturb: Makes it happen, after the events were sent.
        standby: True if a second process stands by.
        copies: How often each message is sent.
        clock_error_seconds: How wrong the times of events are.
        behind_proxy: True if the faults are those of the proxy before the API server.
        variables: Settings of the operators.
    """

    name: str
    faults: str
    trials: int
    disturb: Disturb
    standby: bool = False
    copies: int = 1
    clock_error_seconds: float = 0.0
    behind_proxy: bool = False
    variables: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def run(self, trials: int, seed: int, *, logs: pathlib.Path, report: Report) -> None:
        """Run storms, several on each control plane."""
        asyncio.run(self._run(trials, seed, logs, report))

    async def _run(self, trials: int, seed: int, logs: pathlib.Path, report: Report) -> None:
        done = 0
        for number in itertools.count():
            folder = logs / f"{self.name}-{number}"
            folder.mkdir(parents=True)
            control_plane = plane.ControlPlane(assets.find())
            with contextlib.closing(control_plane):
                control_plane.start()
                count = min(_TRIALS_PER_CONTROL_PLANE, trials - done)
                done += await self.run_on(
                    control_plane, count, seed + done, logs=folder, report=report
                )
            if done == trials:
                return

    async def run_on(
        self,
        control_plane: plane.ControlPlane,
        trials: int,
        seed: int,
        *,
        logs: pathlib.Path,
        report: Report,
    ) -> int:
        """Run storms on a control plane that runs, and return how many.

        When the machine sleeps, or this process is suspended, the storm of that time proves
        nothing: it is not reported, and is the last one.
        """
        opening = SoakEnvironment.opened(
            control_plane,
            logs,
            seed=seed,
            behind_proxy=self.behind_proxy,
            variables=self.variables,
        )
        async with opening as environment:
            for trial in range(trials):
                rng = random.Random(seed + trial)  # noqa: S311 not for secrets
                try:
                    result = await self._try(environment, rng)
                except (AssertionError, TimeoutError):
                    if environment.was_suspended:
                        return trial
                    raise
                if environment.was_suspended:
                    return trial
                report(result)
        return trials

    async def _try(self, environment: SoakEnvironment, rng: random.Random) -> Trial:
        began_at = time.monotonic()
        await environment.man(standby=self.standby)
        storm = environment.new_storm()
        spoilt = environment.proxy.count + environment.aws_faults.count
        await storm.populate(rng, clock_error_seconds=self.clock_error_seconds)
        async with storm.history.watching():
            storm.strike(rng, copies=self.copies)
            await self.disturb(environment, rng)
            await environment.until_over(disturbances.OVER_SECONDS)
            await storm.judge()
        environment.check_processes()
        await environment.clear()
        spoilt = environment.proxy.count + environment.aws_faults.count - spoilt
        return Trial(
            faults=environment.faults + spoilt,
            messages=storm.messages,
            seconds=time.monotonic() - began_at,
            findings=storm.findings,
            takeovers=environment.takeovers,
        )


STORMS: Sequence[StormCampaign] = (
    StormCampaign(
        name="kill-with-standby",
        faults="the leader killed (SIGKILL) three times, a standby ready",
        trials=34,
        disturb=disturbances.kill_leaders,
        standby=True,
    ),
    StormCampaign(
        name="kill-alone",
        faults="the only process killed (SIGKILL) three times, and started again",
        trials=34,
        disturb=disturbances.kill_leaders,
    ),
    StormCampaign(
        name="stop-with-standby",
        faults="the leader stopped (SIGTERM) three times, a standby ready",
        trials=17,
        disturb=disturbances.stop_leaders,
        standby=True,
    ),
    StormCampaign(
        name="stop-alone",
        faults="the only process stopped (SIGTERM) three times, and started again",
        trials=17,
        disturb=disturbances.stop_leaders,
    ),
    StormCampaign(
        name="api-server-restart",
        faults="the API server killed, and started again",
        trials=15,
        disturb=disturbances.restart_api_server,
    ),
    StormCampaign(
        name="api-server-errors",
        faults="5 s of 429 and 5 s of 500 for every request",
        trials=5,
        disturb=disturbances.refuse_requests,
        behind_proxy=True,
        variables=_PATIENT,
    ),
    StormCampaign(
        name="api-server-latency",
        faults="3 s of latency for every request",
        trials=5,
        disturb=disturbances.delay_requests,
        behind_proxy=True,
        variables=_PATIENT,
    ),
    StormCampaign(
        name="watches-cut",
        faults="all watches cut every second",
        trials=5,
        disturb=disturbances.cut_watches,
        behind_proxy=True,
    ),
    StormCampaign(
        name="watches-silent",
        faults="watches that stay open, and nothing more arrives",
        trials=5,
        disturb=disturbances.silence_watches,
        behind_proxy=True,
    ),
    StormCampaign(
        name="aws-outage",
        faults="10 s each of 500, throttling and resets for every call of AWS",
        trials=5,
        disturb=disturbances.fail_calls_of_aws,
    ),
    StormCampaign(
        name="aws-lost-replies",
        faults="30 % of the replies of AWS lost after the work was done",
        trials=10,
        disturb=disturbances.lose_replies,
    ),
    StormCampaign(
        name="aws-expired-credentials",
        faults="10 s of credentials that AWS calls expired",
        trials=5,
        disturb=disturbances.expire_credentials,
    ),
    StormCampaign(
        name="duplicates",
        faults="every message three times, in any order; those in flight delivered again, twice",
        trials=10,
        disturb=disturbances.redeliver,
        copies=3,
    ),
    StormCampaign(
        name="clock",
        faults="times of events 5 minutes early or late",
        trials=10,
        disturb=disturbances.only_send,
        clock_error_seconds=300.0,
    ),
)
CAMPAIGNS: Sequence[Campaign] = (
    *STORMS,
    churn.ChurnCampaign(
        name="churn",
        faults="six hours of nodes that come and go, in virtual time",
        trials=1,
    ),
)
