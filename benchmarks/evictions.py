"""Evict all pods, so many at a time, when a line arrives; a process of `benchmarks.baseline`.

It prints a line when it is ready, and at the end the seconds of CPU time since the line arrived.
"""

import asyncio
import sys
import time
from collections.abc import Sequence

from queue_processor.adapters.kube import connection
from queue_processor.adapters.kube.api import KubeApi
from queue_processor.adapters.kube.pods import KubePods, view_of
from queue_processor.domain.pods import EvictionAnswer, PodRef
from tests.cluster import manifests


async def _main(at_once: int) -> None:
    connected = await connection.connect()
    try:
        api = KubeApi(connected.transport)
        listed = await api.list(f"/api/v1/namespaces/{manifests.NAMESPACE}/pods", query={})
        refs = [view_of(pod).ref for pod in listed["items"]]
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()
        before = time.process_time()
        await _evict_all(KubePods(api), refs, at_once)
        sys.stdout.write(f"{time.process_time() - before}\n")
    finally:
        await connected.close()


async def _evict_all(pods: KubePods, refs: Sequence[PodRef], at_once: int) -> None:
    slots = asyncio.Semaphore(at_once)

    async def evict(pod: PodRef) -> None:
        async with slots:
            eviction = await pods.evict(pod)
        if eviction.answer is not EvictionAnswer.ACCEPTED:
            raise RuntimeError(f"{pod}: {eviction}")

    await asyncio.gather(*(evict(pod) for pod in refs))


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1])))
