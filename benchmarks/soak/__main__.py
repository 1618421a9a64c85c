"""`make soak`: storms with faults, and a table of what went wrong."""

import pathlib
import secrets
import signal
import tempfile
from typing import Annotated

import typer

from benchmarks import results as benchmark_results
from benchmarks.soak.campaigns import CAMPAIGNS, Campaign
from benchmarks.soak.findings import Trial
from benchmarks.soak.results import CampaignResults, Results

_RECORD = pathlib.Path(__file__).parents[1] / "SOAK.md"
_FOUND_SOMETHING = 3


def _main(
    campaigns: Annotated[
        list[str] | None,
        typer.Option("--campaign", help="A campaign by its name; repeatable. All by default."),
    ] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Trials of each campaign; its own number by default.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Draw the same again; the table has the seed of each run.")
    ] = None,
    as_json: Annotated[
        pathlib.Path,
        typer.Option("--json", help="Has the results of all campaigns that ran so far."),
    ] = pathlib.Path("soak.json"),
    logs: Annotated[
        pathlib.Path | None, typer.Option(help="A new folder for what the operators log.")
    ] = None,
    *,
    record: Annotated[
        bool, typer.Option("--record", help="Write benchmarks/SOAK.md after each trial.")
    ] = False,
) -> None:
    """Disturb the operator in storms on a real control plane, and judge the end state.

    The exit code is 3 if anything was lost, early, or otherwise wrong.

    \b
    Examples:
      python -m benchmarks.soak --campaign kill-with-standby --trials 5
      python -m benchmarks.soak --record
    """  # noqa: D301 - after a real backspace the lines stay as they are
    names = [campaign.name for campaign in CAMPAIGNS]
    for name in campaigns or []:
        if name not in names:
            raise typer.BadParameter(f"{name} is none of {', '.join(names)}")
    # The processes that it started end with it.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    saved, has_findings = Results(as_json), False
    with tempfile.TemporaryDirectory() as temporary:
        for campaign in CAMPAIGNS:
            if campaigns and campaign.name not in campaigns:
                continue
            run = _Run(campaign, seed, saved, _RECORD if record else None)
            run.start(trials or campaign.trials, logs or pathlib.Path(temporary))
            has_findings = has_findings or bool(run.results.findings)
    typer.echo(saved.render(names))
    raise typer.Exit(_FOUND_SOMETHING if has_findings else 0)


class _Run:
    """One campaign, whose results are saved and shown after each trial."""

    def __init__(
        self, campaign: Campaign, seed: int | None, saved: Results, record: pathlib.Path | None
    ) -> None:
        self._campaign = campaign
        self._saved = saved
        self._record = record
        self.results = CampaignResults(
            name=campaign.name,
            faults=campaign.faults,
            seed=secrets.randbits(32) if seed is None else seed,
            provenance=benchmark_results.provenance(),
        )

    def start(self, trials: int, logs: pathlib.Path) -> None:
        """Run the trials."""
        self._trials = trials
        self._campaign.run(trials, self.results.seed, logs=logs, report=self._take)

    def _take(self, trial: Trial) -> None:
        self.results = self.results.with_trial(trial)
        self._saved.save(self.results)
        if self._record:
            names = [campaign.name for campaign in CAMPAIGNS]
            self._record.write_text(self._saved.render(names), encoding="utf-8")
        takeovers = ", ".join(f"{seconds:.2f} s" for seconds in trial.takeovers)
        typer.echo(
            f"{self.results.name} {len(self.results.trials)}/{self._trials}:"
            f" {trial.faults} faults, {trial.messages} messages in {trial.seconds:.1f} s"
            + (f", takeovers {takeovers}" if takeovers else "")
            + (f", {trial.figures}" if trial.figures else ""),
            err=True,
        )
        for finding in trial.findings:
            typer.echo(f"  {finding.kind}: {finding.text}", err=True)


if __name__ == "__main__":
    app = typer.Typer(rich_markup_mode=None, add_completion=False)
    app.command()(_main)
    app()
