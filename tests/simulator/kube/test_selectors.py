import pytest

from queue_processor.simulator.kube import resources, selectors, statuses


@pytest.mark.parametrize(
    ("text", "labels", "expected"),
    [
        ("", {}, True),
        ("app=web", {"app": "web"}, True),
        ("app==web,tier!=db", {"app": "web"}, True),
        ("app=web,tier!=db", {"app": "web", "tier": "db"}, False),
        ("app in (web, api)", {"app": "api"}, True),
        ("app notin (web,api),tier", {"tier": "x"}, True),
        ("app notin (web,api)", {"app": "web"}, False),
        ("app", {"app": ""}, True),
        ("!app", {"app": "web"}, False),
        ("! app", {}, True),
        ("app=", {"app": ""}, True),
    ],
)
def test_label_selectors_select_what_the_documentation_says(
    text: str,
    labels: dict[str, str],
    expected: bool,  # noqa: FBT001 - the expectation of a table
) -> None:
    assert selectors.parse_labels(text).matches(labels) is expected


@pytest.mark.parametrize("text", ["app in web", "=web", "a b", "app in (x"])
def test_a_label_selector_that_cannot_be_read_is_a_bad_request(text: str) -> None:
    with pytest.raises(statuses.ApiError) as caught:
        selectors.parse_labels(text)
    assert caught.value.code == 400


def test_match_expressions_and_match_labels_must_all_hold() -> None:
    selector = selectors.from_object(
        {
            "matchLabels": {"app": "web"},
            "matchExpressions": [
                {"key": "tier", "operator": "NotIn", "values": ["db"]},
                {"key": "gone", "operator": "DoesNotExist"},
            ],
        }
    )
    assert selector is not None
    assert selector.matches({"app": "web"})
    assert not selector.matches({"app": "web", "tier": "db"})
    assert not selector.matches({"app": "web", "gone": "no"})


def test_no_selector_selects_nothing_and_an_empty_one_everything() -> None:
    everything = selectors.from_object({})
    assert selectors.from_object(None) is None
    assert everything is not None
    assert everything.matches({})


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
    assert selectors.parse_fields(text, resources.PODS).matches(pod) is expected


def test_an_absent_unschedulable_reads_as_false() -> None:
    selector = selectors.parse_fields("spec.unschedulable=false", resources.NODES)
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
def test_a_field_that_the_resource_does_not_offer_is_a_bad_request(
    text: str, resource: resources.Resource
) -> None:
    with pytest.raises(statuses.ApiError) as caught:
        selectors.parse_fields(text, resource)
    assert caught.value.code == 400
