"""Keeps the fleet of the simulator like the Nodes of a cluster. Only reads."""

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Mapping

from queue_processor.adapters.kube.api import KubeApi
from queue_processor.adapters.kube.transport import JsonObject
from queue_processor.domain import errors, identifiers
from queue_processor.domain.identifiers import NodeName, ProviderId
from queue_processor.domain.nodes import PROTECTED_LABEL
from queue_processor.messages import connection
from queue_processor.retrying import Backoff
from queue_processor.simulator.imds import instances
from queue_processor.simulator.imds.fleet import MetadataFleet
from queue_processor.simulator.imds.instances import SimulatedInstance

_HINT = "; --offline invents the nodes"
_PATH = "/api/v1/nodes"
_ZONE = "topology.kubernetes.io/zone"
_REGION = "topology.kubernetes.io/region"
_ZONE_ID = "topology.k8s.aws/zone-id"
_INSTANCE_TYPE = "node.kubernetes.io/instance-type"
_ARCHITECTURE = "kubernetes.io/arch"
_ARCHITECTURES = {"amd64": "x86_64", "arm64": "arm64"}
# How users, managed node groups of EKS, and Karpenter label them.
_SPOT_LABELS = (
    ("lifecycle", "Ec2Spot"),
    ("eks.amazonaws.com/capacityType", "SPOT"),
    ("karpenter.sh/capacity-type", "spot"),
)


@contextlib.asynccontextmanager
async def connected(fleet: MetadataFleet) -> AsyncIterator["NodeFeed"]:
    """Fill the fleet with the Nodes of the cluster that the environment names.

    Yields:
        What follows their changes.

    Raises:
        ConfigurationError: There is no cluster, or its nodes cannot be listed.
    """
    async with connection.open_cluster(hint=_HINT) as opened:
        feed = NodeFeed(opened.api, fleet)
        await feed.refresh()
        yield feed


class NodeFeed:
    """Lists the Nodes, and then follows their changes."""

    def __init__(self, api: KubeApi, fleet: MetadataFleet) -> None:
        self._api = api
        self._fleet = fleet
        self._version = ""

    async def refresh(self) -> None:
        """Take over a complete list.

        Raises:
            TemporaryError: The list is not available now, as PermanentError means never.
        """
        every = []
        async for page in self._api.pages(_PATH):
            every += [instance_on(node) for node in page["items"]]
            self._version = page["metadata"].get("resourceVersion", "")
        self._fleet.replace_all(every)

    async def run(self) -> None:
        """Follow the changes since the last list, until cancelled."""
        backoff, attempt = Backoff(), 0
        while True:
            attempt += 1
            failure: Exception | None = None
            try:
                if not self._version:
                    await self.refresh()
                query = {"resourceVersion": self._version}
                async with self._api.watch(_PATH, query=query) as events:
                    async for event in events:
                        attempt = 0
                        self._take(event)
            except errors.WatchExpired:
                self._version = ""
            except (errors.TemporaryError, errors.PermanentError) as error:
                failure = error
            if attempt:
                await asyncio.sleep(backoff.after(attempt, failure).total_seconds())

    def _take(self, event: JsonObject) -> None:
        node = event["object"]
        self._version = node["metadata"]["resourceVersion"]
        match event["type"]:
            case "ADDED" | "MODIFIED":
                self._fleet.put(instance_on(node))
            case "DELETED":
                self._fleet.remove(NodeName(node["metadata"]["name"]))
            case _:
                pass


def instance_on(node: JsonObject) -> SimulatedInstance:
    """Return the instance below a Node; what the Node does not state is invented."""
    metadata, spec = node["metadata"], node.get("spec") or {}
    labels: Mapping[str, str] = metadata.get("labels") or {}
    provider_id = ProviderId(spec.get("providerID") or "")
    addresses = {
        each["type"]: each["address"] for each in (node.get("status") or {}).get("addresses") or ()
    }
    made_up = instances.invented(NodeName(metadata["name"]))
    zone = labels.get(_ZONE) or _zone_of(provider_id) or made_up.zone
    private_ip = addresses.get("InternalIP", made_up.private_ip)
    return SimulatedInstance(
        node=made_up.node,
        instance_id=identifiers.find_instance(
            provider_id, labels=labels, annotations=metadata.get("annotations") or {}
        )
        or made_up.instance_id,
        private_ip=private_ip,
        hostname=addresses.get("InternalDNS") or addresses.get("Hostname") or made_up.hostname,
        instance_type=labels.get(_INSTANCE_TYPE, made_up.instance_type),
        region=labels.get(_REGION) or zone[:-1],
        zone=zone,
        zone_id=labels.get(_ZONE_ID),
        public_ip=addresses.get("ExternalIP"),
        public_hostname=addresses.get("ExternalDNS"),
        architecture=_ARCHITECTURES.get(labels.get(_ARCHITECTURE, ""), made_up.architecture),
        is_spot=any(labels.get(key) == value for key, value in _SPOT_LABELS),
        launched_at=_time(metadata.get("creationTimestamp")) or made_up.launched_at,
        is_protected=PROTECTED_LABEL in labels,
    )


def _zone_of(provider_id: ProviderId) -> str | None:
    """Return the zone in `aws:///ZONE/INSTANCE-ID`."""
    if not provider_id.startswith("aws:///"):
        return None
    return provider_id.removeprefix("aws:///").partition("/")[0] or None


def _time(text: str | None) -> dt.datetime | None:
    return None if text is None else dt.datetime.fromisoformat(text)
