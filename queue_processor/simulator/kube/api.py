"""The API server without sockets: takes a request, returns a response.

https://kubernetes.io/docs/reference/using-api/api-concepts/
"""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Mapping

from queue_processor.simulator.kube import (
    deletion,
    discovery,
    eviction,
    faults,
    history,
    listing,
    objects,
    requests,
    resources,
    statuses,
    store,
    watches,
    writes,
)
from queue_processor.simulator.kube.cluster import SimulatedCluster

_JSON = {"content-type": "application/json"}
_HEALTH_PATHS = frozenset({"/healthz", "/livez", "/readyz"})
# The default timeout of a watch; 30 to 60 minutes in the real server.
_DEFAULT_WATCH_SECONDS = 2700.0
# How long a list waits for a resourceVersion that the server has not reached.
_FRESHNESS_SECONDS = 3.0


@dataclasses.dataclass(slots=True)
class ApiResponse:
    """A response; ``lines`` is a watch, one JSON line with its newline each."""

    status: int
    headers: Mapping[str, str]
    body: bytes = b""
    lines: AsyncIterator[bytes] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Denial:
    """A permission that clients lack; an empty text matches everything.

    ``resource`` is the plural, with a subresource after a slash: ``pods/eviction``.
    """

    verb: str = ""
    resource: str = ""
    namespace: str = ""

    def matches(self, verb: str, resource: str, namespace: str) -> bool:
        """Return True if it denies this request."""
        return (
            self.verb in ("", verb)
            and self.resource in ("", resource)
            and self.namespace in ("", namespace)
        )


