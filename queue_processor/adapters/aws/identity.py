"""Ask STS whose the credentials are."""

import dataclasses
from typing import TYPE_CHECKING

import botocore.exceptions

from queue_processor.adapters.aws import errors as aws_errors
from queue_processor.domain import errors

if TYPE_CHECKING:
    from types_boto3_sts import STSClient


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CallerIdentity:
    """The account and the role or user of credentials.

    Attributes:
        date: The `Date` of the answer; empty if it has none.
    """

    account: str
    arn: str
    date: str


def caller_identity(client: "STSClient") -> CallerIdentity:
    """Return whose the credentials are, which needs no permission.

    https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html

    Raises:
        ConfigurationError: AWS refuses the credentials.
        TemporaryError: STS does not answer.
    """
    try:
        with aws_errors.translated("sts:GetCallerIdentity"):
            answer = client.get_caller_identity()
    except errors.QueueProcessorError as error:
        if not isinstance(error.__cause__, botocore.exceptions.ClientError):
            raise
        raise errors.ConfigurationError(
            f"AWS refuses the credentials: {error}",
            cure="renew them (`aws sso login`), or check AWS_PROFILE and the AWS_… variables",
        ) from error
    return CallerIdentity(
        account=answer["Account"],
        arn=answer["Arn"],
        date=answer["ResponseMetadata"]["HTTPHeaders"].get("date", ""),
    )
