"""The API server without sockets: a request in, an answer out.

https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Mapping

from queue_processor.simulator.kube import (
    deletion,
    discovery,
    eviction,
    faults,
    history,
    listing,
    objects,
    patches,
    resources,
    routing,
    statuses,
    store,
    watches,
    writes,
)
from queue_processor.simulator.kube.cluster import SimulatedCluster

_JSON = {"content-type": "application/json"}
_BODY_TYPES = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf")
_HEALTH_PATHS = frozenset({"/healthz", "/livez", "/readyz"})
# What the server gives a watch that does not ask for a time; 30 to 60 minutes for real.
_DEFAULT_WATCH_SECONDS = 2700.0
# How long a list waits for a resourceVersion that is still to come.
_FRESHNESS_SECONDS = 3.0


@dataclasses.dataclass(frozen=True, slots=True)
class ApiRequest:
    """A request; the keys of ``headers`` are in lower case."""

    method: str
    path: str
    query: Mapping[str, str] = dataclasses.field(default_factory=dict)
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    body: bytes = b""

    @property
    def user_agent(self) -> str:
        """Who asks."""
        return self.headers.get("user-agent", "")

    def json(self) -> objects.JsonObject:
        """The body as an object; empty when there is none.

        Raises:
            statuses.ApiError: 400.
        """
        found = _decode(self.body) if self.body else {}
        if not isinstance(found, dict):
            raise statuses.bad_request("the body of the request is not an object")
        return found


@dataclasses.dataclass(slots=True)
class ApiResponse:
    """An answer; ``lines`` is a watch, one JSON line with its newline each."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    lines: AsyncIterator[bytes] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Denial:
    """What the client may not do; an empty text stands for all.

    ``resource`` is the plural, with a subresource after a slash: ``pods/eviction``.
    """

    verb: str = ""
    resource: str = ""
    namespace: str = ""

    def concerns(self, verb: str, resource: str, namespace: str) -> bool:
        """Whether it forbids that."""
        return (
            self.verb in ("", verb)
            and self.resource in ("", resource)
            and self.namespace in ("", namespace)
        )


