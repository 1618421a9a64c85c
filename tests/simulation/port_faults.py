"""One proxy for all ports: it stands at each of them, and lets calls go wrong.

`behind` makes the proxy of a port from the methods of its protocol, so a port with one more method
needs no other line here.
"""

import asyncio
import collections
import contextlib
import dataclasses
import inspect
import types
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar, cast

from queue_processor.controller import ports
from queue_processor.domain import errors
from queue_processor.domain.pods import PodChange, PodList
from tests.simulation.scenario import Fault, FaultKind

_Port = TypeVar("_Port")

_WRAPPED: dict[str, type] = {
    "nodes": ports.Nodes,
    "pods": ports.Pods,
    "volumes": ports.Volumes,
    "leases": ports.Leases,
    "lifecycle": ports.LifecycleActions,
}


@dataclasses.dataclass(slots=True)
class _Pending:
    """A fault that has not hit all of its calls."""

    fault: Fault
    left: int
    until: float = float("inf")


class PortFaults:
    """The faults of the calls of one process.

    Attributes:
        counts: How many calls went wrong, by kind.
    """

    def __init__(
        self,
        faults: Iterable[Fault],
        *,
        note: Callable[[str], None],
        on_answer: Callable[[object, object], None],
        may_arrive: Callable[[], bool],
    ) -> None:
        """Build the proxy of one process.

        Args:
            faults: Those of the scenario.
            note: Takes a line for each call that goes wrong.
            on_answer: Takes the first argument and the answer of each call.
            may_arrive: False once a request that is on its way must not have an effect any more.
        """
        self.may_arrive = may_arrive
        self.on_answer = on_answer
        self.counts: collections.Counter[FaultKind] = collections.Counter()
        self._note = note
        self._pending = [_Pending(fault, fault.times) for fault in faults]

    def add(self, fault: Fault, *, until: float) -> None:
        """Let more calls go wrong, but only until a time."""
        self._pending.insert(0, _Pending(fault, fault.times, until))

    def heal(self) -> None:
        """Let every call go right from now on."""
        self._pending.clear()

    def take(self, call: str) -> Fault | None:
        """Return the fault that hits a call, and count it."""
        now = asyncio.get_running_loop().time()
        for pending in self._pending:
            fault = pending.fault
            if fault.call == call and fault.at <= now < pending.until and pending.left:
                pending.left -= 1
                self.counts[fault.kind] += 1
                self._note(f"fault at {call}: {fault.kind}")
                return fault
        return None

    def wrapped(self, dependencies: ports.Dependencies) -> ports.Dependencies:
        """Return dependencies whose calls can go wrong."""
        wrapped = {
            field: behind(getattr(dependencies, field), protocol, self)
            for field, protocol in _WRAPPED.items()
        }
        return dataclasses.replace(dependencies, **wrapped)


def behind(port: _Port, protocol: type, faults: PortFaults) -> _Port:
    """Return a proxy of a port, through which every call can go wrong."""
    methods: dict[str, Callable[..., object]] = {}
    for name in _names(protocol):
        call, method = f"{protocol.__name__}.{name}", getattr(port, name)
        is_call = inspect.iscoroutinefunction(vars(protocol)[name])
        methods[name] = (_call_behind if is_call else _watch_behind)(call, method, faults)
    return replaced(port, protocol, **methods)


def replaced(port: _Port, protocol: type, **methods: Callable[..., object]) -> _Port:
    """Return a proxy of a port, some of whose methods are others."""
    members = {name: getattr(port, name) for name in _names(protocol)}
    # It has all that the protocol has, which no type checker can see.
    return cast("_Port", types.SimpleNamespace(**{**members, **methods}))


def _names(protocol: type) -> list[str]:
    return [name for name in vars(protocol) if not name.startswith("_")]


def _call_behind(
    call: str, method: Callable[..., Coroutine[Any, Any, Any]], faults: PortFaults
) -> Callable[..., Coroutine[Any, Any, object]]:
    earlier: dict[object, PodList] = {}

    async def through(*args: object, **options: object) -> object:
        fault = faults.take(call)
        if fault is not None and fault.kind is FaultKind.STALE:
            stale = earlier.get(args[0])
            if stale is not None and _is_recent_enough(stale, options.get("not_before")):
                return stale
            fault = None
        answer = await _with_fault(fault, call, faults, lambda: method(*args, **options))
        if isinstance(answer, PodList):
            earlier[args[0]] = answer
        faults.on_answer(args[0] if args else None, answer)
        return answer

    return through


def _is_recent_enough(stale: PodList, not_before: object) -> bool:
    """Return True if the API server may answer with the list; without a version it reads anew."""
    return isinstance(not_before, str) and int(stale.version) >= int(not_before)


async def _with_fault(
    fault: Fault | None,
    call: str,
    faults: PortFaults,
    method: Callable[[], Coroutine[Any, Any, Any]],
) -> object:
    if fault is None:
        return await method()
    error: Exception = errors.TemporaryError(f"{call}: {fault.kind}")
    match fault.kind:
        case FaultKind.ERROR:
            raise error
        case FaultKind.HANG:
            await asyncio.sleep(fault.seconds)
            raise error
        case FaultKind.CONFLICT:
            raise errors.Conflict(f"{call}: {fault.kind}")
        case FaultKind.REFUSED:
            raise errors.PermanentError(f"{call}: {fault.kind}")
        case FaultKind.LOST_REPLY:
            await method()
            raise error
        case FaultKind.TWICE:
            await method()
        case FaultKind.DELAY if call == "Pods.evict":
            return await _on_its_way(fault, faults, method)
        case _:
            await asyncio.sleep(fault.seconds)
    return await method()


async def _on_its_way(
    fault: Fault, faults: PortFaults, method: Callable[[], Coroutine[Any, Any, Any]]
) -> object:
    """Let a request arrive late, even if nobody waits for its answer any more."""

    async def arrive() -> object:
        await asyncio.sleep(fault.seconds)
        if not faults.may_arrive():
            raise errors.TemporaryError(f"{fault.call}: it did not arrive")
        return await method()

    request = asyncio.ensure_future(arrive())
    # Its error is read here, since the caller may be gone.
    request.add_done_callback(lambda done: done.cancelled() or done.exception())
    return await asyncio.shield(request)


def _watch_behind(
    call: str,
    method: Callable[..., AbstractAsyncContextManager[AsyncIterator[PodChange]]],
    faults: PortFaults,
) -> Callable[..., AbstractAsyncContextManager[AsyncIterator[PodChange]]]:
    @contextlib.asynccontextmanager
    async def through(version: str) -> AsyncIterator[AsyncIterator[PodChange]]:
        fault = faults.take(call)
        if fault is not None and fault.kind is FaultKind.ERROR:
            raise errors.TemporaryError(f"{call}: {fault.kind}")
        async with method(version) as changes:
            yield changes if fault is None else _silent(changes, fault)

    return through


async def _silent(changes: AsyncIterator[PodChange], fault: Fault) -> AsyncIterator[PodChange]:
    """Yield nothing for a while, as a connection does that is dead; then notice."""
    nothing: tuple[PodChange, ...] = ()
    for change in nothing:
        yield change
    await asyncio.sleep(fault.seconds)
    raise errors.TemporaryError(f"{type(changes).__name__}: the watch was silent")
