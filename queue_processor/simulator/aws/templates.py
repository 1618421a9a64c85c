"""CloudFormation, where moto reads a template differently from AWS.

Of a resource that moto does not know it says so in a warning, and makes none. Those here change
nothing that the simulator shows, and are taken as made.
"""

import contextlib
from collections.abc import Iterator
from typing import Any, Self

from moto.cloudformation import parsing
from moto.core import common_models

from queue_processor.simulator.aws import patches


class Unnamed:
    """A resource that CloudFormation names, and that leaves nothing to be taken away.

    A class that moto is to find has to be a direct CloudFormationModel besides.
    """

    def __init__(self, name: str) -> None:
        self.physical_resource_id = name

    @staticmethod
    def cloudformation_name_type() -> str:
        """The property that names it: there is none."""
        return ""

    @classmethod
    def delete_from_cloudformation_json(
        cls,
        resource_name: str,
        cloudformation_json: dict[str, Any],
        account_id: str,
        region_name: str,
    ) -> None:
        """Take it as gone."""

    def is_created(self) -> bool:
        """What CloudFormation asks of a resource."""
        return True


class _Shadow(Unnamed):
    """A resource of which only the name is there."""

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:  # noqa: ARG003 as moto has it
        """Whether Fn::GetAtt knows the attribute."""
        return False

    @classmethod
    def create_from_cloudformation_json(
        cls,
        resource_name: str,
        cloudformation_json: dict[str, Any],  # noqa: ARG003 as moto has it
        account_id: str,  # noqa: ARG003 as moto has it
        region_name: str,  # noqa: ARG003 as moto has it
        **kwargs: Any,  # noqa: ANN401, ARG003 as moto has it
    ) -> Self:
        """Take it as made."""
        return cls(resource_name)

    @classmethod
    def update_from_cloudformation_json(
        cls,
        original_resource: Self,
        new_resource_name: str,  # noqa: ARG003 as moto has it
        cloudformation_json: dict[str, Any],  # noqa: ARG003 as moto has it
        account_id: str,  # noqa: ARG003 as moto has it
        region_name: str,  # noqa: ARG003 as moto has it
    ) -> Self:
        """Take it as changed."""
        return original_resource


class Alarm(_Shadow, common_models.CloudFormationModel):
    """AWS::CloudWatch::Alarm."""

    @staticmethod
    def cloudformation_type() -> str:
        """The type of the resource in a template."""
        return "AWS::CloudWatch::Alarm"


class PodIdentityAssociation(_Shadow, common_models.CloudFormationModel):
    """AWS::EKS::PodIdentityAssociation."""

    @staticmethod
    def cloudformation_type() -> str:
        """The type of the resource in a template."""
        return "AWS::EKS::PodIdentityAssociation"


class TopicPolicy(_Shadow, common_models.CloudFormationModel):
    """AWS::SNS::TopicPolicy."""

    @staticmethod
    def cloudformation_type() -> str:
        """The type of the resource in a template."""
        return "AWS::SNS::TopicPolicy"


class Subscription(_Shadow, common_models.CloudFormationModel):
    """AWS::SNS::Subscription."""

    @staticmethod
    def cloudformation_type() -> str:
        """The type of the resource in a template."""
        return "AWS::SNS::Subscription"


@contextlib.contextmanager
def installed() -> Iterator[None]:
    """Let AWS::NoValue take an item out of a list, as it takes a property out of a resource.

    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/pseudo-parameter-reference.html

    Raises:
        MotoChangedError: when moto no longer reads templates with the function replaced here.
    """
    clean = parsing.clean_json

    def clean_without_no_value(resource_json: object, resources_map: parsing.ResourceMap) -> object:
        cleaned = clean(resource_json, resources_map)
        if isinstance(resource_json, list):
            return [value for value in cleaned if value is not None]
        return cleaned

    with patches.replaced(
        parsing,
        "clean_json",
        clean_without_no_value,
        parameters=("resource_json", "resources_map"),
    ):
        yield
