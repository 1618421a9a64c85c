"""An event bus of EventBridge, for the commands that people run."""

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from queue_processor.adapters.aws import errors as aws_errors
from queue_processor.domain import errors

if TYPE_CHECKING:
    from types_boto3_events import EventBridgeClient
    from types_boto3_events.type_defs import (
        PutEventsRequestEntryTypeDef,
        PutEventsResultEntryTypeDef,
    )

RESERVED = "aws."
# https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEventsResultEntry.html
_TEMPORARY = frozenset({"InternalFailure", "InternalException", "ThrottlingException"})
_SOURCE_REFUSED = "NotAuthorizedForSource"


class EventBus:
    """Takes events as if a service had put them there.

    AWS lets nobody but itself use sources that begin with `aws.`; emulators may. An event of
    another source holds the whole event of AWS as its detail, so that a rule whose target has
    the InputPath `$.detail` delivers what a rule for the event itself would.
    https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-service-event.html
    """

    def __init__(self, client: "EventBridgeClient", name: str, *, source: str | None) -> None:
        """Build the bus, without a request.

        Args:
            client: A client for EventBridge.
            name: The name of the bus, or its ARN.
            source: Stands in for the source of each event; None leaves them their own.
        """
        self._client = client
        self.name = name
        self._source = source

    def put(self, events: Sequence[Mapping[str, object]]) -> Sequence[str | Exception]:
        """Put up to ten events on the bus.

        https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html

        Returns:
            One item for each event: its id on its way to the targets, or what went wrong.

        Raises:
            PermanentError: The source is refused, or a permission is missing.
            TemporaryError: EventBridge does not answer.
        """
        with aws_errors.needs_permission("events:PutEvents", f"the event bus {self.name}"):
            answer = self._client.put_events(Entries=[self._entry(event) for event in events])
            entries = answer["Entries"]
            return [self._result(*pair) for pair in zip(events, entries, strict=True)]

    def _entry(self, event: Mapping[str, object]) -> "PutEventsRequestEntryTypeDef":
        resources = event["resources"]
        assert isinstance(resources, list)  # noqa: S101 - composed events have a list
        return {
            "EventBusName": self.name,
            "Source": self._source or str(event["source"]),
            "DetailType": str(event["detail-type"]),
            "Detail": json.dumps(event["detail"] if self._source is None else event),
            "Resources": resources,
            "Time": dt.datetime.fromisoformat(str(event["time"])),
        }

    def _result(
        self, event: Mapping[str, object], entry: "PutEventsResultEntryTypeDef"
    ) -> str | Exception:
        code = entry.get("ErrorCode")
        if code is None:
            return entry["EventId"] if self._source is None else str(event["id"])
        text = f"events:PutEvents: {code}: {entry.get('ErrorMessage', '')}"
        if code.startswith(_SOURCE_REFUSED):
            raise errors.PermanentError(
                f"the event bus {self.name} refuses the source {self._source or event['source']}"
                f" ({text}): only AWS itself uses sources that begin with {RESERVED}, and a policy"
                " may keep others back; send to the queue instead, or give the events a source of"
                " your own"
            )
        return errors.TemporaryError(text) if code in _TEMPORARY else errors.PermanentError(text)