class SimulatedApiServer:
    """Serves a cluster.

    ``faults`` orders misbehaviour, ``denials`` takes rights away.
    """

    def __init__(self, cluster: SimulatedCluster) -> None:
        self.cluster = cluster
        self.faults = faults.FaultInjector()
        self.denials: list[Denial] = []
        self._writes = writes.ObjectWriter(cluster.store, cluster.names)
        self._evictions = eviction.Evictions(
            cluster.store, cluster.deletions, cluster.disruption.pdb_index
        )

    async def handle(self, request: ApiRequest) -> ApiResponse:
        """Answer a request.

        Raises:
            faults.ConnectionCutError: instead of an answer, when that was ordered.
        """
        self.cluster.timers.wake()
        target = routing.parse_path(request.path)
        if target is not None:
            self.cluster.history.requested(_kind_of(request, target))
        effect = self.faults.meet(request.method, request.path, request.user_agent)
        match effect:
            case faults.ErrorResponse():
                return _refusal(effect.refusal())
            case faults.Delay():
                await asyncio.sleep(effect.seconds)
            case faults.Hang():
                await asyncio.get_running_loop().create_future()
            case faults.Cut(after_effect=False):
                raise faults.ConnectionCutError("cut before the request had its effect")
        try:
            response = await self._answer(request, target)
        except statuses.ApiError as error:
            response = _refusal(error)
        if isinstance(effect, faults.Cut):
            if isinstance(response.lines, watches.Watcher):
                response.lines.close()
            raise faults.ConnectionCutError("cut after the request had its effect")
        return response

    async def _answer(self, request: ApiRequest, target: routing.RequestInfo | None) -> ApiResponse:
        if target is None:
            return _describe(request)
        kind = _kind_of(request, target)
        if any(
            denial.concerns(kind.verb, kind.resource, target.namespace) for denial in self.denials
        ):
            raise statuses.unauthorized(target.resource, target.key, kind.verb, kind.resource)
        if request.method == "GET":
            return await self._read(request, target)
        if request.method == "POST" and target.subresource == "eviction":
            return await self._evict(request, target)
        with self.cluster.store.acting(_actor(request, target)):
            return self._write(request, target)

    # Reading

    async def _read(self, request: ApiRequest, target: routing.RequestInfo) -> ApiResponse:
        if target.resource is resources.ACCESS_REVIEWS:
            raise statuses.method_not_allowed()
        if target.name:
            if target.subresource not in ("", "status"):
                raise statuses.method_not_allowed()
            await self._reach(listing.parse_version(request.query.get("resourceVersion", "")))
            return ApiResponse(200, _JSON, self._writes.find(target).document())
        options = listing.parse(target.resource, target.namespace, request.query)
        if listing.is_watch(request.query):
            return self._watch(request, options)
        await self._reach(options.version)
        return ApiResponse(200, _JSON, self.cluster.listing.list(options))

    async def _reach(self, version: int | None) -> None:
        if version is not None and version > self.cluster.store.version:
            await asyncio.sleep(_FRESHNESS_SECONDS)
            if version > self.cluster.store.version:
                raise statuses.too_large_version(version, self.cluster.store.version)

    def _watch(self, request: ApiRequest, options: listing.ListOptions) -> ApiResponse:
        query = request.query
        streaming = query.get("sendInitialEvents") in ("true", "1")
        bookmarks = query.get("allowWatchBookmarks") in ("true", "1")
        seconds = listing.parse_number(query, "timeoutSeconds")
        # Without a version, and with "0", a watch starts with all that there is.
        from_now = streaming or not options.version
        selection = options.selection
        watch = watches.WatchOptions(
            selection=selection,
            since=None if from_now else options.version,
            seconds=float(seconds or _DEFAULT_WATCH_SECONDS),
            bookmarks=bookmarks,
            initial_bookmark=streaming and bookmarks,
        )
        listed = self.cluster.listing.selected
        lines = self.cluster.hub.open(watch, lambda: listed(selection))
        return ApiResponse(200, _JSON, lines=lines)

    # Writing

    def _write(self, request: ApiRequest, target: routing.RequestInfo) -> ApiResponse:
        dry_run = writes.dry_run_of(request.query.get)
        match request.method, bool(target.name), target.subresource:
            case "POST", False, "":
                return self._create(request, target, dry_run=dry_run)
            case "POST", True, "binding":
                self._writes.bind(target, _body_of(request))
                return _json(201, statuses.success(code=201))
            case "PUT", True, ("" | "status"):
                return _written(self._writes.replace(target, _body_of(request), dry_run=dry_run))
            case "PATCH", True, ("" | "status"):
                kind, patch = _patch_of(request)
                return _written(self._writes.patch(target, kind, patch, dry_run=dry_run))
            case "DELETE", _, "":
                return self._delete(request, target)
            case _:
                raise statuses.method_not_allowed()

    def _create(
        self, request: ApiRequest, target: routing.RequestInfo, *, dry_run: bool
    ) -> ApiResponse:
        given = _body_of(request)
        if target.resource is resources.ACCESS_REVIEWS:
            return _json(201, self._review(given))
        if target.resource.namespaced and not target.namespace:
            raise statuses.method_not_allowed()
        return _written(self._writes.create(target, given, dry_run=dry_run))

    def _review(self, given: objects.JsonObject) -> objects.JsonObject:
        asked = (given.get("spec") or {}).get("resourceAttributes") or {}
        resource = asked.get("resource", "")
        if asked.get("subresource"):
            resource = f"{resource}/{asked['subresource']}"
        verb, namespace = asked.get("verb", ""), asked.get("namespace", "")
        denied = any(denial.concerns(verb, resource, namespace) for denial in self.denials)
        status = {"allowed": not denied}
        review = resources.ACCESS_REVIEWS
        head = {"kind": review.kind, "apiVersion": review.api_version, "metadata": {}}
        return head | {"spec": given.get("spec") or {}, "status": status}

    async def _evict(self, request: ApiRequest, target: routing.RequestInfo) -> ApiResponse:
        by, history = _actor(request, target), self.cluster.history
        try:
            self._writes.check_namespace(target, target.name)
            await self._evictions.evict(target.key, _body_of(request), request.query, by)
        except statuses.ApiError as error:
            history.eviction_answered(by.name, target.key, error.code)
            raise
        history.eviction_answered(by.name, target.key, 201)
        return _json(201, statuses.success(code=201))

    def _delete(self, request: ApiRequest, target: routing.RequestInfo) -> ApiResponse:
        if not target.name:
            return self._delete_collection(request, target)
        options = deletion.parse(request.json(), request.query)
        stored = self._writes.find(target)
        outcome = self.cluster.deletions.delete(stored, options)
        if target.resource is resources.PODS or not outcome.is_gone:
            return ApiResponse(200, _JSON, outcome.stored.document())
        resource = target.resource
        details = {"name": stored.name, "group": resource.group, "kind": resource.plural}
        details = {key: value for key, value in details.items() if value}
        return _json(200, statuses.success(details | {"uid": stored.uid}))

    def _delete_collection(self, request: ApiRequest, target: routing.RequestInfo) -> ApiResponse:
        options = listing.parse(target.resource, target.namespace, request.query)
        how = deletion.parse(request.json(), request.query)
        answer = self.cluster.listing.list(options)
        for stored in self.cluster.listing.selected(options.selection):
            self.cluster.deletions.delete(stored, how)
        return ApiResponse(200, _JSON, answer)


