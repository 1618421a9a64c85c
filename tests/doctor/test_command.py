"""`doctor` as people and pipelines run it: output, exit codes, and places where nothing works."""

import contextlib
import datetime as dt
import json
import pathlib
from collections.abc import Mapping

import pytest

from queue_processor.doctor import checks
from queue_processor.doctor.findings import CheckName
from queue_processor.simulator.aws.faults import AwsFault, AwsFaults
from queue_processor.simulator.kube import api, manifests, resources
from queue_processor.simulator.kube.cluster import SimulatedCluster
from tests.doctor.conftest import DoctorSite
from tests.messages.conftest import NOWHERE, Running, Screen, Terminal

FAILED = 3
# The actions of the operator's role.
ROLE = (
    "sts:GetCallerIdentity",
    "sqs:GetQueueAttributes",
    "autoscaling:DescribeAutoScalingGroups",
    "autoscaling:DescribeLifecycleHooks",
)


def failed(findings: Mapping[str, Mapping[str, str]]) -> set[str]:
    return {name for name, each in findings.items() if each["status"] == "failed"}


# Output and exit codes.


def test_each_check_is_a_line_and_the_last_one_counts_them(site: DoctorSite) -> None:
    ended = site.run()
    rows = [line.split() for line in ended.out.splitlines() if line.strip()]
    names = [row[1].rstrip(":") for row in rows if row[0] in {"ok", "skipped"}]

    assert names == list(CheckName)
    assert ended.code == 0
    assert ended.line == "failed: 0, warning: 0, ok: 19, skipped: 1"


def test_a_failure_is_a_line_with_cause_and_cure_and_an_exit_code(site: DoctorSite) -> None:
    site.set_attribute("Policy", "")
    ended = site.run()
    (line,) = [line for line in ended.out.splitlines() if line.lstrip().startswith("failed")]

    assert ended.code == FAILED
    assert "queue-policy: it does not allow EventBridge to send" in line
    assert ". Cure: allow events.amazonaws.com sqs:SendMessage" in line


def test_a_warning_is_no_failure(site: DoctorSite) -> None:
    site.set_attribute("SqsManagedSseEnabled", "false")
    ended = site.run("--output", "json")

    assert ended.code == 0
    assert [each["check"] for each in ended.data() if each["status"] == "warning"] == ["encryption"]


