"""The report: a page that needs nothing else, with a chart for each node and workload."""

import dataclasses
import html.parser
import pathlib
import re

import pytest

from queue_processor.domain import errors
from queue_processor.simulator.demo import checks, report, scenarios
from queue_processor.simulator.demo.results import Observations
from tests.demo import samples


class Page(html.parser.HTMLParser):
    """The elements of a page, and its text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(source)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag != "meta":
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())

    def all(self, tag: str, kind: str = "") -> list[dict[str, str | None]]:
        """The attributes of the elements with a tag, and a class."""
        return [
            attributes
            for name, attributes in self.elements
            if name == tag and kind in ("", attributes.get("class"))
        ]


def rendered(observed: Observations) -> str:
    return report.render(checks.assess(observed), version="1.2.3")


def test_the_page_loads_nothing_and_has_no_script() -> None:
    source = rendered(samples.storm())
    page = Page(source)
    loading = {"src", "href", "srcset", "data", "action", "xlink:href"}
    assert not [each for _, each in page.elements if loading & set(each)]
    assert not {tag for tag, _ in page.elements} & {"script", "link", "iframe", "img", "object"}
    assert not re.search(r"url\(|@import|@font-face|https?:", source)


def test_values_are_escaped() -> None:
    bad = "<script>alert(1)</script>"
    plan = dataclasses.replace(samples.PLAN, name=bad)
    source = rendered(
        dataclasses.replace(samples.success(), scenario=plan, lease_holder='"><b>x</b>')
    )
    assert "<script" not in source
    assert "<b>" not in source
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in source


def test_it_names_the_version_the_scenario_its_seed_and_every_check() -> None:
    page = Page(rendered(samples.storm(seed=3)))
    text = " ".join(page.texts)
    assert "queue-processor 1.2.3, demo, scenario storm, seed 3" in text
    for check in checks.assess(samples.storm(seed=3)).checks:
        assert check.name in page.texts


def test_every_interrupted_node_and_every_workload_has_a_chart() -> None:
    observed = samples.storm()
    page = Page(rendered(observed))
    charts = [each["aria-label"] or "" for each in page.all("svg") if "aria-label" in each]
    names = [label.split(":")[0] for label in charts]
    assert names == [
        *observed.scenario.interrupted,
        *(workload.name for workload in observed.scenario.workloads),
    ]


def test_a_node_has_its_moments_at_their_places() -> None:
    # The last thing that happens is at 7 seconds.
    page = Page(rendered(samples.success()))
    places = {kind: [each["x1"] for each in page.all("line", kind)] for kind in ("event", "cordon")}
    # The first of each is in the legend.
    assert places["event"][1:] == ["0.0", "0.0"]
    assert places["cordon"][1:] == ["14.3", "42.9"]
    assert [each["x1"] for each in page.all("line", "drained")[1:]] == ["1000.0", "285.7"]
    assert [each["x1"] for each in page.all("line", "gone")[1:]] == ["300.0"]
    # Both deadlines are later than the end of the chart.
    assert page.all("line", "deadline")[1:] == []


def test_a_deadline_that_comes_while_something_moves_is_drawn() -> None:
    right = samples.success()
    sent = [dataclasses.replace(each, deadline=samples.at(3.5)) for each in right.sent[:1]]
    page = Page(rendered(dataclasses.replace(right, sent=[*sent, *right.sent[1:]])))
    assert [each["x1"] for each in page.all("line", "deadline")[1:]] == ["500.0"]


def test_the_area_shows_the_pods_that_are_left() -> None:
    (first, second) = Page(rendered(samples.success())).all("polygon", "area")
    # Two pods until second 1, one until second 7, on a height of 40.
    assert first["points"] == (
        "0,40 0,40 0,20 0,20 0,0 142.9,0 142.9,20 1000,20 1000,40 1000,40 1000,40"
    )
    assert second["points"] == "0,40 0,40 0,0 285.7,0 285.7,40 1000,40 1000,40"


def test_ready_replicas_fall_when_a_pod_is_removed_and_not_when_it_is_gone() -> None:
    web, _ = Page(rendered(samples.success())).all("polygon", "ready")
    assert web["points"] is not None
    # web-1 is evicted at 0.2 seconds.
    assert " 28.6," in web["points"]
    assert "142.9," in web["points"]
    assert "285.7," not in web["points"]


@pytest.mark.parametrize("seconds", [0, 4, 60])
@pytest.mark.parametrize("name", ["single", "storm", "mixed", "imds", "mixed-sources"])
def test_a_scenario_that_broke_off_at_any_time_can_be_rendered(name: str, seconds: float) -> None:
    plan = scenarios.compose(name, seed=1)
    for observed in (Observations(scenario=plan), samples.storm(seconds=seconds)):
        page = Page(rendered(observed))
        numbers = [
            float(number)
            for each in page.all("polygon")
            for number in re.findall(r"[-\d.]+", each["points"] or "")
        ]
        assert all(0 <= number <= report.WIDTH for number in numbers)


def test_an_existing_report_is_replaced(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old", encoding="utf-8")
    report.check_writable(path)
    assert path.read_text(encoding="utf-8") == "old"
    report.write(path, checks.assess(samples.success()))
    assert path.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_the_check_before_the_start_leaves_no_file(tmp_path: pathlib.Path) -> None:
    report.check_writable(tmp_path / "report.html")
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_cannot_be_written_is_reported(tmp_path: pathlib.Path) -> None:
    for path, reason in (
        (tmp_path, "Is a directory"),
        (tmp_path / "no" / "x.html", "No such file"),
    ):
        with pytest.raises(errors.UsageError, match=reason):
            report.check_writable(path)
