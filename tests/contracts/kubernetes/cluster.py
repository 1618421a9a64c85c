"""What a contract test needs of a cluster, besides the port that it tests."""

import contextlib
import datetime as dt
from collections.abc import Mapping
from typing import Protocol

from queue_processor.adapters.kube.api import KubeApi
from tests.contracts.kubernetes.administrator import Administrator
from tests.contracts.kubernetes.wire import Wire

OPERATOR_NAMESPACE = "queue-processor"
LEASE_NAME = "queue-processor"


class Cluster(Protocol):
    """A cluster of one kind, reached in one way, and with nothing of other tests in it.

    The operator has the rights that it has in a real cluster; what it has no right to do there,
    the administrator does.
    """

    @property
    def wire(self) -> Wire:
        """What the operator's requests go through, for looking at them as they went."""

    @property
    def api(self) -> KubeApi:
        """The operator's requests, over the wire."""

    @property
    def admin(self) -> Administrator:
        """Arranges what is in the cluster, and looks at it."""

    def clock(self) -> dt.datetime:
        """The present, as the cluster has it."""

    async def add_node(
        self,
        name: str = "",
        *,
        labels: Mapping[str, str] | None = None,
        instance_id: str = "",
        is_ready: bool = True,
    ) -> str:
        """Add a node that nothing but the tests will change; its name.

        Args:
            name: Its name; a new one without it.
            labels: Its labels, besides those that all nodes have.
            instance_id: The instance that it is; a new one without it.
            is_ready: What its kubelet says.
        """

    async def add_daemon_pod(self, node: str) -> None:
        """Let a DaemonSet called `agent` run its pod, with our labels, on a node."""

    def budgets_unattended(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Let the controller of disruption budgets hang for a while."""

    async def forgotten_version(self) -> str:
        """A resourceVersion of pods from which the server cannot tell what happened."""

    async def forgotten_page(self, token: str) -> str:
        """The continue token with which that page would be asked for, were it long ago."""
