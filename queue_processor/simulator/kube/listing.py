"""LIST, with pages, and the options that LIST and WATCH share.

https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks
"""

import base64
import dataclasses
import json
from collections.abc import Mapping, Sequence

from queue_processor.simulator.kube import objects, requests, resources, selection, statuses, store

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

    ``version`` is ``None`` if the query has no resourceVersion.
    """

    selector: selection.ObjectSelector
    version: int | None
    limit: int
    continuation: str


def parse(info: requests.RequestInfo, query: Mapping[str, str]) -> ListOptions:
    """Read the query.

    Raises:
        statuses.ApiError: 400 for selectors and numbers that cannot be parsed, and for options
            that are not simulated.
    """
    if query.get("sendInitialEvents"):
        raise statuses.bad_request("sendInitialEvents is not simulated")
    selector = selection.ObjectSelector(
        info.resource,
        info.namespace,
        selection.parse_labels(query.get("labelSelector", "")),
        selection.parse_fields(query.get("fieldSelector", ""), info.resource),
    )
    match, version = query.get("resourceVersionMatch", ""), parse_version(query)
    if match and (match != "NotOlderThan" or version is None or info.verb == "watch"):
        raise statuses.bad_request(f"resourceVersionMatch={match} is not simulated here")
    limit = requests.parse_number(query, "limit") or 0
    return ListOptions(selector, version, limit, query.get("continue", ""))


def parse_version(query: Mapping[str, str]) -> int | None:
    """Read the resourceVersion of the query, ``None`` if it is absent.

    Raises:
        statuses.ApiError: 400 if it is not a number.
    """
    text = query.get("resourceVersion", "")
    if not text:
        return None
    if not text.isdecimal():
        raise statuses.bad_request(f"invalid resource version {text!r}")
    return int(text)


class Listing:
    """Serves LIST from the store."""

    def __init__(self, objects_store: store.Store) -> None:
        self._store = objects_store

    def selected(self, selector: selection.ObjectSelector) -> list[objects.Stored]:
        """Return what is selected now, by namespace and name."""
        node = selector.fields.exact("spec.nodeName")
        if selector.resource is resources.PODS and node:
            pods = sorted(self._store.pods_on(node), key=lambda pod: pod.key)
            return selector.among(pods)
        return selector.among(self._store.ordered(selector.resource, selector.namespace))

    def list(self, options: ListOptions) -> bytes:
        """Return the body of the response.

        Raises:
            statuses.ApiError: 400 for an invalid continue token, 410 if the history is gone.
        """
        if options.continuation:
            return self._next_page(options)
        # From the cache (resourceVersion=0) the whole list comes at once.
        limit = 0 if options.version == 0 else options.limit
        options = dataclasses.replace(options, limit=limit)
        return self._page(options, self.selected(options.selector), self._store.version, 0)

    def _selected_at(
        self, selector: selection.ObjectSelector, version: int
    ) -> Sequence[objects.Stored]:
        if version >= self._store.version:
            return self.selected(selector)
        return selector.among(self._store.state_at(selector.resource, version))

    def _next_page(self, options: ListOptions) -> bytes:
        if options.version:
            raise statuses.bad_request(
                "specifying resource version is not allowed when using continue"
            )
        try:
            token = json.loads(base64.urlsafe_b64decode(options.continuation + "=="))
            version, start = int(token["rv"]), tuple(token["start"])
        except (ValueError, KeyError, TypeError) as error:
            raise statuses.bad_request(f"continue key is not valid: {error}") from error
        if version < 0:
            # The token of an expired response: the rest as it is now.
            version = self._store.version
        if version < self._store.floor(options.selector.resource):
            raise statuses.expired(_TOO_OLD_TO_CONTINUE, _token(-1, start))
        selected = self._selected_at(options.selector, version)
        skipped = sum(1 for stored in selected if stored.key <= start)
        return self._page(options, selected, version, skipped)

    def _page(
        self, options: ListOptions, selected: Sequence[objects.Stored], version: int, skipped: int
    ) -> bytes:
        resource, limit = options.selector.resource, options.limit
        page = selected[skipped : skipped + limit] if limit > 0 else selected[skipped:]
        metadata: objects.JsonObject = {"resourceVersion": str(version)}
        left = len(selected) - skipped - len(page)
        if left:
            metadata["continue"] = _token(version, page[-1].key)
            if options.selector.selects_all:
                metadata["remainingItemCount"] = left
        return b'{"kind":"%bList","apiVersion":"%b","metadata":%b,"items":[%b]}' % (
            resource.kind.encode(),
            resource.api_version.encode(),
            objects.to_json(metadata),
            b",".join(stored.item() for stored in page),
        )


def _token(version: int, start: tuple[str, ...]) -> str:
    return base64.urlsafe_b64encode(objects.to_json({"rv": version, "start": start})).decode()
