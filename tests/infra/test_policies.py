"""The statements of all policies in the templates, beyond what linters check."""

import ast
import pathlib
from collections.abc import Iterator
from typing import Any

import pytest

from queue_processor.adapters import aws as aws_adapters
from queue_processor.simulator.aws import simulator
from tests.infra import templates

# The key of the stack: without this statement, which is the default of AWS, nobody could manage it.
# https://docs.aws.amazon.com/kms/latest/developerguide/key-policy-default.html
_ACCOUNT_MANAGES_ITS_KEY = ("Key", "AccountManages")


@pytest.fixture(scope="module", params=templates.VARIANTS)
def resources(aws: simulator.AwsSimulator, request: pytest.FixtureRequest) -> dict[str, Any]:
    parameters, template = templates.VARIANTS[request.param]
    return templates.rendered(aws, parameters, template)


@pytest.fixture(scope="module")
def everything(aws: simulator.AwsSimulator) -> dict[str, Any]:
    return templates.rendered(aws, templates.EVERYTHING)


def listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def allowing(resources: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, statement in templates.policies(resources):
        if statement["Effect"] == "Allow":
            yield name, statement


def trust_of(resources: dict[str, Any], role: str) -> dict[str, Any]:
    document = resources[role]["Properties"]["AssumeRolePolicyDocument"]
    (statement,) = document["Statement"]
    found: dict[str, Any] = statement
    return found


def test_no_principal_is_everybody_without_a_condition(resources: dict[str, Any]) -> None:
    for name, statement in templates.policies(resources):
        if "*" in str(statement.get("Principal")):
            assert statement["Effect"] == "Deny", name
            assert statement["Condition"], name


def test_no_service_is_let_in_without_a_condition(resources: dict[str, Any]) -> None:
    for name, statement in allowing(resources):
        if "Service" in statement.get("Principal", {}):
            keys = {key for kind in statement["Condition"].values() for key in kind}
            assert keys & {
                "aws:SourceArn",
                "aws:SourceAccount",
                "aws:RequestTag/eks-cluster-arn",
            }, name


def test_no_allowed_action_has_a_wildcard(resources: dict[str, Any]) -> None:
    for name, statement in allowing(resources):
        if (name, statement.get("Sid")) != _ACCOUNT_MANAGES_ITS_KEY:
            assert not any("*" in action for action in listed(statement["Action"])), name


def test_only_actions_without_resource_level_permissions_are_allowed_on_all(
    resources: dict[str, Any],
) -> None:
    """In the policy of a key, `*` means the key."""
    for name, statement in allowing(resources):
        if name != "Key" and "*" in listed(statement.get("Resource", [])):
            assert set(listed(statement["Action"])) <= {
                "autoscaling:DescribeAutoScalingGroups",
                "autoscaling:DescribeLifecycleHooks",
                "ec2:DescribeInstances",
            }
            assert statement["Condition"]


def test_both_queues_take_only_what_the_rules_and_the_topic_send(
    everything: dict[str, Any],
) -> None:
    rules = [name for name, made in everything.items() if made["Type"] == "AWS::Events::Rule"]
    for policy in ("QueuePolicy", "DeadLetterQueuePolicy"):
        senders = dict[str, Any]()
        for statement in everything[policy]["Properties"]["PolicyDocument"]["Statement"]:
            if statement["Effect"] == "Allow":
                assert statement["Action"] == "sqs:SendMessage"
                (condition,) = statement["Condition"].items()
                senders[statement["Principal"]["Service"]] = condition
        kind, arns = senders["events.amazonaws.com"]
        assert kind == "ArnEquals"
        assert len(arns["aws:SourceArn"]) == len(rules) == 8
        for name in rules:
            assert any(f":rule/queue-processor-{name}-" in arn for arn in arns["aws:SourceArn"])
        kind, arns = senders["sns.amazonaws.com"]
        assert kind == "ArnEquals"
        assert ":queue-processor-NotificationTopic-" in arns["aws:SourceArn"]


def test_the_queue_of_the_observer_takes_only_what_the_rules_send(
    everything: dict[str, Any],
) -> None:
    rules, denial, _ = everything["ObserverQueuePolicy"]["Properties"]["PolicyDocument"][
        "Statement"
    ]
    of_queue = everything["QueuePolicy"]["Properties"]["PolicyDocument"]["Statement"][0]
    assert rules["Principal"] == {"Service": "events.amazonaws.com"}
    assert rules["Condition"] == of_queue["Condition"]
    assert (denial["Effect"], denial["Principal"]) == ("Deny", "*")
    assert denial["Condition"] == {"BoolIfExists": {"aws:PrincipalIsAWSService": "false"}}


def test_an_observer_changes_nothing_but_its_queues(everything: dict[str, Any]) -> None:
    allowed = {
        statement["Sid"]: (listed(statement["Action"]), statement["Resource"])
        for name, statement in allowing(everything)
        if name == "ObserverPolicy"
    }
    queue, dead_letters = (
        f"arn:aws:sqs:us-east-1:123456789012:prod-observed-{name}"
        for name in ("events", "dead-letters")
    )
    assert allowed.keys() == {"ReadQueue", "PutAside", "LookUp", "UseKey"}
    assert allowed["ReadQueue"][1] == queue
    assert allowed["PutAside"] == (["sqs:SendMessage"], dead_letters)
    assert all(action.partition(":")[2].startswith("Describe") for action in allowed["LookUp"][0])


def test_by_default_there_is_no_observer(aws: simulator.AwsSimulator) -> None:
    made = templates.rendered(aws, {})

    assert not [name for name in made if name.startswith("Observer")]
    for resource in made.values():
        if resource["Type"] == "AWS::Events::Rule":
            assert [target["Id"] for target in resource["Properties"]["Targets"]] == ["queue"]


def test_without_a_topic_no_topic_may_send(aws: simulator.AwsSimulator) -> None:
    made = templates.rendered(aws, {})

    assert "sns.amazonaws.com" not in str(list(templates.policies(made)))


def test_queues_and_topic_refuse_whoever_does_not_use_tls(everything: dict[str, Any]) -> None:
    for policy, action in (
        ("QueuePolicy", "sqs:*"),
        ("DeadLetterQueuePolicy", "sqs:*"),
        ("ObserverQueuePolicy", "sqs:*"),
        ("ObserverDeadLetterQueuePolicy", "sqs:*"),
        ("NotificationTopicPolicy", "sns:Publish"),
    ):
        statements = everything[policy]["Properties"]["PolicyDocument"]["Statement"]
        (denial,) = (s for s in statements if s.get("Sid") == "OnlyTls")
        assert (denial["Principal"], denial["Action"]) == ("*", action)
        assert denial["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


ACCOUNTS = {"OperatorRole": "queue-processor", "ObserverRole": "queue-processor-observer"}


@pytest.mark.parametrize("role", ACCOUNTS)
def test_with_irsa_only_the_service_account_gets_the_role(
    everything: dict[str, Any], role: str
) -> None:
    trust = trust_of(everything, role)

    issuer = templates.OIDC_PROVIDER.partition("oidc-provider/")[2]
    assert trust["Principal"] == {"Federated": templates.OIDC_PROVIDER}
    assert trust["Action"] == "sts:AssumeRoleWithWebIdentity"
    assert trust["Condition"] == {
        "StringEquals": {
            f"{issuer}:aud": "sts.amazonaws.com",
            f"{issuer}:sub": f"system:serviceaccount:queue-processor:{ACCOUNTS[role]}",
        }
    }


@pytest.mark.parametrize(
    ("role", "association"),
    [
        ("OperatorRole", "PodIdentityAssociation"),
        ("ObserverRole", "ObserverPodIdentityAssociation"),
    ],
)
def test_with_pod_identity_only_the_service_account_of_the_cluster_gets_the_role(
    aws: simulator.AwsSimulator, role: str, association: str
) -> None:
    made = templates.rendered(aws, templates.POD_IDENTITY)

    trust = trust_of(made, role)
    assert trust["Principal"] == {"Service": "pods.eks.amazonaws.com"}
    assert trust["Condition"]["StringEquals"] == {
        "aws:RequestTag/eks-cluster-arn": "arn:aws:eks:us-east-1:123456789012:cluster/prod",
        "aws:RequestTag/kubernetes-namespace": "queue-processor",
        "aws:RequestTag/kubernetes-service-account": ACCOUNTS[role],
    }
    associated = made[association]["Properties"]
    assert f":role/queue-processor-{role}-" in associated["RoleArn"]
    assert associated["ClusterName"] == "prod"
    assert (associated["Namespace"], associated["ServiceAccount"]) == (
        "queue-processor",
        ACCOUNTS[role],
    )


def test_the_replay_role_is_for_whom_the_parameter_names(everything: dict[str, Any]) -> None:
    trust = trust_of(everything, "ReplayRole")

    assert trust["Principal"]["AWS"] == templates.EVERYTHING["ReplayPrincipalArns"].split(",")


def asked_by_people() -> set[str]:
    """Yield the actions of the queue tools, from their `needs_permission`."""
    found = set()
    folder = pathlib.Path(aws_adapters.__file__).parent
    # The permissions of `doctor` are in docs/doctor.md: it runs with those of its user.
    for path in (folder / "eventbus.py", folder / "queue.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Attribute(attr="needs_permission"), args=[action, *_]):
                    found.add(ast.literal_eval(action))
    return found


def test_the_replay_role_may_do_what_the_commands_for_people_ask_and_no_more(
    everything: dict[str, Any],
) -> None:
    allowed = {
        action
        for name, statement in allowing(everything)
        if name == "ReplayRole" and "Resource" in statement
        for action in listed(statement["Action"])
    }

    # The queue asks for the key in the name of whoever reads or sends.
    assert allowed - {"kms:Decrypt", "kms:GenerateDataKey"} == asked_by_people()


def test_lifecycle_actions_may_be_completed_only_for_the_groups_of_the_pattern(
    everything: dict[str, Any],
) -> None:
    (statement,) = (
        statement
        for name, statement in allowing(everything)
        if name == "OperatorPolicy" and statement["Sid"] == "LetGroupsGoOn"
    )

    assert statement["Resource"] == (
        "arn:aws:autoscaling:us-east-1:123456789012:autoScalingGroup:*:autoScalingGroupName/eks-*"
    )


def test_without_a_managed_tag_no_permission_of_ec2_is_asked_for(
    aws: simulator.AwsSimulator,
) -> None:
    made = templates.rendered(aws, {})

    assert "ec2:" not in str(list(templates.policies(made)))


def test_what_could_not_be_delivered_goes_to_the_dead_letter_queue(
    everything: dict[str, Any],
) -> None:
    dead_letters = "arn:aws:sqs:us-east-1:123456789012:prod-dead-letters"
    for made in everything.values():
        if made["Type"] == "AWS::Events::Rule":
            target, copy = made["Properties"]["Targets"]
            assert target["DeadLetterConfig"] == {"Arn": dead_letters}
            assert 60 <= target["RetryPolicy"]["MaximumEventAgeInSeconds"] <= 86_400
            assert copy["RetryPolicy"] == target["RetryPolicy"]
    subscription = everything["NotificationSubscription"]["Properties"]
    assert subscription["RedrivePolicy"] == {"deadLetterTargetArn": dead_letters}
