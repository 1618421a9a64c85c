"""Check credentials, queue and queue policy."""

import datetime as dt
from collections.abc import Sequence

import humanize

from queue_processor.doctor import findings
from queue_processor.doctor.findings import Finding
from queue_processor.doctor.installation import Installation
from queue_processor.domain import errors, identifiers, queue_policy

# A message in flight comes back after 12 hours at the latest.
_SHORTEST_RETENTION = dt.timedelta(hours=12)
# Its key policy cannot be changed, so services are not allowed to use it.
# https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html#compatibility-with-aws-services
_AWS_MANAGED_KEY = "alias/aws/sqs"


async def credentials(installation: Installation) -> Finding:
    """See that AWS accepts the credentials."""
    caller = await installation.caller()
    if isinstance(caller, errors.TemporaryError):
        return findings.ok("there are some; STS does not answer, so it is unknown whose")
    return findings.ok(caller.identity.arn)


async def account(installation: Installation) -> Finding:
    """Compare the account of the credentials with that of the queue."""
    settings, caller = await installation.settings(), await installation.caller()
    of_queue = identifiers.account_of(settings.queue_url)
    if isinstance(caller, errors.TemporaryError):
        return findings.skipped(f"STS does not answer: {caller}")
    of_caller = caller.identity.account
    if of_queue is None:
        return findings.skipped("queue_url shows no account")
    if of_caller != of_queue:
        return findings.failed(
            f"the credentials are of account {of_caller}, and the queue is in {of_queue}",
            f"use credentials of account {of_queue}, or correct queue_url",
        )
    return findings.ok(of_queue)


async def region(installation: Installation) -> Finding:
    """Compare the Region of requests with that of the queue."""
    settings, aws = await installation.settings(), await installation.aws()
    of_queue = identifiers.region_of(settings.queue_url)
    if of_queue is None:
        return findings.skipped("queue_url shows no Region")
    if aws.region != of_queue:
        return findings.failed(
            f"AWS_REGION is {aws.region}, and the queue is in {of_queue}",
            f"unset AWS_REGION, or set it to {of_queue}",
        )
    return findings.ok(of_queue)


async def queue(installation: Installation) -> Finding:
    """See that the queue can be reached and used."""
    reading = await installation.queue()
    state = reading.state
    return findings.ok(
        f"{reading.client.name}: {state.visible} messages wait, {state.in_flight} are in flight"
    )


async def dead_letter_queue(installation: Installation) -> Finding:
    """See that there is a dead-letter queue."""
    redrive = (await installation.queue()).state.redrive
    if redrive is None:
        return findings.warning(
            "the queue has none: malformed messages are deleted, and SQS never moves a message that"
            " is received again and again",
            f"give the queue a redrive policy, as {findings.TEMPLATE} does",
        )
    state = await installation.dead_letters(redrive.target_arn)
    return findings.ok(f"{state.arn}: {state.visible} messages wait")


async def max_receive_count(installation: Installation) -> Finding:
    """See that messages are received often enough before SQS gives them up."""
    redrive = (await installation.queue()).state.redrive
    if redrive is None:
        return findings.skipped("there is no redrive policy")
    if redrive.has_few_receives:
        return findings.warning(
            f"it is {redrive.max_receive_count}: restarts and retries of the operator cost a"
            " receive each, so events get lost to the dead-letter queue",
            "set maxReceiveCount of the redrive policy to 50",
        )
    return findings.ok(str(redrive.max_receive_count))


async def retention(installation: Installation) -> Finding:
    """See that messages outlast a long drain."""
    period = (await installation.queue()).configuration.retention
    if period < _SHORTEST_RETENTION:
        return findings.warning(
            f"SQS deletes messages after {humanize.precisedelta(period)}, even while their node is"
            " being drained",
            "set MessageRetentionPeriod to 1209600 (14 days)",
        )
    return findings.ok(humanize.precisedelta(period))


async def encryption(installation: Installation) -> Finding:
    """See that the queue is encrypted, with a key that EventBridge may use."""
    configuration = (await installation.queue()).configuration
    if configuration.kms_key is not None and configuration.kms_key.endswith(_AWS_MANAGED_KEY):
        return findings.failed(
            f"EventBridge cannot send to a queue with the key {_AWS_MANAGED_KEY}",
            "set SqsManagedSseEnabled to true, or use a KMS key of your own whose policy allows"
            " events.amazonaws.com kms:GenerateDataKey and kms:Decrypt",
        )
    if not configuration.is_encrypted:
        return findings.warning(
            "messages are not encrypted at rest", "set SqsManagedSseEnabled to true"
        )
    return findings.ok(configuration.kms_key or "keys of SQS")


async def policy(installation: Installation) -> Finding:
    """See who can send to the queue."""
    document = (await installation.queue()).configuration.policy
    problems = [*_problems_of_eventbridge(document), *_problems_of_senders(document)]
    return findings.merged(problems, otherwise=findings.ok("only under conditions can anyone send"))


def _problems_of_eventbridge(document: str | None) -> Sequence[Finding]:
    if queue_policy.may_allow_rules(document):
        return ()
    cause = "it does not allow EventBridge to send, so no rule delivers an event"
    cure = f"allow events.amazonaws.com sqs:SendMessage for your rules, as {findings.TEMPLATE} does"
    return [findings.failed(cause, cure)]


def _problems_of_senders(document: str | None) -> Sequence[Finding]:
    senders = queue_policy.unconditional_senders(document)
    if not senders:
        return ()
    is_open = queue_policy.EVERYBODY in senders
    cause = f"it allows {', '.join(senders)} to send without a condition; a sender can have any"
    cure = "remove the statement, or give it a condition, such as aws:SourceArn with your rules"
    return [(findings.failed if is_open else findings.warning)(f"{cause} node drained", cure)]