def _kind_of(request: ApiRequest, target: routing.RequestInfo) -> history.RequestKind:
    watching = listing.is_watch(request.query)
    verb = routing.verb_of(request.method, target, watching=watching)
    plural = target.resource.plural
    resource = f"{plural}/{target.subresource}" if target.subresource else plural
    return history.RequestKind(verb, resource, request.user_agent)


def _actor(request: ApiRequest, target: routing.RequestInfo) -> store.Actor:
    if target.subresource == "eviction":
        return store.Actor(request.user_agent, store.Cause.EVICTION)
    cause = store.Cause.DELETE if request.method == "DELETE" else store.Cause.WRITE
    return store.Actor(request.user_agent, cause)


def _describe(request: ApiRequest) -> ApiResponse:
    if request.path in _HEALTH_PATHS:
        return ApiResponse(200, {"content-type": "text/plain; charset=utf-8"}, b"ok")
    found = discovery.document(request.path)
    if found is None:
        raise statuses.unknown_path()
    if request.method != "GET":
        raise statuses.method_not_allowed()
    return _json(200, found)


def _decode(body: bytes) -> object:
    try:
        found: object = json.loads(body)
    except ValueError as fault:
        raise statuses.bad_request(f"the body of the request is not JSON: {fault}") from fault
    return found


def _content_type(request: ApiRequest) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _body_of(request: ApiRequest) -> objects.JsonObject:
    if _content_type(request) not in ("", "application/json"):
        raise statuses.unsupported_media(_BODY_TYPES)
    return request.json()


def _patch_of(request: ApiRequest) -> tuple[patches.PatchType, object]:
    try:
        kind = patches.PatchType(_content_type(request))
    except ValueError as fault:
        accepted = [kind.value for kind in patches.PatchType]
        raise statuses.unsupported_media(accepted) from fault
    return kind, _decode(request.body)


def _json(code: int, value: Mapping[str, object]) -> ApiResponse:
    return ApiResponse(code, _JSON, objects.to_json(value))


def _written(written: writes.WriteResult) -> ApiResponse:
    return ApiResponse(201 if written.created else 200, _JSON, written.stored.document())


def _refusal(error: statuses.ApiError) -> ApiResponse:
    response = _json(error.code, error.status())
    if error.retry_after:
        response.headers = _JSON | {"retry-after": str(error.retry_after)}
    return response