class SimulatedApiServer:
    """Serves a cluster.

    ``faults`` injects faults, ``denials`` takes permissions away.
    """

    def __init__(self, cluster: SimulatedCluster) -> None:
        self.cluster = cluster
        self.faults = faults.FaultInjector()
        self.denials: list[Denial] = []
        self._writer = writes.ObjectWriter(cluster.store, cluster.names)
        self._evictions = eviction.Evictions(
            cluster.store, cluster.deletions, cluster.disruption.pdb_index
        )

    async def handle(self, request: requests.ApiRequest) -> ApiResponse:
        """Serve a request.

        Raises:
            faults.ConnectionCutError: An injected fault cuts the connection.
        """
        info = requests.parse(request)
        if info is not None:
            self.cluster.history.requested(
                history.RequestKind(info.verb, info.resource_name, request.user_agent)
            )
        effect = self.faults.take(request.method, request.path)
        match effect:
            case faults.ErrorResponse():
                await asyncio.sleep(effect.after_seconds)
                return _error(effect.error())
            case faults.Delay():
                await asyncio.sleep(effect.seconds)
            case faults.Hang():
                await asyncio.get_running_loop().create_future()
            case faults.Cut(after_effect=False):
                raise faults.ConnectionCutError("cut before the request had its effect")
        try:
            response = _describe(request) if info is None else await self._serve(request, info)
        except statuses.ApiError as error:
            response = _error(error)
        if isinstance(effect, faults.Cut):
            if isinstance(response.lines, watches.Watcher):
                response.lines.close()
            raise faults.ConnectionCutError("cut after the request had its effect")
        return response

    async def _serve(self, request: requests.ApiRequest, info: requests.RequestInfo) -> ApiResponse:
        if self._is_denied(info.verb, info.resource_name, info.namespace):
            raise statuses.unauthorized(info.resource, info.key, info.verb, info.resource_name)
        if request.query.get("dryRun"):
            raise statuses.bad_request("dryRun is not simulated")
        if request.method == "GET":
            return await self._read(request, info)
        if request.method == "POST" and info.subresource == "eviction":
            return await self._evict(request, info)
        cause = store.Cause.DELETE if request.method == "DELETE" else store.Cause.WRITE
        with self.cluster.store.acting(store.Actor(request.user_agent, cause)):
            return self._write(request, info)

    def _is_denied(self, verb: str, resource: str, namespace: str) -> bool:
        return any(denial.matches(verb, resource, namespace) for denial in self.denials)

    # Reading

    async def _read(self, request: requests.ApiRequest, info: requests.RequestInfo) -> ApiResponse:
        if info.resource is resources.ACCESS_REVIEWS:
            raise statuses.method_not_allowed()
        if info.name:
            if info.subresource not in ("", "status"):
                raise statuses.method_not_allowed()
            await self._reach(listing.parse_version(request.query))
            if info.resource is resources.NODES:
                self.cluster.kubelets.report([self._writer.find(info)])
            return ApiResponse(200, _JSON, self._writer.find(info).document())
        options = listing.parse(info, request.query)
        if info.resource is resources.NODES and not options.continuation:
            self.cluster.kubelets.report(self.cluster.store.every(resources.NODES))
        if request.is_watch:
            return self._watch(request, options)
        await self._reach(options.version)
        return ApiResponse(200, _JSON, self.cluster.listing.list(options))

    async def _reach(self, version: int | None) -> None:
        if version is not None and version > self.cluster.store.version:
            await asyncio.sleep(_FRESHNESS_SECONDS)
            if version > self.cluster.store.version:
                raise statuses.too_large_version(version, self.cluster.store.version)

    def _watch(self, request: requests.ApiRequest, options: listing.ListOptions) -> ApiResponse:
        selector = options.selector
        watch = watches.WatchOptions(
            selector=selector,
            # Without a version, and with "0", a watch starts with all the objects there are.
            since=options.version or None,
            seconds=float(
                requests.parse_number(request.query, "timeoutSeconds") or _DEFAULT_WATCH_SECONDS
            ),
            bookmarks=request.query.get("allowWatchBookmarks") in ("true", "1"),
        )
        selected = self.cluster.listing.selected
        lines = self.cluster.hub.open(watch, lambda: selected(selector))
        return ApiResponse(200, _JSON, lines=lines)

    # Writing

    def _write(self, request: requests.ApiRequest, info: requests.RequestInfo) -> ApiResponse:
        match request.method, bool(info.name), info.subresource:
            case "POST", False, "":
                return self._create(request, info)
            case "POST", True, "binding":
                self._writer.bind(info, request.json())
                return _json(201, statuses.success(code=201))
            case "PUT", True, ("" | "status"):
                return _written(self._writer.replace(info, request.json()))
            case "PATCH", True, ("" | "status"):
                return _written(self._writer.patch(info, *request.patch()))
            case "DELETE", True, "":
                return self._delete(request, info)
            case _:
                raise statuses.method_not_allowed()

    def _create(self, request: requests.ApiRequest, info: requests.RequestInfo) -> ApiResponse:
        body = request.json()
        if info.resource is resources.ACCESS_REVIEWS:
            return _json(201, self._review(body))
        if info.resource.namespaced and not info.namespace:
            raise statuses.method_not_allowed()
        return _written(self._writer.create(info, body))

    def _review(self, body: objects.JsonObject) -> objects.JsonObject:
        spec = body.get("spec") or {}
        attributes = spec.get("resourceAttributes") or {}
        steps = (attributes.get("resource", ""), attributes.get("subresource", ""))
        denied = self._is_denied(
            attributes.get("verb", ""),
            "/".join(step for step in steps if step),
            attributes.get("namespace", ""),
        )
        kind = resources.ACCESS_REVIEWS
        head = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": {}}
        return head | {"spec": spec, "status": {"allowed": not denied}}

    async def _evict(self, request: requests.ApiRequest, info: requests.RequestInfo) -> ApiResponse:
        actor = store.Actor(request.user_agent, store.Cause.EVICTION)
        record = self.cluster.history.eviction_answered
        try:
            self._writer.check_namespace(info, info.name)
            await self._evictions.evict(info.key, request.json(), request.query, actor)
        except statuses.ApiError as error:
            record(actor.name, info.key, error.code)
            raise
        record(actor.name, info.key, 201)
        return _json(201, statuses.success(code=201))

    def _delete(self, request: requests.ApiRequest, info: requests.RequestInfo) -> ApiResponse:
        options = deletion.parse(request.json(), request.query)
        stored, resource = self._writer.find(info), info.resource
        result = self.cluster.deletions.delete(stored, options)
        if resource is resources.PODS or not result.is_gone:
            return ApiResponse(200, _JSON, result.stored.document())
        details = {"name": stored.name, "group": resource.group, "kind": resource.plural}
        details = {key: value for key, value in details.items() if value}
        return _json(200, statuses.success(details | {"uid": stored.uid}))


def _describe(request: requests.ApiRequest) -> ApiResponse:
    if request.path in _HEALTH_PATHS:
        return ApiResponse(200, {"content-type": "text/plain; charset=utf-8"}, b"ok")
    document = discovery.document(request.path)
    if document is None:
        raise statuses.unknown_path()
    if request.method != "GET":
        raise statuses.method_not_allowed()
    return _json(200, document)


def _json(code: int, value: Mapping[str, object]) -> ApiResponse:
    return ApiResponse(code, _JSON, objects.to_json(value))


def _written(result: writes.WriteResult) -> ApiResponse:
    return ApiResponse(201 if result.created else 200, _JSON, result.stored.document())


def _error(error: statuses.ApiError) -> ApiResponse:
    response = _json(error.code, error.status())
    if error.retry_after:
        response.headers = _JSON | {"retry-after": str(error.retry_after)}
    return response
