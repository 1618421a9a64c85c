import pytest

from queue_processor.domain import identifiers
from queue_processor.domain.identifiers import ProviderId


@pytest.mark.parametrize(
    ("text", "instance_id"),
    [
        ("i-1234567890abcdef0", "i-1234567890abcdef0"),
        ("i-abcd1111", "i-abcd1111"),
        ("arn:aws:ec2:us-east-1:123456789012:instance/i-1234567890abcdef0", "i-1234567890abcdef0"),
        ("arn:aws-cn:ec2:cn-north-1:123456789012:instance/i-abcd1111", "i-abcd1111"),
        ("arn:aws-us-gov:ec2:us-gov-west-1:123456789012:instance/i-abcd1111", "i-abcd1111"),
        ("arn:aws:ec2:::instance/i-abcd1111", "i-abcd1111"),
    ],
)
def test_an_instance_id_is_read_bare_or_from_an_arn(text: str, instance_id: str) -> None:
    assert identifiers.parse_instance_id(text) == instance_id


@pytest.mark.parametrize(
    "text",
    [
        "",
        "i-",
        "i-1234567",
        "i-1234567890abcdef01",
        "i-ABCD1111",
        "i-abcd111g",
        "i-abcd1111 ",
        "i-abcd1111\n",
        " i-abcd1111",
        "i-abcd111\N{ARABIC-INDIC DIGIT ONE}",
        "mi-1234567890abcdef0",
        "vol-1234567890abcdef0",
        "[Instance ID]",
        "arn:aws:ec2:us-east-1:123456789012:volume/vol-1234567890abcdef0",
        "arn:aws:ec2:us-east-1:123456789012:instance/i-abcd1111/extra",
        "arn:aws:ssm:us-east-1:123456789012:managed-instance/mi-abcd1111",
        "arn:aws:ecs:us-east-1:123456789012:instance/i-abcd1111",
    ],
)
def test_what_names_no_instance_is_no_instance_id(text: str) -> None:
    assert identifiers.parse_instance_id(text) is None


@pytest.mark.parametrize(
    ("provider_id", "instance_id"),
    [
        ("aws:///us-east-1a/i-1234567890abcdef0", "i-1234567890abcdef0"),
        ("aws:///i-abcd1111", "i-abcd1111"),
        ("i-abcd1111", "i-abcd1111"),
        ("aws:///us-east-1a/6a8f1e9c-2b/fargate-ip-10-0-0-1.us-east-1.compute.internal", None),
        ("eks-hybrid:///us-east-1/workers/mi-1234567890abcdef0", None),
        ("kind://docker/kind/kind-worker", None),
        ("aws:///us-east-1a/", None),
        ("", None),
    ],
)
def test_a_node_names_its_instance_in_the_last_segment_of_its_provider_id(
    provider_id: str, instance_id: str | None
) -> None:
    assert identifiers.instance_of(ProviderId(provider_id)) == instance_id


@pytest.mark.parametrize(
    ("queue_url", "account"),
    [
        ("https://sqs.eu-west-1.amazonaws.com/123456789012/queue", "123456789012"),
        ("http://127.0.0.1:4566/123456789012/queue", "123456789012"),
        ("https://queues.invalid/proxy/queue", None),
        ("https://queues.invalid/queue", None),
        (None, None),
    ],
)
def test_the_account_of_a_queue_is_in_its_url(queue_url: str | None, account: str | None) -> None:
    assert identifiers.account_of(queue_url) == account


ID, OTHER_ID = "i-1234567890abcdef0", "i-abcd1111"
LABEL = {"alpha.eksctl.io/instance-id": ID}


def _registered(text: str) -> dict[str, str]:
    return {"csi.volume.kubernetes.io/nodeid": text}


@pytest.mark.parametrize(
    ("provider_id", "labels", "annotations", "instance_id"),
    [
        (f"aws:///us-east-1a/{ID}", {}, {}, ID),
        (f"aws:///us-east-1a/{OTHER_ID}", LABEL, {}, OTHER_ID),
        ("k3s://worker", LABEL, _registered(f'{{"ebs.csi.aws.com": "{OTHER_ID}"}}'), ID),
        ("", {}, _registered(f'{{"efs.csi.aws.com": "x", "ebs.csi.aws.com": "{ID}"}}'), ID),
        ("k3s://worker", {"alpha.eksctl.io/instance-id": "worker"}, {}, None),
        ("", {}, _registered(f'{{"efs.csi.aws.com": "{ID}"}}'), None),
        ("", {}, _registered('{"ebs.csi.aws.com": 7}'), None),
        ("", {}, _registered('["ebs.csi.aws.com"]'), None),
        ("", {}, _registered("{"), None),
        ("", {}, _registered("[" * 100_000), None),
        ("", {}, {}, None),
    ],
)
def test_the_instance_is_in_the_provider_id_else_a_label_else_the_ebs_registration(
    provider_id: str, labels: dict[str, str], annotations: dict[str, str], instance_id: str | None
) -> None:
    found = identifiers.find_instance(
        ProviderId(provider_id), labels=labels, annotations=annotations
    )
    assert found == instance_id


@pytest.mark.parametrize(
    ("provider_id", "labels"),
    [
        ("aws:///eu-west-1a/6a8f1e9c-2b/fargate-ip-10-0-0-1.eu-west-1.compute.internal", {}),
        ("", {"eks.amazonaws.com/compute-type": "fargate"}),
        ("eks-hybrid:///eu-west-1/workers/mi-1234567890abcdef0", {}),
    ],
)
def test_fargate_and_hybrid_nodes_are_not_on_ec2(provider_id: str, labels: dict[str, str]) -> None:
    assert identifiers.is_outside_ec2(ProviderId(provider_id), labels=labels)


@pytest.mark.parametrize(
    ("provider_id", "labels"),
    [("", {"eks.amazonaws.com/compute-type": "ec2"}), ("k3s://worker", {}), ("", {})],
)
def test_any_other_node_may_be_on_ec2(provider_id: str, labels: dict[str, str]) -> None:
    assert not identifiers.is_outside_ec2(ProviderId(provider_id), labels=labels)
