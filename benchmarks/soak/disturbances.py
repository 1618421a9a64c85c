"""Disturbances of a storm: of its leaders, the API server, AWS, and the messages."""

import asyncio
import random

from benchmarks.soak.environment import SoakEnvironment
from queue_processor.simulator.aws.faults import AwsFault

# In one storm.
LEADERS_ENDED = 3
# A storm takes two to three seconds when nothing disturbs it.
_LATEST_SECONDS = 2.5
# For faults that last, most of the storm is to come.
_EARLY_SECONDS = 1.0
OVER_SECONDS = 240.0
_API_SERVER = "kube-apiserver"


async def kill_leaders(environment: SoakEnvironment, rng: random.Random) -> None:
    """Kill one leader after the other."""
    for _ in range(LEADERS_ENDED):
        await asyncio.sleep(rng.uniform(0, _LATEST_SECONDS))
        await environment.kill_leader()


async def stop_leaders(environment: SoakEnvironment, rng: random.Random) -> None:
    """Stop one leader after the other, as Kubernetes does."""
    for _ in range(LEADERS_ENDED):
        await asyncio.sleep(rng.uniform(0, _LATEST_SECONDS))
        await environment.stop_leader()


async def restart_api_server(environment: SoakEnvironment, rng: random.Random) -> None:
    """Kill the API server, and start it again."""
    await asyncio.sleep(rng.uniform(0, _LATEST_SECONDS))
    environment.faults += 1
    environment.plane.kill(_API_SERVER)
    await asyncio.sleep(rng.uniform(0, _LATEST_SECONDS))
    environment.plane.launch(_API_SERVER)
    await asyncio.to_thread(environment.plane.await_ready)


async def refuse_requests(environment: SoakEnvironment, rng: random.Random) -> None:
    """Let the API server answer 429, then 500."""
    await asyncio.sleep(rng.uniform(0, _EARLY_SECONDS))
    for status in (429, 500):
        environment.proxy.status = status
        await asyncio.sleep(5)
    environment.proxy.status = None


async def delay_requests(environment: SoakEnvironment, rng: random.Random) -> None:
    """Let the API server answer late until the storm is over."""
    await asyncio.sleep(rng.uniform(0, _EARLY_SECONDS))
    environment.proxy.delay_seconds = 3.0
    await environment.until_over(OVER_SECONDS)
    environment.proxy.delay_seconds = 0.0


async def cut_watches(environment: SoakEnvironment, _rng: random.Random) -> None:
    """Cut all watches every second."""
    for _ in range(15):
        environment.proxy.cut_watches()
        await asyncio.sleep(1)


async def silence_watches(environment: SoakEnvironment, rng: random.Random) -> None:
    """Let nothing arrive any more from the watches that are open."""
    await asyncio.sleep(rng.uniform(0, _EARLY_SECONDS))
    environment.proxy.silence_watches(10)


async def fail_calls_of_aws(environment: SoakEnvironment, rng: random.Random) -> None:
    """Let AWS answer 500, then throttle, then reset connections."""
    await asyncio.sleep(rng.uniform(0, _EARLY_SECONDS))
    for fault in (AwsFault.INTERNAL_ERROR, AwsFault.THROTTLED, AwsFault.RESET):
        with environment.aws_faults.injected(fault):
            await asyncio.sleep(10)


async def lose_replies(environment: SoakEnvironment, _: random.Random) -> None:
    """Lose a part of the replies of AWS."""
    with environment.aws_faults.injected(AwsFault.LOST_REPLY, share=0.3):
        await environment.until_over(30)


async def expire_credentials(environment: SoakEnvironment, rng: random.Random) -> None:
    """Let AWS call the credentials expired."""
    await asyncio.sleep(rng.uniform(0, _EARLY_SECONDS))
    with environment.aws_faults.injected(AwsFault.EXPIRED):
        await asyncio.sleep(10)


async def redeliver(environment: SoakEnvironment, rng: random.Random) -> None:
    """Deliver the messages in flight again, twice."""
    for _ in range(2):
        await asyncio.sleep(rng.uniform(0, _LATEST_SECONDS / 2))
        environment.faults += environment.redeliver()


async def only_send(environment: SoakEnvironment, _: random.Random) -> None:
    """Count the storm itself: its messages are the fault."""
    environment.faults += 1
