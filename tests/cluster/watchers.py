"""Watchers of instance metadata as processes, and the instance metadata that they poll."""

import asyncio
import os
import pathlib
import shutil
import sys
import urllib.parse
from collections.abc import Mapping

from queue_processor.domain import notices
from queue_processor.domain.events import EventKind
from queue_processor.simulator.demo.metadata import SimulatedMetadata
from queue_processor.simulator.imds.announcements import Announcement
from tests.cluster import plane, world

_NAMESPACE = "watchers"
_ACCOUNT = "watcher"
WATCHER_USER = f"system:serviceaccount:{_NAMESPACE}:{_ACCOUNT}"


class WatchedNodes:
    """Nodes with instance metadata, and a process on each that watches it.

    The processes have one account with the role of the chart's watcher. Its admission policy has
    tests of its own.
    """

    def __init__(
        self, cluster: world.World, folder: pathlib.Path, *, poll_seconds: int = 1
    ) -> None:
        self._cluster = cluster
        self._folder = folder
        self._poll_seconds = poll_seconds
        self._metadata: SimulatedMetadata | None = None
        self._access: plane.Access | None = None
        self._processes: dict[str, asyncio.subprocess.Process] = {}

    async def start(self, instances: Mapping[str, str]) -> None:
        """Serve the metadata of nodes, by name and instance id, and start their watchers."""
        self._metadata = SimulatedMetadata(instances)
        await self._metadata.start()
        self._access = await self._make_account()
        for node in instances:
            await self.watch(node)

    @property
    def process_ids(self) -> list[int]:
        """The ids of the processes."""
        return [process.pid for process in self._processes.values()]

    async def close(self) -> None:
        """End everything."""
        for node in tuple(self._processes):
            await self.kill(node)
        if self._metadata is not None:
            await self._metadata.stop()

    def announce(self, node: str, kind: EventKind, *, is_cancelled: bool = False) -> str:
        """Announce something to the instance of a node; return what identifies it."""
        assert self._metadata is not None
        return self._metadata.announce(node, Announcement(kind=kind, is_cancelled=is_cancelled))

    async def watch(self, node: str) -> None:
        """Start the watcher of a node."""
        assert self._access is not None
        assert self._metadata is not None
        account = self._folder / "account"
        if not account.exists():
            account.mkdir()
            (account / "token").write_text(self._access.token, encoding="ascii")
            shutil.copy(self._access.ca_file, account / "ca.crt")
        server = urllib.parse.urlsplit(self._access.server)
        self._processes[node] = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "queue_processor.watcher",
            env={
                "PATH": os.environ["PATH"],
                "NODE_NAME": node,
                "IMDS_ENDPOINT": f"{self._metadata.url}/nodes/{node}",
                "POLL_SECONDS": str(self._poll_seconds),
                "KUBERNETES_SERVICE_HOST": str(server.hostname),
                "KUBERNETES_SERVICE_PORT": str(server.port),
                "SERVICE_ACCOUNT_FOLDER": str(account),
                "HEARTBEAT_FILE": str(self._folder / f"{node}.heartbeat"),
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )

    async def kill(self, node: str) -> None:
        """End the watcher of a node as SIGKILL does."""
        process = self._processes.pop(node)
        if process.returncode is None:
            process.kill()
        await process.wait()

    async def until_settled(self, *nodes: str) -> None:
        """Wait until no notice is on any of the nodes."""

        async def settled() -> bool:
            return not any([await self.notices_on(node) for node in nodes])

        await self._cluster.until(settled)

    async def until_written(self, *nodes: str) -> None:
        """Wait until each of the nodes has a notice."""

        async def written() -> bool:
            return all([await self.notices_on(node) for node in nodes])

        await self._cluster.until(written)

    async def notices_on(self, node: str) -> set[str]:
        """Return the names of the annotations with notices."""
        found = await self._cluster.node(node)
        annotations = {} if found is None else found["metadata"].get("annotations", {})
        return {name for name in annotations if name.startswith(notices.ANNOTATION_PREFIX)}

    async def _make_account(self) -> plane.Access:
        await self._cluster.make_namespace(_NAMESPACE)
        role = f"{_NAMESPACE}-{_ACCOUNT}"
        group = "rbac.authorization.k8s.io"
        await self._cluster.apply(
            [
                {
                    "apiVersion": "v1",
                    "kind": "ServiceAccount",
                    "metadata": {"name": _ACCOUNT, "namespace": _NAMESPACE},
                },
                {
                    "apiVersion": f"{group}/v1",
                    "kind": "ClusterRole",
                    "metadata": {"name": role},
                    "rules": [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["patch"]}],
                },
                {
                    "apiVersion": f"{group}/v1",
                    "kind": "ClusterRoleBinding",
                    "metadata": {"name": role},
                    "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": role},
                    "subjects": [
                        {"kind": "ServiceAccount", "name": _ACCOUNT, "namespace": _NAMESPACE}
                    ],
                },
            ]
        )
        answer = await self._cluster.api.post(
            f"/api/v1/namespaces/{_NAMESPACE}/serviceaccounts/{_ACCOUNT}/token",
            {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}},
        )
        return self._cluster.plane.access(answer["status"]["token"])
