"""The cluster of a contract test, besides the port that it tests."""

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
    """A cluster of one kind, reached in one way, without objects of other tests.

    The operator has the permissions that its roles grant; everything else the administrator does.
    """

    @property
    def wire(self) -> Wire:
        """The operator's transport, which records requests and responses."""

    @property
    def api(self) -> KubeApi:
        """The operator's requests, over the wire."""

    @property
    def admin(self) -> Administrator:
        """Creates, changes and reads objects with all permissions."""

    def clock(self) -> dt.datetime:
        """Return the time of the cluster."""

    async def add_node(
        self,
        name: str = "",
        *,
        labels: Mapping[str, str] | None = None,
        instance_id: str = "",
        is_ready: bool = True,
    ) -> str:
        """Add a node that only the test changes; return its name.

        Args:
            name: Its name; empty for a new one.
            labels: Labels beside those that all nodes have.
            instance_id: Its EC2 instance; empty for a new one.
            is_ready: The condition Ready that its kubelet reports.
        """

    async def add_daemon_pod(self, node: str) -> None:
        """Run a pod of a DaemonSet `agent`, with our labels, on a node."""

    def paused_budget_controller(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Pause the controller of disruption budgets."""

    async def expired_version(self) -> str:
        """Return a resourceVersion of pods that is older than the server's history."""

    async def expired_page(self, token: str) -> str:
        """Return the continue token as it would be with a resourceVersion that is too old."""
