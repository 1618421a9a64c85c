"""The fleet of the simulator follows the Nodes of a cluster."""

import asyncio
import copy

import pytest

from queue_processor.domain.identifiers import NodeName
from queue_processor.imds import nodes
from queue_processor.simulator.imds import instances
from tests.imds import conftest
from tests.imds.following import following

NODE = {
    "metadata": {
        "name": "ip-10-0-1-7.ec2.internal",
        "creationTimestamp": "2026-11-01T10:00:00Z",
        "labels": {
            "kubernetes.io/arch": "arm64",
            "node.kubernetes.io/instance-type": "m7g.large",
            "topology.kubernetes.io/region": "eu-west-1",
            "topology.kubernetes.io/zone": "eu-west-1c",
            "topology.k8s.aws/zone-id": "euw1-az2",
            "karpenter.sh/capacity-type": "spot",
        },
    },
    "spec": {"providerID": "aws:///eu-west-1c/i-0123456789abcdef0"},
    "status": {
        "addresses": [
            {"type": "InternalIP", "address": "10.0.1.7"},
            {"type": "ExternalIP", "address": "203.0.113.7"},
            {"type": "InternalDNS", "address": "ip-10-0-1-7.eu-west-1.compute.internal"},
            {"type": "Hostname", "address": "ip-10-0-1-7"},
            {"type": "ExternalDNS", "address": "ec2-203-0-113-7.compute.amazonaws.com"},
        ]
    },
}


def test_values_come_from_the_node() -> None:
    values = nodes.instance_on(NODE).values()

    expected = {
        "instance-id": "i-0123456789abcdef0",
        "instance-type": "m7g.large",
        "instance-life-cycle": "spot",
        "local-hostname": "ip-10-0-1-7.eu-west-1.compute.internal",
        "local-ipv4": "10.0.1.7",
        "public-hostname": "ec2-203-0-113-7.compute.amazonaws.com",
        "public-ipv4": "203.0.113.7",
        "placement/availability-zone": "eu-west-1c",
        "placement/availability-zone-id": "euw1-az2",
        "placement/region": "eu-west-1",
    }
    assert {path: values[path] for path in expected} == expected


def test_the_document_has_what_the_values_have_not() -> None:
    document = nodes.instance_on(NODE).identity_document()

    assert '"architecture" : "arm64"' in document
    assert '"pendingTime" : "2026-11-01T10:00:00Z"' in document


@pytest.mark.parametrize(
    ("key", "value"), [("lifecycle", "Ec2Spot"), ("eks.amazonaws.com/capacityType", "SPOT")]
)
def test_a_spot_node_has_a_label_of_its_kind(key: str, value: str) -> None:
    labelled = {"metadata": {"name": "node", "labels": {key: value}}}
    unlabelled = {"metadata": {"name": "node"}}

    assert nodes.instance_on(labelled).is_spot
    assert not nodes.instance_on(unlabelled).is_spot


def test_what_a_node_does_not_state_is_invented() -> None:
    bare = nodes.instance_on({"metadata": {"name": "kwok-1"}, "spec": {"providerID": "kwok://1"}})
    made_up = instances.invented(NodeName("kwok-1"))

    assert bare.instance_id == made_up.instance_id
    assert bare.private_ip == made_up.private_ip


pytestmark = pytest.mark.looptime


async def test_the_first_list_has_every_node() -> None:
    async with following() as followed:
        assert followed.fleet.size == 6
        assert followed.instance_id("node-5") == conftest.instance(5)
        assert followed.fleet.instance_of(NodeName("node-5")).is_protected


async def test_a_node_that_joins_has_metadata() -> None:
    async with following() as followed:
        followed.world.add_node("late", instance_id="i-0000000000000abcd")

        await followed.until(lambda: followed.instance_id("late") == "i-0000000000000abcd")


async def test_a_node_that_leaves_has_none() -> None:
    async with following() as followed:
        followed.world.remove_node("node-0")

        await followed.until(lambda: followed.instance_id() is None)


async def test_a_label_protects_a_node_from_now_on() -> None:
    async with following() as followed:
        stored = followed.world.store.node("node-0")
        assert stored is not None
        labelled = copy.deepcopy(stored.body)
        labelled["metadata"]["labels"][conftest.PROTECTED] = ""
        followed.world.store.update(stored, labelled)

        await followed.until(lambda: followed.fleet.instance_of(NodeName("node-0")).is_protected)


async def test_nothing_is_missed_while_the_cluster_is_away() -> None:
    async with following() as followed:
        followed.transport.cut()
        followed.world.remove_node("node-0")
        followed.world.add_node("node-0", instance_id="i-0000000000000abcd")
        followed.world.remove_node("node-1")
        # The version that the watch would go on from is not kept any more.
        followed.world.compact()
        await asyncio.sleep(60)
        followed.transport.is_reachable = True

        await followed.until(lambda: followed.instance_id() == "i-0000000000000abcd")
        assert followed.instance_id("node-1") is None
