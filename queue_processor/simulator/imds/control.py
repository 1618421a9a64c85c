"""The control API, below a path that instance metadata has not: what `imds send` talks to.

Anyone who reaches it can announce interruptions. A page in a browser can send a request to this
machine, too, but not one whose content is declared as JSON, unless the server allows it.
"""

import datetime as dt
import json
from collections.abc import Callable, Mapping

from queue_processor.domain import errors, json_fields
from queue_processor.simulator.imds import announcements
from queue_processor.simulator.imds.fleet import MetadataFleet

PATH = "/simulator/notices"
CONTENT_TYPE = "application/json"


class ControlApi:
    """Announces what requests ask for."""

    def __init__(
        self,
        fleet: MetadataFleet,
        *,
        now: Callable[[], dt.datetime],
        on_announced: Callable[[str], None],
    ) -> None:
        """Build the API.

        Args:
            fleet: Its nodes.
            now: The present (UTC).
            on_announced: Called with a line for people about each announcement.
        """
        self._fleet = fleet
        self._now = now
        self._on_announced = on_announced

    def post(self, body: str) -> tuple[int, str]:
        """Announce everything in a request; return the status of the response and its body.

        The body has a list `notices`; the response a list `results`, with `announced` or `error`
        for each.
        """
        try:
            notices = json_fields.list_at(json_fields.load(body, "the request"), "notices")
        except errors.MalformedMessage as error:
            return 400, json.dumps({"error": str(error)})
        return 200, json.dumps({"results": [self._result(notice) for notice in notices]})

    def _result(self, notice: object) -> Mapping[str, str]:
        if not isinstance(notice, dict):
            return {"error": f"{json_fields.describe(notice)}, where an object is needed"}
        try:
            return {"announced": self.announce(announcements.parse(notice))}
        except errors.UsageError as error:
            return {"error": str(error)}

    def announce(self, order: announcements.NodeAnnouncement) -> str:
        """Announce something to a node; return what identifies it: an id or a time.

        Raises:
            UsageError: As in `MetadataFleet.announce`.
        """
        identity = self._fleet.announce(order, now=self._now())
        verb = "cancelled" if order.announcement.is_cancelled else "announced"
        self._on_announced(f"{order.node}: {order.announcement.kind} {verb}: {identity}")
        return identity
