"""Find the instances that carry a tag."""

import asyncio
import concurrent.futures
import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING

from queue_processor.adapters.aws import errors as aws_errors
from queue_processor.domain.identifiers import InstanceId

if TYPE_CHECKING:
    from types_boto3_ec2 import EC2Client

_BATCH = 100
_LINGER_SECONDS = 0.02
_TIME_TO_LIVE = dt.timedelta(minutes=5)


class TaggedInstances:
    """Looks tags up in batches, and remembers them for five minutes."""

    def __init__(
        self, client: "EC2Client", *, tag_key: str, threads: concurrent.futures.Executor
    ) -> None:
        self._client = client
        self._tag_key = tag_key
        self._threads = threads
        self._cache: dict[InstanceId, tuple[float, bool]] = {}
        self._pending: dict[InstanceId, asyncio.Future[bool]] = {}
        self._looking: asyncio.Task[None] | None = None

    async def is_managed(self, instance_id: InstanceId) -> bool:
        """Return True for an instance with the tag; a failed call raises, it is not a no."""
        now = asyncio.get_running_loop().time()
        cached = self._cache.get(instance_id)
        if cached is not None and now < cached[0]:
            return cached[1]
        lookup = self._pending.get(instance_id)
        if lookup is None:
            lookup = self._pending[instance_id] = asyncio.get_running_loop().create_future()
            if self._looking is None or self._looking.done():
                self._looking = asyncio.create_task(self._look_up(), name="look up tags")
        return await asyncio.shield(lookup)

    async def _look_up(self) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(_LINGER_SECONDS)
        while self._pending:
            batch = list(self._pending)[:_BATCH]
            lookups = {instance_id: self._pending.pop(instance_id) for instance_id in batch}
            try:
                with aws_errors.translated("describe instances"):
                    tagged = await loop.run_in_executor(self._threads, self._tagged, batch)
            except Exception as error:  # noqa: BLE001 - it is raised where it is awaited
                for future in lookups.values():
                    future.set_exception(error)
                continue
            self._remember(batch, tagged, loop.time())
            for instance_id, future in lookups.items():
                future.set_result(instance_id in tagged)

    def _remember(self, batch: Sequence[InstanceId], tagged: set[str], now: float) -> None:
        self._cache = {
            instance_id: cached for instance_id, cached in self._cache.items() if now < cached[0]
        }
        until = now + _TIME_TO_LIVE.total_seconds()
        self._cache.update({each: (until, each in tagged) for each in batch})

    # In a thread.

    def _tagged(self, instance_ids: Sequence[InstanceId]) -> set[str]:
        # A filter, because one unknown id among InstanceIds fails the whole request.
        pages = self._client.get_paginator("describe_instances").paginate(
            Filters=[
                {"Name": "instance-id", "Values": list(instance_ids)},
                {"Name": "tag-key", "Values": [self._tag_key]},
            ]
        )
        return {
            instance["InstanceId"]
            for page in pages
            for reservation in page["Reservations"]
            for instance in reservation["Instances"]
        }
