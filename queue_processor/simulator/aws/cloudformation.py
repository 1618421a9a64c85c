"""CloudFormation, where moto reads a template differently from AWS, and the queues of a stack.

moto makes queues in its own SQS; here they are made in ours, with their policies, which moto
leaves out. Resources of types that moto does not know change nothing that the simulator shows, and
get a name only. A stack can be created, not changed or deleted: `AwsSimulator.reset` forgets it.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import yaml
from moto.cloudformation import exceptions, models, parsing, utils

from queue_processor.simulator.aws import http, patches
from queue_processor.simulator.aws.sqs import SimulatedSqs

_Properties: TypeAlias = Mapping[str, Any]

_NAMED_ONLY = (
    "AWS::CloudWatch::Alarm",
    "AWS::EKS::PodIdentityAssociation",
    "AWS::SNS::Subscription",
    "AWS::SNS::TopicPolicy",
)


@dataclasses.dataclass
class _Resource:
    """A resource of a stack, as moto asks for it."""

    physical_resource_id: str
    attributes: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @staticmethod
    def is_created() -> bool:
        return True

    def get_cfn_attribute(self, name: str) -> str:
        if name not in self.attributes:
            raise exceptions.UnformattedGetAttTemplateException
        return self.attributes[name]


@dataclasses.dataclass(frozen=True)
class _ResourceType:
    """A type of resources; it stands where moto has a class for one.

    Attributes:
        make: Makes a resource of its name and its properties.
        attributes: What Fn::GetAtt may ask of one.
    """

    make: Callable[[str, _Properties], _Resource]
    attributes: tuple[str, ...] = ()

    def has_cfn_attr(self, name: str) -> bool:
        return name in self.attributes

    def create_from_cloudformation_json(
        self, resource_name: str, cloudformation_json: _Properties, *_: str, **__: str
    ) -> _Resource:
        return self.make(resource_name, cloudformation_json["Properties"])


@contextlib.contextmanager
def installed(sqs: http.HttpSqs) -> Iterator[None]:
    """Let moto's CloudFormation make what this module can make.

    Raises:
        MotoChangedError: moto no longer reads templates with the functions replaced here.
    """
    named = _ResourceType(lambda name, _: _Resource(name))
    types = {
        **dict.fromkeys(_NAMED_ONLY, named),
        "AWS::SQS::Queue": _ResourceType(
            lambda name, properties: _make_queue(sqs, name, properties), ("Arn", "QueueName")
        ),
        "AWS::SQS::QueuePolicy": _ResourceType(
            lambda name, properties: _set_policy(sqs, name, properties)
        ),
    }
    class_of = parsing.resource_class_from_type
    clean = parsing.clean_json

    def class_or_ours(resource_type: str) -> object:
        return types.get(resource_type) or class_of(resource_type)

    # AWS::NoValue takes an item out of a list, as it takes a property out of a resource.
    # https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/pseudo-parameter-reference.html
    def clean_without_no_value(resource_json: object, resources_map: parsing.ResourceMap) -> object:
        cleaned = clean(resource_json, resources_map)
        if isinstance(resource_json, list):
            return [value for value in cleaned if value is not None]
        return cleaned

    with (
        patches.replaced(
            models.Stack,
            "parse_template",
            staticmethod(_parse_template),
            parameters=("template",),
        ),
        patches.replaced(
            parsing, "resource_class_from_type", class_or_ours, parameters=("resource_type",)
        ),
        patches.replaced(
            parsing,
            "clean_json",
            clean_without_no_value,
            parameters=("resource_json", "resources_map"),
        ),
    ):
        yield


class _Loader(yaml.CLoader):
    """Reads a template by libyaml: moto's loader needs nine tenths of the time of a deployment."""


_Loader.add_multi_constructor("", utils.yaml_tag_constructor)


def _parse_template(template: str) -> object:
    return yaml.load(template, Loader=_Loader)  # noqa: S506 as moto does: it is our own template


def _make_queue(sqs: http.HttpSqs, name: str, properties: _Properties) -> _Resource:
    attributes = {
        key: value for key, value in properties.items() if key not in ("QueueName", "Tags")
    }
    url = sqs.call("CreateQueue", QueueName=name, Attributes=attributes)["QueueUrl"]
    return _Resource(url, {"Arn": SimulatedSqs.arn_of(name), "QueueName": name})


def _set_policy(sqs: http.HttpSqs, name: str, properties: _Properties) -> _Resource:
    for url in properties["Queues"]:
        policy = {"Policy": properties["PolicyDocument"]}
        sqs.call("SetQueueAttributes", QueueUrl=url, Attributes=policy)
    return _Resource(name)
