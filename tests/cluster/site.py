"""The real control plane, a simulated AWS, and operators as processes."""

import datetime as dt
import pathlib
from collections.abc import Mapping

from queue_processor.domain import aws_events
from queue_processor.domain.events import LifecycleTransition
from queue_processor.simulator.aws import events, lifecycle, simulator, stacks
from tests import operators
from tests.cluster import audit, history, world
from tests.cluster.manifests import JsonObject

_NOTICE = dt.timedelta(seconds=120)


class Site(operators.Operators):
    """A cluster, a queue, and operators under the account that deploy/ makes.

    Attributes:
        world: The cluster, for its administrator.
        history: What became of nodes and pods, once it watches.
        audit: What the operators have asked the API server for.
        aws: Where events come from and messages lie.
    """

    def __init__(
        self,
        cluster: world.World,
        *,
        aws: simulator.AwsSimulator,
        stack: stacks.Stack,
        folder: pathlib.Path,
        kubeconfig: pathlib.Path,
    ) -> None:
        super().__init__(folder)
        self.world = cluster
        self.history = history.History(cluster.api)
        self.audit = audit.AuditLog(cluster.plane.audit_log, world.OPERATOR_USER)
        self.aws = aws
        self._stack = stack
        self._kubeconfig = kubeconfig

    def environment(self) -> Mapping[str, str]:
        """The variables of an operator that works here."""
        namespace, _ = world.OPERATOR
        return {
            **self.aws.environment(),
            "KUBECONFIG": str(self._kubeconfig),
            "QUEUE_PROCESSOR_QUEUE_URL": self._stack.queue_url,
            "QUEUE_PROCESSOR_SOURCES__NOTICES__ENABLED": "true",
            "QUEUE_PROCESSOR_LEADER_ELECTION__NAMESPACE": namespace,
        }

    async def lead(self, **variables: str) -> operators.OperatorProcess:
        """Start an operator and wait until it leads."""
        operator = await self.start(**variables)
        await self.until(lambda: bool(operator.logged("leadership_acquired")))
        return operator

    # What happens.

    def interrupt(self, instance_id: str, *, leaves: float = _NOTICE.total_seconds()) -> None:
        """Send a Spot interruption warning for an instance that goes in so many seconds."""
        sent_at = dt.datetime.now(dt.UTC) - _NOTICE + dt.timedelta(seconds=leaves)
        self.aws.put_event(
            aws_events.spot_interruption(instance_id, origin=events.new_origin(time=sent_at))
        )

    def stop(self, instance_id: str) -> None:
        """Send the word that an instance has stopped."""
        self.aws.put_event(
            aws_events.state_change(instance_id, "stopped", origin=events.new_origin())
        )

    def hold(self, *instance_ids: str) -> None:
        """Put running instances into an Auto Scaling group with a hook for terminations."""
        hook = lifecycle.SimulatedLifecycleHook("workers", "drain", LifecycleTransition.TERMINATING)
        self.aws.create_auto_scaling_group("workers", instance_ids, [hook])

    # What there is.

    def is_settled(self) -> bool:
        """True if the queue and the dead-letter queue are empty."""
        queue_url = self._stack.queue_url
        return not self.aws.queue_state(queue_url).total and not self.aws.dead_letters(queue_url)

    async def holder(self) -> str:
        """The holder of the Lease; empty when nobody holds it."""
        namespace, name = world.OPERATOR
        path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}"
        lease = await self.world.get(path)
        return "" if lease is None else lease["spec"].get("holderIdentity") or ""

    async def event_reasons_on(self, kind: str, name: str) -> list[str]:
        """The reasons of the Events about an object, sorted."""
        found: list[JsonObject] = await self.world.items("/apis/events.k8s.io/v1/events")
        return sorted(
            event["reason"]
            for event in found
            if (event["regarding"].get("kind"), event["regarding"].get("name")) == (kind, name)
            and event["reportingController"] == "queue-processor"
        )
