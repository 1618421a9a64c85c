"""A node that tests of the domain begin with."""

from queue_processor.domain.identifiers import InstanceId, NodeName
from queue_processor.domain.nodes import NodeView

NODE = NodeView(
    name=NodeName("node-1"),
    uid="uid-1",
    resource_version="1",
    instance_id=InstanceId("i-1234567890abcdef0"),
    is_ready=True,
    is_unschedulable=False,
    taints=(),
)
