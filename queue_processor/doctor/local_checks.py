"""Check what needs no connection, or only an answer: settings, webhooks, the clock."""

import datetime as dt
import importlib.metadata

from queue_processor.adapters.webhooks import delivery
from queue_processor.doctor import findings
from queue_processor.doctor.findings import Finding
from queue_processor.doctor.installation import Installation
from queue_processor.doctor.readings import Caller
from queue_processor.doctor.server_time import ServerTime
from queue_processor.doctor.shared_reads import or_none
from queue_processor.domain import errors

# Deadlines are counted from times that AWS states. A Spot interruption leaves two minutes.
_TOLERATED_SKEW = dt.timedelta(seconds=2)
_HARMFUL_SKEW = dt.timedelta(seconds=15)


async def settings(installation: Installation) -> Finding:
    """See that the settings are valid."""
    loaded = await installation.settings()
    version = importlib.metadata.version("queue-processor")
    return findings.ok(f"version {version}, queue_url {loaded.queue_url or 'not set'}")


async def webhooks(installation: Installation) -> Finding:
    """See that templates render and files can be read, as `run` does; nothing is sent."""
    configured = (await installation.settings()).webhooks
    try:
        delivery.from_settings(configured)
    except errors.ConfigurationError as error:
        return findings.failed(str(error), "correct the template or the file that is named")
    return findings.ok(f"{len(configured)} configured")


async def clock(installation: Installation) -> Finding:
    """Compare our clock with those of AWS and the API server."""
    caller, cluster = await or_none(installation.caller), await or_none(installation.cluster)
    times = [
        reading.time
        for reading in (caller if isinstance(caller, Caller) else None, cluster)
        if reading is not None and reading.time is not None
    ]
    if not times:
        return findings.skipped("neither AWS nor the API server has shown its time")
    problems = [_problem_of(each) for each in times if abs(each.skew) > _TOLERATED_SKEW]
    names = " and ".join(each.server for each in times)
    return findings.merged(problems, otherwise=findings.ok(f"like those of {names}"))


def _problem_of(time: ServerTime) -> Finding:
    judge = findings.failed if abs(time.skew) > _HARMFUL_SKEW else findings.warning
    direction = "ahead of" if time.skew > dt.timedelta() else "behind"
    return judge(
        f"this clock is {abs(time.skew).total_seconds():.0f} s {direction} that of {time.server},"
        " so deadlines are missed or come too early",
        "synchronize the clock of this machine (chrony, or the Amazon Time Sync Service)",
    )
