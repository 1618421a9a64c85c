"""Post notifications in the background.

Each receiver has its own bounded outbox: a slow receiver delays neither drains nor other receivers.
Its notifications are posted one at a time, because the end of a drain must not overtake its start.
Failed posts are retried; what does not fit into the outbox is dropped and counted.
"""

import asyncio
import datetime as dt
import http
import pathlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import aiohttp
import structlog

from queue_processor import proxies
from queue_processor.domain import errors
from queue_processor.domain.notifications import DrainNotification
from queue_processor.observability import metrics
from queue_processor.outbox import Outbox
from queue_processor.retrying import retrying
from queue_processor.settings.groups import parse_http_url
from queue_processor.settings.webhooks import WebhookSettings

if TYPE_CHECKING:
    from queue_processor.adapters.webhooks.payloads import Payload

_log = structlog.get_logger(__name__)

_WAITING_LIMIT = 1000
_ATTEMPTS = 4
_LONGEST_DELAY = dt.timedelta(seconds=10)
_LONGEST_RETRY_AFTER = dt.timedelta(seconds=30)
_TEMPORARY = frozenset({http.HTTPStatus.REQUEST_TIMEOUT, http.HTTPStatus.TOO_MANY_REQUESTS})
# https://www.rfc-editor.org/rfc/rfc9110.html#name-field-names
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class Webhooks:
    """All receivers; nothing is posted unless `run` is running."""

    def __init__(self, receivers: Sequence["Receiver"]) -> None:
        self._receivers = receivers

    def notify(self, notification: DrainNotification) -> None:
        """Post a notification to all receivers in the background; never block or raise."""
        for receiver in self._receivers:
            receiver.put(notification)

    async def run(self) -> None:
        """Post notifications until cancelled."""
        async with asyncio.TaskGroup() as group:
            for receiver in self._receivers:
                group.create_task(receiver.run(), name=receiver.name)

    async def flush(self) -> None:
        """Return when every notification so far has been posted or has failed."""
        await asyncio.gather(*(receiver.flush() for receiver in self._receivers))


def from_settings(webhooks: Iterable[WebhookSettings]) -> Webhooks:
    """Create the receivers, and check their templates and files.

    Raises:
        ConfigurationError: Some cannot be used; one line for each, which starts with the setting.
    """
    receivers, problems = [], []
    for number, settings in enumerate(webhooks):
        name = f"webhooks.{number}"
        try:
            receivers.append(Receiver(settings, name=name))
        except errors.ConfigurationError as error:
            problems.append(f"{name}.{error}")
    if problems:
        raise errors.ConfigurationError("\n".join(problems))
    return Webhooks(receivers)


class Receiver:
    """One webhook.

    Attributes:
        name: Its position in the settings, which identifies it in the log: the URL is a secret.
    """

    def __init__(self, settings: WebhookSettings, *, name: str) -> None:
        """Check the template and the files.

        Raises:
            ConfigurationError: The template or a file cannot be used.
        """
        self.name = name
        self._settings = settings
        self._payload = _payload(settings)
        for read in (_url_of, _headers_of):
            try:
                read(settings)
            except errors.PermanentError as error:
                raise errors.ConfigurationError(str(error)) from error
        self._session: aiohttp.ClientSession | None = None
        self._is_full = False
        self._outbox: Outbox[DrainNotification] = Outbox(
            self._deliver, name=name, limit=_WAITING_LIMIT, senders=1
        )

    def put(self, notification: DrainNotification) -> None:
        """Enqueue a notification, unless it is about a phase that the receiver does not want."""
        if notification.phase not in self._settings.phases:
            return
        is_full = not self._outbox.put(notification)
        if is_full:
            _count(notification, metrics.NotificationOutcome.DROPPED)
            if not self._is_full:
                _log.warning(
                    "webhook_notifications_dropped", webhook=self.name, waiting=_WAITING_LIMIT
                )
        self._is_full = is_full

    async def run(self) -> None:
        """Post notifications until cancelled."""
        async with aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "queue-processor"},
            timeout=aiohttp.ClientTimeout(total=self._settings.timeout_seconds),
        ) as self._session:
            try:
                await self._outbox.run()
            finally:
                if len(self._outbox):
                    _log.info(
                        "webhook_notifications_not_sent", webhook=self.name, count=len(self._outbox)
                    )

    async def flush(self) -> None:
        """Return when every notification so far has been posted or has failed."""
        await self._outbox.flush()

    async def _deliver(self, notification: DrainNotification) -> None:
        try:
            payload = self._payload.of(notification)
            async for attempt in retrying(attempts=_ATTEMPTS, longest_delay=_LONGEST_DELAY):
                with attempt:
                    await self._post(payload)
        except (errors.TemporaryError, errors.PermanentError) as error:
            _count(notification, metrics.NotificationOutcome.FAILED)
            _log.warning(
                "webhook_failed",
                webhook=self.name,
                phase=notification.phase,
                node=notification.plan.node_name,
                error=str(error),
            )
        else:
            _count(notification, metrics.NotificationOutcome.DELIVERED)

    async def _post(self, payload: bytes) -> None:
        """Post once.

        Raises:
            TemporaryError: No answer, or one that asks to come back later.
            PermanentError: The receiver refused, or a file cannot be read now.
        """
        if self._session is None:
            raise errors.TemporaryError("not running")
        headers = {"Content-Type": "application/json", **_headers_of(self._settings)}
        url = _url_of(self._settings)
        proxy = _proxy_for(url)
        try:
            # A redirect would send the payload and the headers to a different receiver.
            async with self._session.post(
                url, data=payload, headers=headers, proxy=proxy, allow_redirects=False
            ) as response:
                status, retry_after = response.status, response.headers.get("Retry-After", "")
                # The body is not needed, and may be endless.
                response.close()
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as cause:
            way = f" (through the proxy {proxies.shown(proxy)})" if proxy else ""
            raise errors.TemporaryError(f"{_without_secrets(cause)}{way}") from cause
        _raise_for(status, retry_after)


