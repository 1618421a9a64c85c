"""Logs the evictions that the API server refused: one line for a node and a second.

A budget that allows one pod at a time refuses all others, again and again. A line for each of them
would be most of the log of a storm, and say no more than their number and the reasons.
"""

import asyncio

import structlog

from queue_processor.domain.pods import Eviction, EvictionAnswer, PodRef

_log = structlog.get_logger(__name__)

_GATHERED_SECONDS = 1.0
# Enough to find them; the Events of a node name those that had to be deleted.
_SHOWN = 5


class BlockedEvictionLog:
    """Gathers the refusals of one node."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._pods: dict[tuple[EvictionAnswer, str], list[PodRef]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, pod: PodRef, eviction: Eviction) -> None:
        """Log a refusal within a second, together with others."""
        self._pods.setdefault((eviction.answer, eviction.message), []).append(pod)
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_GATHERED_SECONDS, self._write)

    def _write(self) -> None:
        blocked, self._pods, self._timer = self._pods, {}, None
        _log.info(
            "evictions_blocked",
            node=self._node,
            count=sum(map(len, blocked.values())),
            blocked=[
                {
                    "answer": answer.name.lower(),
                    "response": response,
                    "count": len(pods),
                    "pods": [str(pod) for pod in pods[:_SHOWN]],
                }
                for (answer, response), pods in blocked.items()
            ],
        )
