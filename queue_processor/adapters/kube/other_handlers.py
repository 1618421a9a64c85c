"""Finds pods of other programs that handle the same interruptions."""

import dataclasses
import enum
from collections.abc import Sequence

from queue_processor.adapters.kube.api import KubeApi
from queue_processor.adapters.kube.transport import JsonObject

_NAME_LABEL = "app.kubernetes.io/name"


class OtherHandler(enum.StrEnum):
    """The programs; the value is the name in the labels that their charts set."""

    NTH = "aws-node-termination-handler"
    KARPENTER = "karpenter"


# The variables with the queue that they read: NTH has a URL, Karpenter a name.
# https://github.com/aws/aws-node-termination-handler/blob/main/config/helm/aws-node-termination-handler/templates/deployment.yaml
# https://karpenter.sh/docs/reference/settings/
_QUEUE_VARIABLES = frozenset({"QUEUE_URL", "INTERRUPTION_QUEUE"})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class OtherHandlerPod:
    """A pod of such a program.

    Attributes:
        queue: The URL or the name of the queue that it reads; empty if it reads none.
    """

    handler: OtherHandler
    namespace: str
    name: str
    queue: str

    @property
    def queue_name(self) -> str:
        """The name of the queue, which is the last part of a URL."""
        return self.queue.rpartition("/")[2]


async def other_handler_pods(api: KubeApi) -> Sequence[OtherHandlerPod]:
    """Return the pods of other handlers, in all namespaces."""
    selector = f"{_NAME_LABEL} in ({', '.join(OtherHandler)})"
    listed = await api.list("/api/v1/pods", query={"labelSelector": selector})
    return [_pod(body) for body in listed["items"]]


def _pod(body: JsonObject) -> OtherHandlerPod:
    metadata = body["metadata"]
    queues = (
        variable.get("value") or ""
        for container in body["spec"].get("containers") or []
        for variable in container.get("env") or []
        if variable["name"] in _QUEUE_VARIABLES
    )
    return OtherHandlerPod(
        handler=OtherHandler(metadata["labels"][_NAME_LABEL]),
        namespace=metadata["namespace"],
        name=metadata["name"],
        queue=next(queues, ""),
    )
