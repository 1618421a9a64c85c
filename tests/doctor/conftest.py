import contextlib
import datetime as dt
import json
import pathlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from queue_processor.domain.events import LifecycleTransition
from queue_processor.simulator.aws import lifecycle, simulator, stacks
from queue_processor.simulator.aws.faults import AwsFaults
from queue_processor.simulator.kube import manifests, objects, resources
from queue_processor.simulator.kube.cluster import SimulatedCluster
from tests.messages.conftest import CliHarness, Terminal, ThreadedCluster

if TYPE_CHECKING:
    from types_boto3_autoscaling import AutoScalingClient
    from types_boto3_events import EventBridgeClient

GROUP = "workers"
LEASE = "queue-processor"


def lease(holder: str) -> objects.JsonObject:
    """The body of a Lease that its holder has just renewed."""
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {
        "metadata": {},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15, "renewTime": now},
    }


class DoctorSite(CliHarness):
    """An installation where everything is right."""

    def __init__(
        self,
        aws: simulator.AwsSimulator,
        stack: stacks.Stack,
        terminal: Terminal,
        cluster: ThreadedCluster,
    ) -> None:
        super().__init__(aws, stack, terminal)
        self.arn = stack.queue_arn
        self.dead_letters_arn = stack.dead_letter_queue_arn
        self.cluster = cluster
        self.events: EventBridgeClient = aws.session.client("events", endpoint_url=aws.endpoint_url)
        self.autoscaling: AutoScalingClient = aws.session.client(
            "autoscaling", endpoint_url=aws.endpoint_url
        )
        instance_ids = aws.launch(2)
        hooks = [
            lifecycle.SimulatedLifecycleHook(
                GROUP, f"hook-{transition.name}", transition, dt.timedelta(minutes=5)
            )
            for transition in LifecycleTransition
        ]
        aws.create_auto_scaling_group(GROUP, instance_ids, hooks)
        self.policy = json.loads(self.attribute("Policy"))
        terminal.environment |= cluster.environment()

        def build(made: SimulatedCluster) -> None:
            for number, instance_id in enumerate(instance_ids):
                made.add_node(f"node-{number}", instance_id=instance_id)
            made.add_pod("web", node="node-0", spec=manifests.PodSpec(grace_seconds=30))
            made.add_namespace("queue-processor")
            made.store.create(resources.LEASES, ("queue-processor", LEASE), lease("pod-a"))

        cluster.do(build)

    def findings(self, *arguments: str, **variables: str) -> Mapping[str, Mapping[str, str]]:
        """Run `doctor`, and return what it prints for programs, by check."""
        data = self.run("--output", "json", *arguments, **variables).data()
        return {finding["check"]: finding for finding in data}

    def attribute(self, name: Any) -> str:  # noqa: ANN401 boto3 wants literals
        """Return an attribute of the queue."""
        answer = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=[name])
        return answer["Attributes"][name]

    def set_attribute(self, name: Any, value: str) -> None:  # noqa: ANN401 boto3 wants literals
        """Set an attribute of the queue; an empty text removes it."""
        self.sqs.set_queue_attributes(QueueUrl=self.url, Attributes={name: value})

    def set_policy(self, *statements: Mapping[str, object]) -> None:
        """Add statements to the policy that the queue had at first."""
        document = {**self.policy, "Statement": [*self.policy["Statement"], *statements]}
        self.set_attribute("Policy", json.dumps(document))

    def rule(self, part: str) -> str:
        """Return the name of the rule whose name has this part."""
        names = [rule["Name"] for rule in self.events.list_rules()["Rules"]]
        (name,) = [name for name in names if part in name]
        return name

    def use_kubeconfig(self, folder: pathlib.Path, **changes: object) -> None:
        """Use another kubeconfig, which differs in some fields from that of the cluster."""
        path = folder / "other-kubeconfig"
        body = json.loads(self.cluster.kubeconfig.read_text())
        path.write_text(json.dumps(body | changes))
        self.run.environment["KUBECONFIG"] = str(path)

    def close(self) -> None:
        """Close the clients, and reset AWS for the next test."""
        self.events.close()
        self.autoscaling.close()
        super().close()


@pytest.fixture(autouse=True)
def _log_is_reset() -> Iterator[None]:
    """The command sends the log to the stderr of its own test."""
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="module")
def aws_faults() -> AwsFaults:
    return AwsFaults()


@pytest.fixture(scope="module")
def running_aws(aws_faults: AwsFaults) -> Iterator[simulator.AwsSimulator]:
    with simulator.AwsSimulator(around=aws_faults.around) as aws:
        yield aws


@pytest.fixture
def site(running_aws: simulator.AwsSimulator, tmp_path: pathlib.Path) -> Iterator[DoctorSite]:
    terminal = Terminal({}, group="doctor")
    with ThreadedCluster.running(tmp_path) as cluster:
        made = DoctorSite(running_aws, running_aws.deploy(), terminal, cluster)
        with contextlib.closing(made):
            yield made