def _payload(settings: WebhookSettings) -> "Payload":
    # The template engine takes 4 MiB.
    from queue_processor.adapters.webhooks.payloads import Payload  # noqa: PLC0415

    try:
        return Payload(settings.template, cluster=settings.cluster)
    except errors.ConfigurationError as error:
        raise errors.ConfigurationError(f"template: {error}") from error


def _raise_for(status: int, retry_after: str) -> None:
    if http.HTTPStatus.OK <= status < http.HTTPStatus.MULTIPLE_CHOICES:
        return
    if status in _TEMPORARY or status >= http.HTTPStatus.INTERNAL_SERVER_ERROR:
        pause = errors.parse_retry_after(retry_after)
        raise errors.TemporaryError(
            f"the receiver answers {status}",
            retry_after=pause and min(pause, _LONGEST_RETRY_AFTER),
        )
    is_redirect = status < http.HTTPStatus.BAD_REQUEST
    note = ", and redirects are not followed" if is_redirect else ""
    raise errors.PermanentError(f"the receiver answers {status}{note}")


def _proxy_for(url: str) -> str | None:
    try:
        return proxies.proxy_for(url)
    except errors.ConfigurationError as error:
        raise errors.PermanentError(str(error)) from error


def _without_secrets(cause: Exception) -> str:
    """Describe an error without any part of the URL but its host."""
    match cause:
        case TimeoutError():
            return "no answer in time"
        case aiohttp.ClientConnectorError() | aiohttp.ServerDisconnectedError():
            return str(cause)
        case OSError():
            return cause.strerror or type(cause).__name__
        case _:
            return type(cause).__name__


def _url_of(settings: WebhookSettings) -> str:
    """Return the URL; a file is read again for each attempt."""
    if settings.url is not None:
        return str(settings.url.get_secret_value())
    if settings.url_file is None:
        raise errors.PermanentError("url: not set")
    text = _read(settings.url_file, "url_file").strip()
    try:
        return str(parse_http_url(text))
    except ValueError as cause:
        raise errors.PermanentError(f"url_file: {settings.url_file}: {cause}") from cause


def _headers_of(settings: WebhookSettings) -> dict[str, str]:
    """Return the additional headers; the file is read again for each attempt."""
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
                f"headers_file: {path}: line {number}: `Name: value` is required"
            )
        yield name, value.strip()


def _read(path: pathlib.Path, key: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as cause:
        raise errors.PermanentError(f"{key}: {path}: cannot be read: {cause.strerror}") from cause
    except UnicodeDecodeError as cause:
        raise errors.PermanentError(f"{key}: {path}: not UTF-8") from cause


def _count(notification: DrainNotification, outcome: metrics.NotificationOutcome) -> None:
    metrics.WEBHOOK_NOTIFICATIONS.labels(phase=notification.phase, outcome=outcome).inc()
