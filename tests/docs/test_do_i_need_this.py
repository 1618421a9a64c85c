"""docs/do-i-need-this.md: its selectors leave out the nodes that they are for, and no others."""

import re

import pytest

from docs import reference
from queue_processor.domain import selectors

PAGE = reference.DOCS / "do-i-need-this.md"
NODES = {
    "self-managed": {"kubernetes.io/os": "linux"},
    "managed node group": {"eks.amazonaws.com/nodegroup": "workers"},
    "Karpenter": {"karpenter.sh/nodepool": "default", "karpenter.sh/capacity-type": "spot"},
    # It is Karpenter that runs there.
    "Auto Mode": {
        "eks.amazonaws.com/compute-type": "auto",
        "karpenter.sh/nodepool": "general-purpose",
    },
}


def shown_selectors() -> dict[str, str]:
    """The selectors of the page, by their heading."""
    sections = re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return {
        section.partition("\n")[0]: match[1]
        for section in sections
        if (match := re.search(r'node_selector: "(.+)"', section))
    }


@pytest.mark.parametrize(
    ("heading", "left_out"),
    [
        ("EKS managed node groups", {"managed node group"}),
        ("Karpenter", {"Karpenter", "Auto Mode"}),
        ("EKS Auto Mode", {"Auto Mode"}),
    ],
)
def test_a_selector_leaves_out_the_nodes_that_it_is_for(heading: str, left_out: set[str]) -> None:
    selector = selectors.parse(shown_selectors()[heading])

    assert {name for name, labels in NODES.items() if not selector.selects(labels)} == left_out


def test_every_selector_of_the_page_is_tried() -> None:
    assert shown_selectors().keys() == {"EKS managed node groups", "Karpenter", "EKS Auto Mode"}
