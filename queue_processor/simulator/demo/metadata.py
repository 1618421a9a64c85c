"""Instance metadata of the nodes of a scenario: its server, and a log of the notices on Nodes."""

import dataclasses
import datetime as dt
from collections.abc import Mapping, Sequence

from queue_processor.domain import notices
from queue_processor.domain.events import EventKind
from queue_processor.domain.identifiers import InstanceId, NodeName
from queue_processor.simulator.aws.records import MessageEnding, MessageRecord
from queue_processor.simulator.demo.results import SentMessage
from queue_processor.simulator.demo.scenario import PlannedMessage
from queue_processor.simulator.imds import instances
from queue_processor.simulator.imds.announcements import Announcement, NodeAnnouncement
from queue_processor.simulator.imds.control import ControlApi
from queue_processor.simulator.imds.fleet import MetadataFleet
from queue_processor.simulator.imds.http import MetadataServer
from queue_processor.simulator.imds.service import MetadataService, TokenPolicy
from queue_processor.simulator.kube import objects, resources, store
from queue_processor.simulator.kube.cluster import SimulatedCluster

_LOOPBACK = "127.0.0.1"


class SimulatedMetadata:
    """Serves instance metadata, and announces interruptions there."""

    def __init__(self, instance_ids: Mapping[str, str]) -> None:
        """Start nothing yet; `instance_ids` are by the names of their nodes."""
        self._instance_ids = instance_ids
        self._fleet = MetadataFleet(())
        self._server = MetadataServer(
            MetadataService(self._fleet, token_policy=TokenPolicy.REQUIRED),
            ControlApi(self._fleet, now=_now, on_announced=lambda _: None),
        )
        self.url = ""

    async def start(self) -> None:
        """Serve the metadata of all nodes."""
        for node, instance_id in self._instance_ids.items():
            instance = instances.invented(NodeName(node))
            self._fleet.put(dataclasses.replace(instance, instance_id=InstanceId(instance_id)))
        self.url = f"http://{_LOOPBACK}:{await self._server.start(_LOOPBACK, 0)}"

    async def stop(self) -> None:
        """Stop serving."""
        await self._server.stop()

    def announce(self, node: str, announcement: Announcement) -> str:
        """Announce something to the instance of a node; return its id or time."""
        order = NodeAnnouncement(node=NodeName(node), announcement=announcement)
        return self._fleet.announce(order, now=_now())

    def send(self, planned: PlannedMessage) -> SentMessage:
        """Announce a planned interruption."""
        (node,) = planned.nodes
        assert isinstance(planned.kind, EventKind)  # noqa: S101 - noise is for queues
        announcement = Announcement(kind=planned.kind)
        at = _now()
        identity = self.announce(node, announcement)
        is_change = planned.kind is EventKind.SCHEDULED_CHANGE
        annotation = notices.annotation_name(
            planned.kind, change_id=identity if is_change else None
        )
        has_deadline = is_change or planned.kind is EventKind.SPOT_INTERRUPTION
        return SentMessage(
            planned=planned,
            mark=_notice_id(node, annotation),
            announced_at=at,
            deadline=announcement.takes_place_at(at) if has_deadline else None,
        )


class NoticeLog:
    """Records when each notice was written on a Node, and when it was removed."""

    def __init__(self, cluster: SimulatedCluster) -> None:
        self._records: dict[str, MessageRecord] = {}
        self._now = cluster.store.now
        cluster.store.observe(self._on_change)

    @property
    def records(self) -> Sequence[MessageRecord]:
        """All notices so far, with the Node as their queue."""
        return tuple(self._records.values())

    @property
    def remaining_count(self) -> int:
        """Count the notices that are on Nodes now."""
        return sum(record.ended_at is None for record in self._records.values())

    def _on_change(self, change: store.Change) -> None:
        if change.resource is not resources.NODES:
            return
        before = frozenset() if change.before is None else _notices_on(change.before)
        after = _notices_on(change.after)
        for annotation in after - before:
            key = _notice_id(change.after.name, annotation)
            body = change.after.metadata["annotations"][annotation]
            self._records[key] = MessageRecord(message_id=key, body=body, sent_at=self._now())
        for annotation in before - after:
            key = _notice_id(change.after.name, annotation)
            self._records[key] = dataclasses.replace(
                self._records[key], ended_at=self._now(), ending=MessageEnding.DELETED
            )


def _notices_on(node: objects.Stored) -> frozenset[str]:
    annotations = node.metadata.get("annotations") or {}
    return frozenset(name for name in annotations if name.startswith(notices.ANNOTATION_PREFIX))


def _notice_id(node: str, annotation: str) -> str:
    return f"{node}/{annotation}"


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
