"""Posts notices in the background: each receiver's in their order, repeated, dropped when full."""

import asyncio
import datetime as dt
import http
import pathlib
import re
from collections.abc import Iterable, Iterator, Sequence

import aiohttp
import structlog
import tenacity

from queue_processor.adapters.webhooks.payloads import Payload
from queue_processor.domain import errors
from queue_processor.domain.notifications import DrainNotification
from queue_processor.observability import metrics
from queue_processor.observability.outbox import Outbox
from queue_processor.settings import WebhookSettings
from queue_processor.settings.webhooks import is_web_address

_log = structlog.get_logger(__name__)

_WAITING_LIMIT = 1000
_ATTEMPTS = 4
_LONGEST_RETRY_AFTER = dt.timedelta(seconds=30)
_WAIT = tenacity.wait_random_exponential(multiplier=0.5, max=10)
_TEMPORARY = frozenset({http.HTTPStatus.REQUEST_TIMEOUT, http.HTTPStatus.TOO_MANY_REQUESTS})
# https://www.rfc-editor.org/rfc/rfc9110.html#name-field-names
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class Webhooks:
    """All receivers; `run` has to be running."""

    def __init__(self, receivers: Sequence["Receiver"]) -> None:
        self._receivers = receivers

    def notify(self, notice: DrainNotification) -> None:
        """Tell that a drain begins, or how it ended; never fails and never waits."""
        for receiver in self._receivers:
            receiver.take(notice)

    async def run(self) -> None:
        """Post what is announced, for ever."""
        async with asyncio.TaskGroup() as group:
            for receiver in self._receivers:
                group.create_task(receiver.run(), name=receiver.name)

    async def flush(self) -> None:
        """Return when everything announced so far is posted or given up."""
        await asyncio.gather(*(receiver.flush() for receiver in self._receivers))


def from_settings(chosen: Iterable[WebhookSettings]) -> Webhooks:
    """Build what announces, and see that templates and files can be used.

    Raises:
        ConfigurationError: Some cannot; one line for each, which starts with the setting.
    """
    receivers, faults = [], []
    for number, settings in enumerate(chosen):
        name = f"webhooks.{number}"
        try:
            receivers.append(Receiver(settings, name=name))
        except errors.ConfigurationError as error:
            faults.append(f"{name}.{error}")
    if faults:
        raise errors.ConfigurationError("\n".join(faults))
    return Webhooks(receivers)


class Receiver:
    """One webhook.

    Attributes:
        name: Names it in the log, as its place in the settings does; its URL is a secret.
    """

    def __init__(self, settings: WebhookSettings, *, name: str) -> None:
        """Build it.

        Raises:
            ConfigurationError: A file cannot be used.
        """
        self.name = name
        self._settings = settings
        self._payload = _payload(settings)
        for read in (_address_of, _headers_of):
            try:
                read(settings)
            except errors.PermanentError as error:
                raise errors.ConfigurationError(str(error)) from error
        self._session: aiohttp.ClientSession | None = None
        self._is_full = False
        # One at a time: the end of a drain is not told before its beginning.
        self._outbox: Outbox[DrainNotification] = Outbox(
            self._deliver, name=name, limit=_WAITING_LIMIT, senders=1
        )

    def take(self, notice: DrainNotification) -> None:
        """Have a notice posted, if it is about a moment that the receiver wants to know of."""
        if notice.moment not in self._settings.moments:
            return
        is_full = not self._outbox.put(notice)
        if is_full:
            _count(notice, metrics.WebhookDelivery.DROPPED)
            if not self._is_full:
                _log.warning("webhook_notices_dropped", webhook=self.name, waiting=_WAITING_LIMIT)
        self._is_full = is_full

    async def run(self) -> None:
        """Post what is taken, for ever."""
        async with aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "queue-processor"},
            timeout=aiohttp.ClientTimeout(total=self._settings.timeout_seconds),
            # Proxies, as other programs take them from the environment.
            trust_env=True,
        ) as self._session:
            try:
                await self._outbox.run()
            finally:
                if len(self._outbox):
                    _log.info(
                        "webhook_notices_not_sent", webhook=self.name, count=len(self._outbox)
                    )

    async def flush(self) -> None:
        """Return when everything taken so far is posted or given up."""
        await self._outbox.flush()

    async def _deliver(self, notice: DrainNotification) -> None:
        try:
            payload = self._payload.of(notice)
            async for attempt in _patiently():
                with attempt:
                    await self._post(payload)
        except (errors.TemporaryError, errors.PermanentError) as error:
            _count(notice, metrics.WebhookDelivery.FAILED)
            _log.warning(
                "webhook_failed",
                webhook=self.name,
                moment=notice.moment,
                node=notice.plan.node_name,
                error=str(error),
            )
        else:
            _count(notice, metrics.WebhookDelivery.DELIVERED)

    async def _post(self, payload: bytes) -> None:
        """Post once.

        Raises:
            TemporaryError: No answer, or one that says to come again.
            PermanentError: Refused, or what is needed for the request cannot be read now.
        """
        if self._session is None:
            raise errors.TemporaryError("it is not running")
        headers = {"Content-Type": "application/json", **_headers_of(self._settings)}
        address = _address_of(self._settings)
        try:
            # A redirect would carry the payload and the headers to somebody else.
            async with self._session.post(
                address, data=payload, headers=headers, allow_redirects=False
            ) as response:
                status, retry_after = response.status, response.headers.get("Retry-After", "")
                # What it says is of no use, and may be without end.
                response.close()
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as cause:
            raise errors.TemporaryError(_without_secrets(cause)) from cause
        _raise_for(status, retry_after)


