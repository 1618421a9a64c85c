"""Error responses of the API server, with the messages, reasons and details of the real one."""

from collections.abc import Mapping, Sequence

from queue_processor.simulator.kube import objects, resources

STALE = (
    "the object has been modified; please apply your changes to the latest version and try again"
)


class ApiError(Exception):
    """The error of a request, sent as a Status object."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: objects.JsonObject | None = None,
        *,
        continuation: str = "",
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.continuation = continuation

    @property
    def retry_after(self) -> int:
        """Return the seconds of the Retry-After header, 0 for no header."""
        return int((self.details or {}).get("retryAfterSeconds") or 0)

    def status(self) -> objects.JsonObject:
        """Return the Status object."""
        metadata = {"continue": self.continuation} if self.continuation else {}
        body = _status(metadata, "Failure") | {"message": self.message}
        if self.reason:
            body["reason"] = self.reason
        if self.details is not None:
            body["details"] = self.details
        return body | {"code": self.code}


def _status(metadata: objects.JsonObject, outcome: str) -> objects.JsonObject:
    return {"kind": "Status", "apiVersion": "v1", "metadata": metadata, "status": outcome}


def success(
    details: objects.JsonObject | None = None, code: int | None = None
) -> Mapping[str, object]:
    """Return the Status object of a success."""
    body = _status({}, "Success")
    if details is not None:
        body["details"] = details
    if code is not None:
        body["code"] = code
    return body


def _details(resource: resources.Resource, name: str, kind: str = "") -> objects.JsonObject:
    details = {"name": name, "group": resource.group, "kind": kind or resource.plural}
    return {key: value for key, value in details.items() if value}


def unknown_path() -> ApiError:
    """Return 404 for a path that is not a resource."""
    return ApiError(404, "NotFound", "the server could not find the requested resource", {})


def not_found(resource: resources.Resource, name: str) -> ApiError:
    """Return 404 for a missing object."""
    message = f'{resource.qualified} "{name}" not found'
    return ApiError(404, "NotFound", message, _details(resource, name))


def already_exists(resource: resources.Resource, name: str) -> ApiError:
    """Return 409 for a create under a name in use."""
    message = f'{resource.qualified} "{name}" already exists'
    return ApiError(409, "AlreadyExists", message, _details(resource, name))


def conflict(resource: resources.Resource, name: str, why: str = STALE) -> ApiError:
    """Return 409 for a write that is based on another version or means another object."""
    message = f'Operation cannot be fulfilled on {resource.qualified} "{name}": {why}'
    return ApiError(409, "Conflict", message, _details(resource, name))


def precondition_failed(
    resource: resources.Resource, name: str, what: str, expected: str, actual: str
) -> ApiError:
    """Return 409 for a precondition of a delete; ``what`` is UID or ResourceVersion."""
    fate = "deleted and then recreated" if what == "UID" else "modified"
    why = (
        f"the {what} in the precondition ({expected}) does not match the {what} in record"
        f" ({actual}). The object might have been {fate}"
    )
    # The real server names the kind here, where every other conflict names the resource.
    name_of = resource.qualified_kind
    message = f'Operation cannot be fulfilled on {name_of} "{name}": {why}'
    return ApiError(409, "Conflict", message, _details(resource, name, resource.kind))


def bad_request(message: str) -> ApiError:
    """Return 400."""
    return ApiError(400, "BadRequest", message)


def invalid(
    resource: resources.Resource, name: str, errors: Sequence[tuple[str, str, str]]
) -> ApiError:
    """Return 422 for an invalid object; an error is (field, reason, message)."""
    texts = [f"{field}: {message}" for field, _, message in errors]
    message = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    causes = [{"reason": reason, "message": text, "field": field} for field, reason, text in errors]
    details = _details(resource, name, resource.kind) | {"causes": causes}
    return ApiError(
        422, "Invalid", f'{resource.qualified_kind} "{name}" is invalid: {message}', details
    )


def unprocessable() -> ApiError:
    """Return 422 for a JSON patch that does not fit its object."""
    return ApiError(
        422, "Invalid", "the server rejected our request due to an error in our request", {}
    )


def forbidden(
    resource: resources.Resource,
    name: str,
    why: str,
    causes: Sequence[Mapping[str, str]] = (),
) -> ApiError:
    """Return 403."""
    subject = f'{resource.qualified} "{name}"' if name else resource.qualified
    details = _details(resource, name)
    if causes:
        details["causes"] = [dict(cause) for cause in causes]
    return ApiError(403, "Forbidden", f"{subject} is forbidden: {why}", details)


def unauthorized(
    resource: resources.Resource, key: tuple[str, str], verb: str, subject: str
) -> ApiError:
    """Return 403 for a missing permission; ``subject`` includes the subresource."""
    namespace, name = key
    where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
    why = f'User "simulator" cannot {verb} resource "{subject}" in API group "{resource.group}"'
    return forbidden(resource, name, f"{why} {where}")


def terminating_namespace(resource: resources.Resource, name: str, namespace: str) -> ApiError:
    """Return 403 for a create in a terminating namespace."""
    why = f"unable to create new content in namespace {namespace} because it is being terminated"
    cause = {
        "reason": "NamespaceTerminating",
        "message": f"namespace {namespace} is being terminated",
        "field": "metadata.namespace",
    }
    return forbidden(resource, name, why, [cause])


def method_not_allowed() -> ApiError:
    """Return 405."""
    message = "the server does not allow this method on the requested resource"
    return ApiError(405, "MethodNotAllowed", message, {})


def unsupported_media(accepted: Sequence[str]) -> ApiError:
    """Return 415."""
    message = (
        "the body of the request was in an unknown format - accepted media types include: "
        + ", ".join(accepted)
    )
    return ApiError(415, "UnsupportedMediaType", message)


def expired(message: str, continuation: str = "") -> ApiError:
    """Return 410 for history that is no longer kept."""
    return ApiError(410, "Expired", message, continuation=continuation)


def too_large_version(requested: int, current: int) -> ApiError:
    """Return 504 for a resourceVersion that the server has not reached."""
    message = f"Timeout: Too large resource version: {requested}, current: {current}"
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    return ApiError(504, "Timeout", message, {"causes": [cause], "retryAfterSeconds": 1})


def budget_exhausted(cause: str, retry_after: int = 0) -> ApiError:
    """Return 429 of the eviction subresource; ``cause`` is the state of the budget."""
    message = "Cannot evict pod as it would violate the pod's disruption budget."
    details: objects.JsonObject = {"causes": [{"reason": "DisruptionBudget", "message": cause}]}
    if retry_after:
        details["retryAfterSeconds"] = retry_after
    return ApiError(429, "TooManyRequests", message, details)


def budget_overrun(name: str) -> ApiError:
    """Return 403 of the eviction subresource while too many evictions are unconfirmed."""
    why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
    cause = (
        f"The disruption budget {name} does not allow evicting pods currently: too many pending"
        " evictions not confirmed by PDB controller"
    )
    causes = [{"reason": "DisruptionBudget", "message": cause}]
    # The real server names the resource in the singular here.
    details = {"name": name, "group": "policy", "kind": "poddisruptionbudget", "causes": causes}
    message = f'poddisruptionbudget.policy "{name}" is forbidden: {why}'
    return ApiError(403, "Forbidden", message, details)


def several_budgets() -> ApiError:
    """Return 500 of the eviction subresource; the real Status has no reason."""
    message = (
        "This pod has more than one PodDisruptionBudget,"
        " which the eviction subresource does not support."
    )
    return ApiError(500, "", message)
