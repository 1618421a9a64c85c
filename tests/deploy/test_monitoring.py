"""Alerts and the dashboard use metrics that exist, and the alerts fire when they should."""

import json
import pathlib
import re
import subprocess
from collections.abc import Iterator

import pytest
import yaml

from docs import reference
from tests import gobinaries
from tests.deploy import chart, promql
from tests.deploy.choices import CHOICES, NEEDED
from tests.docs import headings
from tests.infra import templates

# Helm may have to be built first.
pytestmark = pytest.mark.timeout(gobinaries.BUILD_SECONDS)

DASHBOARD = chart.CHART / "dashboards" / "queue-processor.json"
ALERT_TESTS = pathlib.Path(__file__).parent / "alerts.yaml"
# The variables that Grafana replaces in expressions.
GRAFANA_VARIABLES = {"$__rate_interval": "2m", "$__range": "6h"}
MONITORED = {**NEEDED, "prometheusRule": {"enabled": True}, "dashboard": {"enabled": True}}


@pytest.fixture
def rules(helm: chart.Helm) -> chart.JsonObject:
    """Return the spec of the PrometheusRule."""
    objects = chart.documents(helm.template(MONITORED))
    (rule,) = (found for found in objects if found["kind"] == "PrometheusRule")
    spec: chart.JsonObject = rule["spec"]
    return spec


def in_dashboard() -> Iterator[tuple[str, str]]:
    """Yield the expressions of the dashboard, as Grafana sends them, with their panels."""
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    of_panels = [
        (panel["title"], target["expr"])
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
    ]
    of_annotations = [(each["name"], each["expr"]) for each in dashboard["annotations"]["list"]]
    for place, shown in (*of_panels, *of_annotations):
        expression = shown
        for variable, value in GRAFANA_VARIABLES.items():
            expression = expression.replace(variable, value)
        yield place, expression
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            call = variable["query"]["query"]
            yield variable["name"], call.removeprefix("label_values(").rpartition(",")[0]


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("vector(1)", "no metric at all"),
        ("sum(queue_processor_messages)", "no metric queue_processor_messages"),
        ("rate(queue_processor_messages_totals[5m])", "no metric queue_processor_messages_totals"),
        (
            'queue_processor_messages_total{outcome="dead-letter"}',
            "no queue_processor_messages_tot",
        ),
        ('queue_processor_event_age_seconds_bucket{le="61.0"}', "no queue_processor_event_age"),
        (
            "sum by (zone) (queue_processor_is_leader)",
            "queue_processor_is_leader has no label zone",
        ),
    ],
)
def test_a_name_that_is_not_in_the_catalogue_is_detected(expression: str, fault: str) -> None:
    (found,) = promql.faults_of(expression)
    assert found.startswith(fault)


@pytest.mark.parametrize(("place", "expression"), list(in_dashboard()))
def test_the_dashboard_uses_metrics_of_the_catalogue(place: str, expression: str) -> None:
    assert promql.faults_of(expression) == [], place


def test_the_dashboard_shows_every_metric_of_interest() -> None:
    shown = DASHBOARD.read_text(encoding="utf-8")
    missing = {
        name
        for name in promql.catalogue()
        if name.endswith(("_total", "_bucket")) and name not in shown
    }
    assert missing == set()


def test_the_chart_does_not_change_the_dashboard(helm: chart.Helm) -> None:
    objects = chart.documents(helm.template(MONITORED))
    (found,) = (item for item in objects if item["metadata"]["name"].endswith("-dashboard"))
    (text,) = found["data"].values()
    assert json.loads(text) == json.loads(DASHBOARD.read_text(encoding="utf-8"))
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"


def test_the_dashboard_leads_to_sections_of_the_runbook() -> None:
    text = DASHBOARD.read_text(encoding="utf-8")
    runbook = (reference.DOCS / "runbook.md").read_text(encoding="utf-8").lower()
    anchors = set(re.findall(r"/docs/runbook\.md#([a-z]+)", text))

    assert len(anchors) > 3
    assert {anchor for anchor in anchors if f"# {anchor}\n" in runbook} == anchors


