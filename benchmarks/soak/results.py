"""The results of the campaigns: saved after each trial, and written for people."""

import collections
import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import pydantic

from benchmarks import results
from benchmarks.results import Provenance
from benchmarks.soak.findings import Finding, FindingKind, Trial
from queue_processor.simulator.demo.results import Spread

_TEMPLATE = pathlib.Path(__file__).parent / "soak.md.j2"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CampaignResults:
    """All trials of a campaign.

    Attributes:
        faults: What happened during each storm.
        seed: With it, the same is drawn again.
    """

    name: str
    faults: str
    seed: int
    provenance: Provenance
    trials: Sequence[Trial] = ()

    def with_trial(self, trial: Trial) -> "CampaignResults":
        """Return the results with one more trial."""
        return dataclasses.replace(self, trials=(*self.trials, trial))

    @property
    def findings(self) -> Sequence[Finding]:
        """Return what must not have happened, and did."""
        return [finding for trial in self.trials for finding in trial.findings]

    @property
    def counts(self) -> Mapping[FindingKind, int]:
        """Return how many findings of each kind there are."""
        return collections.Counter(finding.kind for finding in self.findings)

    @property
    def figures(self) -> Sequence[str]:
        """Return what else was measured."""
        return [trial.figures for trial in self.trials if trial.figures]

    @property
    def machine(self) -> str:
        """Return the machine and the versions."""
        versions = (f"{name} {version}" for name, version in self.provenance.versions.items())
        return f"{self.provenance.machine}. {', '.join(versions)}."

    @property
    def takeovers(self) -> Spread | None:
        """Return how long standbys took; None if there was none."""
        seconds = [each for trial in self.trials for each in trial.takeovers]
        return Spread.of(seconds) if seconds else None

    @property
    def faults_hit(self) -> int:
        """Return how many faults hit."""
        return sum(trial.faults for trial in self.trials)

    @property
    def messages(self) -> int:
        """Return how many messages were sent."""
        return sum(trial.messages for trial in self.trials)

    @property
    def seconds(self) -> float:
        """Return how long the trials took."""
        return sum(trial.seconds for trial in self.trials)


_SAVED = pydantic.TypeAdapter(dict[str, CampaignResults])


class Results:
    """The results of this run and of earlier ones, by campaign, in a file."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._campaigns = _SAVED.validate_json(path.read_bytes()) if path.exists() else {}

    def save(self, campaign: CampaignResults) -> None:
        """Put the results of a campaign in the place of earlier ones."""
        self._campaigns[campaign.name] = campaign
        self._path.write_bytes(_SAVED.dump_json(self._campaigns, indent=2) + b"\n")

    def render(self, names: Sequence[str]) -> str:
        """Render the results of the campaigns that have any, in this order, as Markdown."""
        campaigns = [self._campaigns[name] for name in names if name in self._campaigns]
        return results.render(_TEMPLATE, campaigns=campaigns, kinds=list(FindingKind))
