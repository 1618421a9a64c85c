"""Long lists, in a simulated cluster only: in a real one they take long to create."""

from queue_processor.adapters.kube.nodes import KubeNodes, NodeReader
from queue_processor.adapters.kube.pods import KubePods
from queue_processor.domain import selectors
from queue_processor.domain.identifiers import NodeName
from tests.contracts.kubernetes.simulated import SimulatedTarget


async def test_over_five_hundred_nodes_are_listed_in_pages(simulation: SimulatedTarget) -> None:
    for number in range(1, 502):
        simulation.cluster.add_node(f"node-{number:03}", instance_id=f"i-{number:017x}")
    reader = NodeReader(selectors.parse(""))
    port = KubeNodes(simulation.api, reader=reader, clock=simulation.clock)
    names = [node.name async for node in port.all()]

    assert names == [f"node-{number:03}" for number in range(1, 502)]
    assert [call.query["limit"] for call in simulation.wire.calls] == ["200", "200", "200"]


async def test_over_a_thousand_pods_of_a_node_are_one_list(simulation: SimulatedTarget) -> None:
    node = NodeName(await simulation.add_node())
    for number in range(1_001):
        simulation.cluster.add_pod(f"web-{number}", node=node)

    assert len((await KubePods(simulation.api).on_node(node)).pods) == 1_001
    assert len(simulation.wire.calls) == 1


async def test_the_pods_of_several_nodes_are_listed_in_pages(simulation: SimulatedTarget) -> None:
    names = [NodeName(await simulation.add_node()) for _ in range(3)]
    for number in range(501):
        simulation.cluster.add_pod(f"web-{number}", node=names[number % 3])

    lists = await KubePods(simulation.api).on_nodes(names[:2])

    assert [len(lists[name].pods) for name in names[:2]] == [167, 167]
    assert [call.query["limit"] for call in simulation.wire.calls] == ["200", "200", "200"]