def test_a_settings_file_is_read_as_run_reads_it(site: DoctorSite, tmp_path: pathlib.Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("drian: {}\n")
    findings = site.findings("--config", str(file))

    assert failed(findings) == {"settings"}
    assert findings["settings"]["detail"] == "drian: no such setting"


def test_nothing_is_changed(site: DoctorSite) -> None:
    site.send("{}")
    site.findings()

    requests = site.cluster.do(lambda made: made.history.requests)
    assert {kind.verb for kind in requests} <= {"get", "list", "create"}
    assert {kind.resource for kind in requests if kind.verb == "create"} == {
        "selfsubjectaccessreviews"
    }
    (record,) = site.aws.message_log(site.url)
    assert record.received_at == ()


def test_on_a_narrow_terminal_words_stay_whole_and_the_cure_is_there(site: DoctorSite) -> None:
    site.set_attribute("Policy", "")
    narrow = {**site.run.environment, "COLUMNS": "40", "NO_COLOR": "1"}
    with contextlib.closing(Screen((), narrow, group="doctor")) as screen:
        assert screen.code == FAILED
    shown = screen.text.replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines()
    *rows, _ = shown
    assert max(len(line.rstrip()) for line in rows) <= 40
    assert "\x1b[3" not in screen.text
    words = " ".join(" ".join(shown).split())
    assert "Cure: allow events.amazonaws.com sqs:SendMessage for your rules" in words


# What cannot be read.


def test_with_the_role_of_the_pod_the_rest_is_checked_and_skips_name_the_permission(
    site: DoctorSite,
) -> None:
    site.allow_only(*ROLE)
    findings = site.findings()
    skips = {name: each["detail"] for name, each in findings.items() if each["status"] == "skipped"}

    assert failed(findings) == set()
    assert set(skips) == {"aws-region", "event-rules", "event-patterns"}
    assert "the permission events:ListRuleNamesByTarget on" in skips["event-rules"]
    assert skips["event-patterns"] == "see event-rules"


@pytest.mark.parametrize(
    ("action", "check"),
    [
        ("events:DescribeRule", "event-rules"),
        ("events:TestEventPattern", "event-patterns"),
        ("autoscaling:DescribeLifecycleHooks", "lifecycle-hooks"),
    ],
)
def test_a_permission_of_a_person_that_is_missing_skips_its_check(
    site: DoctorSite, action: str, check: str
) -> None:
    reading = {
        *ROLE,
        "events:ListRuleNamesByTarget",
        "events:DescribeRule",
        "events:TestEventPattern",
    }
    site.allow_only(*(reading - {action}))
    findings = site.findings()

    assert failed(findings) == set()
    assert findings[check]["status"] == "skipped"
    assert f"the permission {action} on" in findings[check]["detail"]


def test_the_own_lease_is_read_where_others_are_forbidden(site: DoctorSite) -> None:
    site.cluster.server.denials.append(api.Denial(verb="list", resource="leases"))
    election = {"QUEUE_PROCESSOR_LEADER_ELECTION__NAMESPACE": "queue-processor"}
    findings = site.findings(**election)

    assert findings["consumers"]["detail"] == "pod-a leads"
    elsewhere = site.findings()["consumers"]
    assert elsewhere["status"] == "skipped"
    assert 'cannot list resource "leases"' in elsewhere["detail"]


def test_an_observer_needs_no_lease_and_works_beside_another_handler(site: DoctorSite) -> None:
    def add(made: SimulatedCluster) -> None:
        spec = manifests.PodSpec(labels={"app.kubernetes.io/name": "aws-node-termination-handler"})
        made.add_pod("nth", namespace="kube-system", node="node-0", spec=spec)

    site.cluster.do(add)
    site.cluster.server.denials.append(api.Denial(verb="patch", resource="nodes"))
    findings = site.findings(QUEUE_PROCESSOR_MODE="observe")

    assert {each["status"] for each in findings.values()} == {"ok", "skipped"}
    assert findings["consumers"]["status"] == "skipped"


def test_pods_that_cannot_be_listed_skip_their_checks(site: DoctorSite) -> None:
    site.cluster.server.denials.append(api.Denial(verb="list", resource="pods"))
    findings = site.findings()

    assert failed(findings) == {"permissions"}
    for check in ("lifecycle-hooks", "other-handlers"):
        assert findings[check]["status"] == "skipped"
        assert 'cannot list resource "pods"' in findings[check]["detail"]


def test_a_surprise_is_one_line_and_hides_no_other_finding(site: DoctorSite) -> None:
    def add(made: SimulatedCluster) -> None:
        body = {
            "metadata": {"labels": {"app.kubernetes.io/name": "karpenter"}},
            "spec": {"containers": [{"env": [{"value": "a variable without a name"}]}]},
        }
        made.store.create(resources.PODS, ("default", "odd"), body)

    site.cluster.do(add)
    findings = site.findings()

    assert failed(findings) == {"other-handlers"}
    assert findings["other-handlers"]["detail"] == "unexpected: KeyError('name')"
    assert "report this line" in findings["other-handlers"]["cure"]


# Wrong places.


def test_credentials_that_have_expired_are_one_failure(
    site: DoctorSite, aws_faults: AwsFaults
) -> None:
    with aws_faults.injected(AwsFault.EXPIRED):
        findings = site.findings()

    assert failed(findings) == {"aws-credentials"}
    assert (
        "AWS refuses the credentials: sts:GetCallerIdentity: ExpiredToken"
        in (findings["aws-credentials"]["detail"])
    )
    assert "aws sso login" in findings["aws-credentials"]["cure"]
    assert findings["queue"]["detail"] == "see aws-credentials"


def test_on_a_machine_where_nothing_is_set_up_each_cause_is_one_line() -> None:
    ended = Terminal({}, group="doctor")(
        QUEUE_PROCESSOR_QUEUE_URL="https://sqs.eu-west-1.amazonaws.com/123456789012/queue"
    )
    causes = [line.split(maxsplit=1)[1] for line in ended.out.splitlines() if "failed" in line]

    assert ended.code == FAILED
    assert len(causes) == 2
    assert causes[0].startswith("aws-credentials: no AWS credentials. Cure: give the pod's")
    assert causes[1].startswith("api-server: no Kubernetes cluster: neither in a pod")
    assert ". Cure: set KUBECONFIG" in causes[1]


def test_a_context_that_does_not_exist_is_named(site: DoctorSite, tmp_path: pathlib.Path) -> None:
    site.use_kubeconfig(tmp_path, **{"current-context": "production"})
    findings = site.findings()

    assert failed(findings) == {"api-server"}
    assert "production" in findings["api-server"]["detail"]
    assert "set KUBECONFIG" in findings["api-server"]["cure"]
    assert findings["permissions"]["detail"] == "see api-server"


def test_options_name_the_context_and_the_profile(site: DoctorSite) -> None:
    options = ["--context", "staging", "--profile", "production", "--output", "json"]
    # They change this process, so it is another one.
    with contextlib.closing(Running(options, site.run.environment, group="doctor")) as command:
        code, out, _ = command.ended()
    findings = {each["check"]: each for each in json.loads(out)}

    assert code == FAILED
    assert failed(findings) == {"aws-credentials", "api-server"}
    assert "staging" in findings["api-server"]["detail"]
    assert "production" in findings["aws-credentials"]["detail"]


def test_an_api_server_that_cannot_be_reached_is_named(
    site: DoctorSite, tmp_path: pathlib.Path
) -> None:
    server = {"server": "http://127.0.0.1:1"}
    site.use_kubeconfig(tmp_path, clusters=[{"name": "simulator", "cluster": server}])
    findings = site.findings()

    assert failed(findings) == {"api-server"}
    assert "127.0.0.1" in findings["api-server"]["detail"]
    assert "context simulator" in findings["api-server"]["detail"]
    assert "kubectl version" in findings["api-server"]["cure"]


def test_a_credential_plugin_that_fails_is_named(site: DoctorSite, tmp_path: pathlib.Path) -> None:
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "sh",
        "args": ["-c", "echo the session has expired >&2; exit 7"],
    }
    site.use_kubeconfig(tmp_path, users=[{"name": "simulator", "user": {"exec": plugin}}])
    ended = site.run("--output", "json")
    findings = {each["check"]: each for each in ended.data()}

    assert failed(findings) == {"api-server"}
    assert "exec: process returned 7" in findings["api-server"]["detail"]
    assert "the session has expired" in findings["api-server"]["detail"]
    assert len(ended.err.splitlines()) == 1