def test_panels_do_not_overlap() -> None:
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert taken.isdisjoint(cells), panel["title"]
        taken |= cells


def test_the_alerts_use_metrics_of_the_catalogue(rules: chart.JsonObject) -> None:
    faults = {
        rule["alert"]: found
        for group in rules["groups"]
        for rule in group["rules"]
        if (found := promql.faults_of(rule["expr"]))
    }
    assert faults == {}


def test_every_alert_is_in_the_runbook_and_links_to_its_section(helm: chart.Helm) -> None:
    objects = chart.documents(helm.template(CHOICES["everything on"]))
    (rule,) = (found for found in objects if found["kind"] == "PrometheusRule")
    links = {
        alert["alert"]: alert["annotations"]["runbook_url"]
        for group in rule["spec"]["groups"]
        for alert in group["rules"]
    }

    address = CHOICES["everything on"]["prometheusRule"]["runbookUrl"]
    sections = headings.below(reference.DOCS / pathlib.PurePath(address).name, "Alerts")
    assert links == {name: f"{address}#{headings.anchor(name)}" for name in sections}


def test_alerts_lead_to_the_runbook_of_this_version_by_default(rules: chart.JsonObject) -> None:
    about = yaml.safe_load((chart.CHART / "Chart.yaml").read_text(encoding="utf-8"))
    place = f"{about['home']}/blob/v{about['appVersion']}/docs/runbook.md#"
    links = [
        alert["annotations"]["runbook_url"] for group in rules["groups"] for alert in group["rules"]
    ]

    assert [link for link in links if not link.startswith(place)] == []


def test_the_alarms_of_the_stack_are_in_the_runbook() -> None:
    resources = templates.read(templates.QUEUE)["Resources"]
    alarms = {name for name, made in resources.items() if made["Type"] == "AWS::CloudWatch::Alarm"}
    runbook_text = (reference.DOCS / "runbook.md").read_text(encoding="utf-8")

    assert {name for name in alarms if f"`{name}`" in runbook_text} == alarms


def test_the_selector_of_the_alerts_can_be_configured(helm: chart.Helm) -> None:
    values = {**NEEDED, "prometheusRule": {"enabled": True, "selector": 'job="mine"'}}
    text = helm.template(values)
    assert 'queue_processor_is_leader{job="mine"}' in text
    assert "service=" not in text


@pytest.fixture
def rules_folder(rules: chart.JsonObject, tmp_path: pathlib.Path) -> pathlib.Path:
    """The rules, and the tests of them, in which no alert has a link."""
    for group in rules["groups"]:
        for alert in group["rules"]:
            alert["annotations"].pop("runbook_url", None)
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules), encoding="utf-8")
    (tmp_path / ALERT_TESTS.name).write_bytes(ALERT_TESTS.read_bytes())
    return tmp_path


@pytest.mark.parametrize(
    "command",
    [
        ("check", "rules", "--lint=all", "--lint-fatal", "rules.yaml"),
        ("test", "rules", ALERT_TESTS.name),
    ],
)
def test_promtool_accepts_the_rules(
    tools: pathlib.Path, rules_folder: pathlib.Path, command: tuple[str, ...]
) -> None:
    finished = subprocess.run(  # noqa: S603 - our own arguments
        [str(tools / "promtool"), *command],
        cwd=rules_folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_each_alert_has_tests_that_fire_and_that_do_not(rules: chart.JsonObject) -> None:
    cases = yaml.safe_load(ALERT_TESTS.read_text(encoding="utf-8"))["tests"]
    seen = {
        (case["alertname"], bool(case["exp_alerts"]))
        for test in cases
        for case in test["alert_rule_test"]
    }
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    assert seen == {(alert, fires) for alert in alerts for fires in (True, False)}