def _payload(settings: WebhookSettings) -> Payload:
    try:
        return Payload(settings.template, cluster=settings.cluster)
    except errors.ConfigurationError as error:
        raise errors.ConfigurationError(f"template: {error}") from error


def _patiently() -> tenacity.AsyncRetrying:
    def pause(state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after if isinstance(error, errors.TemporaryError) else None
        return max(_WAIT(state), 0.0 if asked is None else asked.total_seconds())

    return tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(errors.TemporaryError),
        wait=pause,
        stop=tenacity.stop_after_attempt(_ATTEMPTS),
        reraise=True,
    )


def _raise_for(status: int, retry_after: str) -> None:
    if http.HTTPStatus.OK <= status < http.HTTPStatus.MULTIPLE_CHOICES:
        return
    if status in _TEMPORARY or status >= http.HTTPStatus.INTERNAL_SERVER_ERROR:
        pause = errors.parse_retry_after(retry_after)
        raise errors.TemporaryError(
            f"it answers {status}", retry_after=pause and min(pause, _LONGEST_RETRY_AFTER)
        )
    is_redirect = status < http.HTTPStatus.BAD_REQUEST
    follows = ", and redirects are not followed" if is_redirect else ""
    raise errors.PermanentError(f"it answers {status}{follows}")


def _without_secrets(cause: Exception) -> str:
    """What went wrong, in words that hold no part of the URL but its host."""
    match cause:
        case TimeoutError():
            return "no answer in time"
        case aiohttp.ClientConnectorError() | aiohttp.ServerDisconnectedError():
            return str(cause)
        case OSError():
            return cause.strerror or type(cause).__name__
        case _:
            return type(cause).__name__


def _address_of(settings: WebhookSettings) -> str:
    """The URL, read anew where it stands in a file."""
    if settings.url is not None:
        return settings.url.get_secret_value()
    if settings.url_file is None:
        raise errors.PermanentError("url: not set")
    address = _read(settings.url_file, "url_file").strip()
    if not is_web_address(address):
        raise errors.PermanentError(f"url_file: {settings.url_file}: it holds no http(s) URL")
    return address


def _headers_of(settings: WebhookSettings) -> dict[str, str]:
    """More headers, read anew for each notice."""
    if settings.headers_file is None:
        return {}
    lines = _read(settings.headers_file, "headers_file").splitlines()
    return dict(_headers(lines, settings.headers_file))


def _headers(lines: Sequence[str], path: pathlib.Path) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        name, colon, value = line.partition(":")
        if not colon or not _HEADER_NAME.fullmatch(name) or not value.isprintable():
            raise errors.PermanentError(
                f"headers_file: {path}: line {number} is none of the form `Name: value`"
            )
        yield name, value.strip()


def _read(path: pathlib.Path, key: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as cause:
        raise errors.PermanentError(f"{key}: {path}: cannot be read: {cause.strerror}") from cause
    except UnicodeDecodeError as cause:
        raise errors.PermanentError(f"{key}: {path}: it is not UTF-8") from cause


def _count(notice: DrainNotification, outcome: metrics.WebhookDelivery) -> None:
    metrics.WEBHOOK_NOTIFICATIONS.labels(moment=notice.moment, outcome=outcome).inc()
