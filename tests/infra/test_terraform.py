"""The Terraform module deploys the template, with a variable for each parameter."""

import pathlib
from typing import Any

import hcl2
import pytest

from tests.infra import templates, terraform


def read(name: str) -> dict[str, Any]:
    """Parse a file of the module."""
    with (terraform.MODULE / name).open(encoding="utf-8") as file:
        document: dict[str, Any] = hcl2.load(file)
    return document


def named(blocks: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Key blocks by their label, which the parser leaves in its quotes."""
    return {label.strip('"'): body for block in blocks for label, body in block.items()}


def test_the_interface_is_up_to_date() -> None:
    assert terraform.INTERFACE.read_text(encoding="utf-8") == terraform.interface(), (
        "make manifests"
    )


def test_every_parameter_has_a_variable_and_gets_its_value() -> None:
    parameters = templates.read(templates.QUEUE)["Parameters"]
    interface = read("interface.tf")
    variables = named(interface["variable"])
    (local,) = interface["locals"]

    assert variables.keys() - {"name", "tags"} == {
        terraform.snake_case(name) for name in parameters
    }
    assert local["parameters"].keys() == parameters.keys()
    for name, value in local["parameters"].items():
        assert f"var.{terraform.snake_case(name)}" in value


def test_every_output_of_the_stack_is_one_of_the_module() -> None:
    outputs = templates.read(templates.QUEUE)["Outputs"]

    assert named(read("interface.tf")["output"]).keys() == {
        terraform.snake_case(name) for name in outputs
    }


@pytest.mark.parametrize(
    ("name", "kind", "default"),
    [
        ("use_managed_tag", "bool", False),
        ("oldest_message_seconds", "number", 60),
        ("auto_scaling_group_names", "list(string)", []),
        ("service_account_name", "string", "queue-processor"),
    ],
)
def test_a_variable_has_the_type_of_its_values(name: str, kind: str, default: object) -> None:
    variable = named(read("interface.tf")["variable"])[name]
    shown = variable["default"]

    assert variable["type"].strip("${}") == kind
    assert (shown.strip('"') if isinstance(shown, str) else shown) == default


def test_the_module_deploys_the_template_of_this_project() -> None:
    (resource,) = read("main.tf")["resource"]
    stack = named([named([resource])["aws_cloudformation_stack"]])["this"]
    path = stack["template_body"].split("${path.module}/")[1].split('"')[0]

    assert (terraform.MODULE / pathlib.Path(path)).resolve() == templates.QUEUE.resolve()
