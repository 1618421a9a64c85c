import pytest

from queue_processor.simulator.kube import resources, selection, statuses


@pytest.mark.parametrize("text", ["app in web", "=web", "a b", "app in (x"])
def test_an_invalid_label_selector_is_a_bad_request(text: str) -> None:
    with pytest.raises(statuses.ApiError) as caught:
        selection.parse_labels(text)
    assert caught.value.code == 400


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("spec.nodeName=a", True),
        ("spec.nodeName==a,status.phase!=Failed", True),
        ("spec.nodeName!=a", False),
        ("metadata.name=p,metadata.namespace=default", True),
        ("status.podIP=", True),
    ],
)
def test_field_selectors_compare_fields_as_texts(
    text: str,
    expected: bool,  # noqa: FBT001 - the expectation of a table
) -> None:
    pod = {
        "metadata": {"name": "p", "namespace": "default"},
        "spec": {"nodeName": "a"},
        "status": {"phase": "Running"},
    }
    assert selection.parse_fields(text, resources.PODS).matches(pod) is expected


def test_an_absent_unschedulable_reads_as_false() -> None:
    selector = selection.parse_fields("spec.unschedulable=false", resources.NODES)
    assert selector.matches({"metadata": {"name": "a"}, "spec": {}})
    assert not selector.matches({"metadata": {"name": "a"}, "spec": {"unschedulable": True}})


@pytest.mark.parametrize(
    ("text", "resource"),
    [
        ("spec.podCIDR=x", resources.NODES),
        ("metadata.namespace=x", resources.NODES),
        ("spec.nodeName=a", resources.ATTACHMENTS),
        ("nonsense", resources.PODS),
    ],
)
def test_a_field_that_cannot_be_selected_by_is_a_bad_request(
    text: str, resource: resources.Resource
) -> None:
    with pytest.raises(statuses.ApiError) as caught:
        selection.parse_fields(text, resource)
    assert caught.value.code == 400