# Clocks.


@pytest.fixture
def environment(site: DoctorSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put this process where the site is."""
    assert site.findings()["clock"]["status"] == "ok"
    for name, value in {**NOWHERE, **site.run.environment}.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    ("seconds", "status", "shows"),
    [
        (1, "ok", "like those of AWS and the API server"),
        (-12, "warning", "s behind that of AWS"),
        (12, "warning", "s ahead of that of the API server"),
        (40, "failed", "s ahead of that of AWS"),
        (-40, "failed", "s behind that of the API server"),
    ],
)
async def test_a_clock_that_differs_is_judged_by_how_much(
    seconds: int, status: str, shows: str
) -> None:
    skew = dt.timedelta(seconds=seconds)
    findings = await checks.examine(None, clock=lambda: dt.datetime.now(dt.UTC) + skew)
    finding = findings[CheckName.CLOCK]

    assert finding.status == status
    assert shows in finding.detail
    assert ("synchronize" in finding.cure) is (status != "ok")


def test_every_check_has_a_name_and_every_name_a_check() -> None:
    assert list(checks.CHECKS) == list(CheckName)


def test_the_output_for_programs_is_a_list_of_objects_with_the_same_fields(
    site: DoctorSite,
) -> None:
    data = json.loads(site.run("-o", "json").out)

    assert [each["check"] for each in data] == list(CheckName)
    assert {tuple(each) for each in data} == {("check", "status", "detail", "cure")}
