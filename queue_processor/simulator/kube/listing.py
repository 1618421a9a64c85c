"""LIST, with pages, and the options that LIST and WATCH share.

https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks
"""

import base64
import dataclasses
import json
from collections.abc import Mapping, Sequence

from queue_processor.simulator.kube import objects, resources, selectors, statuses, store

_TOO_OLD_TO_CONTINUE = (
    "The provided continue parameter is too old to display a consistent list result. You can"
    " start a new list without the continue parameter, or use the continue token in this response"
    " to retrieve the remainder of the results. Continuing with the provided token results in an"
    " inconsistent list - objects that were created, modified, or deleted between the time the"
    " first chunk was returned and now may show up in the list."
)


@dataclasses.dataclass(frozen=True, slots=True)
class ListOptions:
    """The query of a list or watch, checked.

    ``version`` is ``None`` when the query has no resourceVersion.
    """

    selection: selectors.ObjectSelector
    version: int | None
    match: str
    limit: int
    continuation: str


def parse(resource: resources.Resource, namespace: str, query: Mapping[str, str]) -> ListOptions:
    """Read the query.

    Raises:
        statuses.ApiError: 400 for selectors and numbers that cannot be read, 422 for options
            that contradict each other.
    """
    selection = selectors.ObjectSelector(
        resource,
        namespace,
        selectors.parse_labels(query.get("labelSelector", "")),
        selectors.parse_fields(query.get("fieldSelector", ""), resource),
    )
    match, watching = query.get("resourceVersionMatch", ""), is_watch(query)
    text = query.get("resourceVersion", "")
    streaming = query.get("sendInitialEvents", "") in ("true", "1")
    if match and not text and not watching:
        raise _contradiction("resourceVersionMatch is forbidden unless resourceVersion is provided")
    if watching and match and not query.get("sendInitialEvents"):
        raise _contradiction(
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        )
    if streaming and (not watching or match != "NotOlderThan"):
        why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        raise _contradiction(why if watching else "sendInitialEvents is forbidden for list")
    if match == "Exact" and text == "0":
        raise _contradiction('resourceVersionMatch "Exact" is forbidden for resourceVersion "0"')
    version = parse_version(text)
    limit = parse_number(query, "limit") or 0
    return ListOptions(selection, version, match, limit, query.get("continue", ""))


def _contradiction(why: str) -> statuses.ApiError:
    return statuses.invalid_options(
        ("resourceVersionMatch", "FieldValueForbidden", f"Forbidden: {why}")
    )


def is_watch(query: Mapping[str, str]) -> bool:
    """Whether the query asks for a watch."""
    return query.get("watch", "") in ("true", "1")


def parse_version(text: str) -> int | None:
    """Read a resourceVersion, ``None`` when there is none; 400 when it is no number."""
    if not text:
        return None
    if not text.isdecimal():
        raise statuses.bad_request(f"invalid resource version {text!r}")
    return int(text)


def parse_number(query: Mapping[str, str], name: str) -> int | None:
    """Read a whole number of the query, ``None`` when it is absent; 400 when it is none."""
    text = query.get(name, "")
    if not text:
        return None
    try:
        return int(text)
    except ValueError as fault:
        raise statuses.bad_request(f"{name} is not a whole number: {text}") from fault


class Listing:
    """Answers LIST from the store."""

    def __init__(self, objects_store: store.Store) -> None:
        self._store = objects_store

    def selected(self, selection: selectors.ObjectSelector) -> list[objects.Stored]:
        """What is selected now, by namespace and name."""
        node = selection.fields.exact("spec.nodeName")
        if selection.resource is resources.PODS and node:
            pods = sorted(self._store.pods_on(node), key=lambda pod: pod.key)
            return selection.among(pods)
        return selection.among(self._store.ordered(selection.resource, selection.namespace))

    def list(self, options: ListOptions) -> bytes:
        """The body of the answer.

        Raises:
            statuses.ApiError: 400 for a token that is none, 410 when the history is gone.
        """
        if options.continuation:
            return self._next_page(options)
        if options.match == "Exact" and options.version is not None:
            if options.version < self._store.floor(options.selection.resource):
                raise statuses.expired("The resourceVersion for the provided list is too old.")
            found = self._selected_at(options.selection, options.version)
            return self._page(options, found, options.version, 0)
        # From the cache (resourceVersion=0) the whole list comes at once.
        limit = 0 if options.version == 0 else options.limit
        found = self.selected(options.selection)
        return self._page(dataclasses.replace(options, limit=limit), found, self._store.version, 0)

    def _selected_at(
        self, selection: selectors.ObjectSelector, version: int
    ) -> Sequence[objects.Stored]:
        if version >= self._store.version:
            return self.selected(selection)
        return selection.among(self._store.state_at(selection.resource, version))

    def _next_page(self, options: ListOptions) -> bytes:
        if options.version:
            raise statuses.bad_request(
                "specifying resource version is not allowed when using continue"
            )
        try:
            token = json.loads(base64.urlsafe_b64decode(options.continuation + "=="))
            version, start = int(token["rv"]), tuple(token["start"])
        except (ValueError, KeyError, TypeError) as fault:
            raise statuses.bad_request(f"continue key is not valid: {fault}") from fault
        if version < 0:
            # The token of an expired answer: the rest as it is now.
            version = self._store.version
        if version < self._store.floor(options.selection.resource):
            raise statuses.expired(_TOO_OLD_TO_CONTINUE, _token(-1, start))
        found = self._selected_at(options.selection, version)
        skipped = sum(1 for stored in found if stored.key <= start)
        return self._page(options, found, version, skipped)

    def _page(
        self, options: ListOptions, found: Sequence[objects.Stored], version: int, skipped: int
    ) -> bytes:
        resource, limit = options.selection.resource, options.limit
        page = found[skipped : skipped + limit] if limit > 0 else found[skipped:]
        metadata: objects.JsonObject = {"resourceVersion": str(version)}
        left = len(found) - skipped - len(page)
        if left:
            metadata["continue"] = _token(version, page[-1].key)
            if not options.selection.labels.requirements and not options.selection.fields.terms:
                metadata["remainingItemCount"] = left
        return b'{"kind":"%bList","apiVersion":"%b","metadata":%b,"items":[%b]}' % (
            resource.kind.encode(),
            resource.api_version.encode(),
            objects.to_json(metadata),
            b",".join(stored.item() for stored in page),
        )


def _token(version: int, start: tuple[str, ...]) -> str:
    return base64.urlsafe_b64encode(objects.to_json({"rv": version, "start": start})).decode()
