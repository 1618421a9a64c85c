"""Each check fails for its fault, alone, and passes once the cure that it prints is applied."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping

import pytest

from queue_processor.simulator.kube import api, manifests, objects, resources
from queue_processor.simulator.kube.cluster import SimulatedCluster
from tests.doctor.conftest import GROUP, LEASE, DoctorSite, lease

Deed = Callable[[DoctorSite], object]

RIGHT = {"ok", "skipped"}
OTHER_ACCOUNT = "210987654321"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fault:
    """Something that is wrong.

    Attributes:
        shows: A part of the cause that is printed.
        cure: A part of the cure that is printed, which `mend` applies.
    """

    check: str
    status: str
    shows: str
    cure: str
    damage: Deed
    mend: Deed


def variables(**changes: str) -> Deed:
    return lambda site: site.run.environment.update(changes)


def without(*names: str) -> Deed:
    def remove(site: DoctorSite) -> None:
        for name in names:
            site.run.environment.pop(name, None)

    return remove


def attribute(name: str, value: str) -> Deed:
    return lambda site: site.set_attribute(name, value)


def redrive(count: int) -> Deed:
    def set_count(site: DoctorSite) -> None:
        target = site.dead_letters_arn
        policy = {"deadLetterTargetArn": target, "maxReceiveCount": count}
        site.set_attribute("RedrivePolicy", json.dumps(policy))

    return set_count


def url_with(old: str, new: str) -> Deed:
    def change(site: DoctorSite) -> None:
        variable = "QUEUE_PROCESSOR_QUEUE_URL"
        site.run.environment[variable] = site.run.environment[variable].replace(old, new)

    return change


def in_region(region: str) -> Deed:
    def change(site: DoctorSite) -> None:
        path = site.url.split("/", 3)[3]
        site.run.environment["QUEUE_PROCESSOR_QUEUE_URL"] = (
            f"https://sqs.{region}.amazonaws.com/{path}"
        )

    return change


def senders(principal: object) -> Deed:
    def allow(site: DoctorSite) -> None:
        site.set_policy(
            {
                "Effect": "Allow",
                "Principal": principal,
                "Action": "sqs:SendMessage",
                "Resource": site.arn,
            }
        )

    return allow


def forget_a_rule(site: DoctorSite) -> None:
    """Take the rule for Spot interruptions out of the queue policy."""
    policy = json.loads(json.dumps(site.policy))
    arns = policy["Statement"][0]["Condition"]["ArnEquals"]["aws:SourceArn"]
    arns[:] = [arn for arn in arns if "SpotInterruption" not in arn]
    site.set_attribute("Policy", json.dumps(policy))


def untarget(*parts: str) -> Deed:
    def remove(site: DoctorSite) -> None:
        for part in parts:
            site.events.remove_targets(Rule=site.rule(part), Ids=["queue"])

    return remove


def target(*parts: str) -> Deed:
    def put(site: DoctorSite) -> None:
        for part in parts:
            site.events.put_targets(
                Rule=site.rule(part), Targets=[{"Id": "queue", "Arn": site.arn}]
            )

    return put


ALL_RULES = (
    "SpotInterruption",
    "Rebalance",
    "CapacityReservation",
    "StateChange",
    "AutoscalingTermination",
    "AutoscalingLaunch",
    "ScheduledChange",
)


def hook(seconds: int) -> Deed:
    return lambda site: site.autoscaling.put_lifecycle_hook(
        AutoScalingGroupName=GROUP,
        LifecycleHookName="hook-TERMINATING",
        LifecycleTransition="autoscaling:EC2_INSTANCE_TERMINATING",
        HeartbeatTimeout=seconds,
    )


def in_cluster(change: Callable[[SimulatedCluster], object]) -> Deed:
    return lambda site: site.cluster.do(change)


def pod(name: str, label: str, **environment: str) -> Deed:
    """Add the pod of another program."""

    def add(made: SimulatedCluster) -> None:
        spec = manifests.PodSpec(labels={"app.kubernetes.io/name": label})
        stored = made.add_pod(name, namespace="kube-system", node="node-0", spec=spec)
        env = [{"name": key, "value": value} for key, value in environment.items()]
        (container,) = stored.spec["containers"]
        containers = {"containers": [{**container, "env": env}]}
        made.store.update(stored, stored.body | {"spec": stored.spec | containers})

    return in_cluster(add)


def gone(resource: resources.Resource, namespace: str, name: str) -> Deed:
    def remove(made: SimulatedCluster) -> None:
        stored = made.store.get(resource, namespace, name)
        assert stored is not None
        made.store.remove(stored)

    return in_cluster(remove)


def labelled(name: str, **labels: str) -> Deed:
    def change(made: SimulatedCluster) -> None:
        node = made.store.node(name)
        assert node is not None
        metadata = {**node.metadata, "labels": {**node.metadata["labels"], **labels}}
        made.store.update(node, node.body | {"metadata": metadata})

    return in_cluster(change)


def leads(namespace: str) -> Deed:
    def create(made: SimulatedCluster) -> objects.Stored:
        return made.store.create(resources.LEASES, (namespace, LEASE), lease("pod-b"))

    return in_cluster(create)


def denied(verb: str, resource: str) -> Deed:
    return lambda site: site.cluster.server.denials.append(api.Denial(verb=verb, resource=resource))


def all_granted(site: DoctorSite) -> None:
    site.cluster.server.denials.clear()


def both(*deeds: Deed) -> Deed:
    def do(site: DoctorSite) -> None:
        for deed in deeds:
            deed(site)

    return do


def take_a_message(site: DoctorSite) -> None:
    """Receive a message, as another program does."""
    site.send("{}")
    site.sqs.receive_message(QueueUrl=site.url)


KARPENTERS_NODE = labelled("node-0", **{"karpenter.sh/nodepool": "default"})
KARPENTERS_KINDS = (
    "SPOT_INTERRUPTION",
    "CAPACITY_RESERVATION_INTERRUPTION",
    "STATE_CHANGE",
    "SCHEDULED_CHANGE",
)

FAULTS: Mapping[str, Fault] = {
    "a setting": Fault(
        check="settings",
        status="failed",
        shows="log.level: 'loud' is not allowed",
        cure="correct them",
        damage=variables(QUEUE_PROCESSOR_LOG__LEVEL="loud"),
        mend=variables(QUEUE_PROCESSOR_LOG__LEVEL="info"),
    ),
    "a template": Fault(
        check="webhooks",
        status="failed",
        shows="webhooks.0.template: /nonexistent/ours.j2: cannot be read",
        cure="correct the template",
        damage=variables(
            QUEUE_PROCESSOR_WEBHOOKS='[{"url": "https://a.invalid/s3cr3t",'
            ' "template": "/nonexistent/ours.j2"}]'
        ),
        mend=variables(
            QUEUE_PROCESSOR_WEBHOOKS='[{"url": "https://a.invalid/s3cr3t", "template": "slack"}]'
        ),
    ),
    "a profile": Fault(
        check="aws-credentials",
        status="failed",
        shows="The config profile (production) could not be found",
        cure="check AWS_PROFILE",
        damage=variables(AWS_PROFILE="production"),
        mend=without("AWS_PROFILE"),
    ),
    "a queue of another account": Fault(
        check="aws-account",
        status="failed",
        shows=f"are of account 123456789012, and the queue is in {OTHER_ACCOUNT}",
        cure="correct queue_url",
        damage=url_with("123456789012", OTHER_ACCOUNT),
        mend=url_with(OTHER_ACCOUNT, "123456789012"),
    ),
    "another Region": Fault(
        check="aws-region",
        status="failed",
        shows="AWS_REGION is us-east-1, and the queue is in eu-west-1",
        cure="unset AWS_REGION, or set it to eu-west-1",
        damage=in_region("eu-west-1"),
        mend=in_region("us-east-1"),
    ),
    "a queue that does not exist": Fault(
        check="queue",
        status="failed",
        shows="there is no queue",
        cure="check queue_url",
        damage=lambda site: variables(QUEUE_PROCESSOR_QUEUE_URL=f"{site.url}-missing")(site),
        mend=lambda site: variables(QUEUE_PROCESSOR_QUEUE_URL=site.url)(site),
    ),
    "no dead-letter queue": Fault(
        check="dead-letter-queue",
        status="warning",
        shows="the queue has none",
        cure="give the queue a redrive policy",
        damage=attribute("RedrivePolicy", ""),
        mend=redrive(50),
    ),
    "a dead-letter queue that is deleted": Fault(
        check="dead-letter-queue",
        status="failed",
        shows=", which does not exist",
        cure="create it",
        damage=lambda site: site.sqs.delete_queue(QueueUrl=site.dead_letters_url),
        mend=lambda site: site.sqs.create_queue(QueueName=site.dead_letters_url.rpartition("/")[2]),
    ),
    "few receives": Fault(
        check="max-receive-count",
        status="warning",
        shows="it is 2",
        cure="set maxReceiveCount of the redrive policy to 50",
        damage=redrive(2),
        mend=redrive(50),
    ),
    "a short retention": Fault(
        check="retention",
        status="warning",
        shows="SQS deletes messages after 1 hour,",
        cure="set MessageRetentionPeriod to 1209600",
        damage=attribute("MessageRetentionPeriod", "3600"),
        mend=attribute("MessageRetentionPeriod", "1209600"),
    ),
    "no encryption": Fault(
        check="encryption",
        status="warning",
        shows="not encrypted",
        cure="set SqsManagedSseEnabled to true",
        damage=attribute("SqsManagedSseEnabled", "false"),
        mend=attribute("SqsManagedSseEnabled", "true"),
    ),
    "a key that EventBridge may not use": Fault(
        check="encryption",
        status="failed",
        shows="EventBridge cannot send to a queue with the key alias/aws/sqs",
        cure="use a KMS key of your own",
        damage=attribute("KmsMasterKeyId", "alias/aws/sqs"),
        mend=attribute("KmsMasterKeyId", "arn:aws:kms:us-east-1:123456789012:key/1234"),
    ),
    "no policy": Fault(
        check="queue-policy",
        status="failed",
        shows="does not allow EventBridge to send",
        cure="allow events.amazonaws.com sqs:SendMessage",
        damage=attribute("Policy", ""),
        mend=DoctorSite.set_policy,
    ),
    "a policy for everybody": Fault(
        check="queue-policy",
        status="failed",
        shows="it allows * to send without a condition",
        cure="remove the statement",
        damage=senders("*"),
        mend=DoctorSite.set_policy,
    ),
    "a policy for an account": Fault(
        check="queue-policy",
        status="warning",
        shows="it allows arn:aws:iam::123456789012:root to send without a condition",
        cure="remove the statement",
        damage=senders({"AWS": "arn:aws:iam::123456789012:root"}),
        mend=DoctorSite.set_policy,
    ),
    "no rule": Fault(
        check="event-rules",
        status="failed",
        shows="no rule of the default event bus",
        cure="deploy infra/cloudformation/queue-processor.yaml",
        damage=untarget(*ALL_RULES),
        mend=target(*ALL_RULES),
    ),
    "a disabled rule": Fault(
        check="event-rules",
        status="failed",
        shows="disabled: ",
        cure="aws events enable-rule --name ",
        damage=lambda site: site.events.disable_rule(Name=site.rule("StateChange")),
        mend=lambda site: site.events.enable_rule(Name=site.rule("StateChange")),
    ),
    "a policy that forgets a rule": Fault(
        check="event-rules",
        status="failed",
        shows="the queue policy does not allow",
        cure="add to aws:SourceArn in the queue policy: arn:aws:events:",
        damage=forget_a_rule,
        mend=DoctorSite.set_policy,
    ),
    "no rule for rebalance recommendations": Fault(
        check="event-patterns",
        status="warning",
        shows="no rule matches rebalance_recommendation",
        cure="set the actions of these kinds (actions.<kind>) to ignore",
        damage=untarget("Rebalance"),
        mend=variables(QUEUE_PROCESSOR_ACTIONS__REBALANCE_RECOMMENDATION="ignore"),
    ),
    "no rule for launches": Fault(
        check="event-patterns",
        status="warning",
        shows=f"no rule matches autoscaling_launch of {GROUP}",
        cure="deploy infra/cloudformation/queue-processor.yaml",
        damage=untarget("AutoscalingLaunch"),
        mend=target("AutoscalingLaunch"),
    ),
    "a pod that takes longer than its hook": Fault(
        check="lifecycle-hooks",
        status="warning",
        shows="workers waits 60 s for a heartbeat, and default/slow may take 600 s",
        cure="set the heartbeat timeout of the hook to 600 s or more",
        damage=both(
            in_cluster(
                lambda made: made.add_pod(
                    "slow", node="node-1", spec=manifests.PodSpec(grace_seconds=600)
                )
            ),
            hook(60),
        ),
        mend=hook(600),
    ),
    "a group without a hook": Fault(
        check="lifecycle-hooks",
        status="warning",
        shows="workers has no lifecycle hook for terminations",
        cure="deploy infra/cloudformation/lifecycle-hooks.yaml with AutoScalingGroupNames=workers",
        damage=lambda site: site.autoscaling.delete_lifecycle_hook(
            AutoScalingGroupName=GROUP, LifecycleHookName="hook-TERMINATING"
        ),
        mend=hook(300),
    ),
    "a permission that it needs": Fault(
        check="permissions",
        status="failed",
        shows="not allowed: patch nodes",
        cure="apply the roles in deploy/ for `mode: drain`",
        damage=denied("patch", "nodes"),
        mend=all_granted,
    ),
    "a permission that it can do without": Fault(
        check="permissions",
        status="warning",
        shows="not allowed: create events.events.k8s.io",
        cure="apply the roles in deploy/ for `mode: drain`",
        damage=denied("create", "events"),
        mend=all_granted,
    ),
    "a node without an instance": Fault(
        check="nodes",
        status="warning",
        shows="1 of 3 nodes name no EC2 instance, so that no event can be matched to them: bare",
        cure="alpha.eksctl.io/instance-id=",
        damage=in_cluster(lambda made: made.add_node("bare", instance_id="no-instance")),
        mend=labelled("bare", **{"alpha.eksctl.io/instance-id": "i-0123456789abcdef0"}),
    ),
    "another consumer": Fault(
        check="consumers",
        status="warning",
        shows="no operator leads here, but 1 messages are in flight",
        cure="stop the other consumer",
        damage=both(gone(resources.LEASES, "queue-processor", LEASE), take_a_message),
        mend=leads("queue-processor"),
    ),
    "no operator": Fault(
        check="consumers",
        status="warning",
        shows="no operator leads, so nobody receives events",
        cure="start the operator",
        damage=gone(resources.LEASES, "queue-processor", LEASE),
        mend=leads("queue-processor"),
    ),
    "two operators": Fault(
        check="consumers",
        status="warning",
        shows="pod-b in default",
        cure="remove all but one",
        damage=leads("default"),
        mend=gone(resources.LEASES, "default", LEASE),
    ),
    "NTH": Fault(
        check="other-handlers",
        status="warning",
        shows="aws-node-termination-handler in kube-system drains the same nodes",
        cure="remove it",
        damage=pod("nth", "aws-node-termination-handler"),
        mend=gone(resources.PODS, "kube-system", "nth"),
    ),
    "NTH on the same queue": Fault(
        check="other-handlers",
        status="failed",
        shows="aws-node-termination-handler in kube-system reads this very queue",
        cure="or remove it",
        damage=lambda site: pod("nth", "aws-node-termination-handler", QUEUE_URL=site.url)(site),
        mend=gone(resources.PODS, "kube-system", "nth"),
    ),
    "Karpenter for the same nodes": Fault(
        check="other-handlers",
        status="warning",
        shows="karpenter in kube-system handles interruptions of its nodes, too",
        cure="set actions.spot_interruption, ",
        damage=both(KARPENTERS_NODE, pod("k", "karpenter", INTERRUPTION_QUEUE="its-own")),
        mend=variables(
            **{f"QUEUE_PROCESSOR_ACTIONS__{kind}": "ignore" for kind in KARPENTERS_KINDS}
        ),
    ),
}


def wrong(findings: Mapping[str, Mapping[str, str]]) -> set[str]:
    return {name for name, each in findings.items() if each["status"] not in RIGHT}


def lines(finding: Mapping[str, str]) -> Iterator[str]:
    yield from (finding["detail"], finding["cure"])


def test_an_installation_where_all_is_right_has_nothing_to_cure(site: DoctorSite) -> None:
    findings = site.findings()

    assert wrong(findings) == set()
    # The URL of the simulated queue shows no Region.
    assert {name for name, each in findings.items() if each["status"] == "skipped"} == {
        "aws-region"
    }
    assert all(each["detail"] and not each["cure"] for each in findings.values())


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_fails_its_check_alone_until_its_cure_is_applied(
    site: DoctorSite, name: str
) -> None:
    fault = FAULTS[name]
    fault.damage(site)
    damaged = site.findings()
    finding = damaged[fault.check]

    assert wrong(damaged) == {fault.check}
    assert finding["status"] == fault.status
    assert fault.shows in finding["detail"]
    assert fault.cure in finding["cure"]
    assert all("\n" not in line and "s3cr3t" not in line for line in lines(finding))

    fault.mend(site)

    assert wrong(site.findings()) == set()


def test_karpenter_may_handle_nodes_that_are_not_ours(site: DoctorSite) -> None:
    pod("karpenter", "karpenter", INTERRUPTION_QUEUE="its-own")(site)
    KARPENTERS_NODE(site)
    selected = site.findings(QUEUE_PROCESSOR_NODE_SELECTOR="!karpenter.sh/nodepool")

    assert wrong(selected) == set()


def test_a_cluster_none_of_whose_nodes_names_an_instance_fails(site: DoctorSite) -> None:
    for number in range(4):
        in_cluster(lambda made, number=number: made.add_node(f"bare-{number}", instance_id="none"))(  # type: ignore[misc]
            site
        )
    selector = "kubernetes.io/hostname in (bare-0,bare-1,bare-2,bare-3)"
    finding = site.findings(QUEUE_PROCESSOR_NODE_SELECTOR=selector)["nodes"]

    assert finding["status"] == "failed"
    assert "4 of 4 nodes" in finding["detail"]
    assert "bare-0, bare-1, bare-2, …" in finding["detail"]


def test_every_fault_of_a_check_is_in_its_line(site: DoctorSite) -> None:
    site.events.disable_rule(Name=site.rule("StateChange"))
    forget_a_rule(site)
    finding = site.findings()["event-rules"]

    assert "disabled: " in finding["detail"]
    assert "the queue policy does not allow" in finding["detail"]
    assert "enable-rule" in finding["cure"]
    assert "aws:SourceArn" in finding["cure"]


def test_every_wrong_setting_is_in_the_line_and_the_cluster_is_checked_all_the_same(
    site: DoctorSite,
) -> None:
    findings = site.findings(
        QUEUE_PROCESSOR_LOG__LEVEL="loud", QUEUE_PROCESSOR_NODE_SELECTOR="a in ("
    )

    assert "log.level" in findings["settings"]["detail"]
    assert "node_selector" in findings["settings"]["detail"]
    assert findings["api-server"]["status"] == "ok"
    assert findings["queue"] == {
        "check": "queue",
        "status": "skipped",
        "detail": "see settings",
        "cure": "",
    }


def test_without_a_queue_nothing_of_aws_is_checked(site: DoctorSite) -> None:
    without("QUEUE_PROCESSOR_QUEUE_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")(site)
    findings = site.findings(QUEUE_PROCESSOR_SOURCES__NOTICES__ENABLED="true")

    assert wrong(findings) == set()
    assert findings["aws-credentials"]["detail"] == "these settings need nothing from AWS"
    assert findings["nodes"]["status"] == "ok"
