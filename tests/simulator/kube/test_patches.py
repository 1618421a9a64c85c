import pytest

from queue_processor.simulator.kube import patches, statuses

MERGE, STRATEGIC = patches.PatchType.MERGE, patches.PatchType.STRATEGIC


def test_a_merge_patch_merges_objects_replaces_lists_and_deletes_with_null() -> None:
    old = {"spec": {"taints": [{"key": "a"}], "x": 1, "y": {"z": 2}}}
    patch = {"spec": {"taints": [{"key": "b"}], "x": None, "y": {"w": 3}}}
    assert patches.apply(MERGE, old, patch) == {
        "spec": {"taints": [{"key": "b"}], "y": {"z": 2, "w": 3}}
    }


def test_a_patch_leaves_its_target_as_it_was() -> None:
    old = {"metadata": {"labels": {"a": "1"}}, "status": {"conditions": [{"type": "A"}]}}
    patches.apply(MERGE, old, {"metadata": {"labels": {"b": "2"}}})
    patches.apply(STRATEGIC, old, {"status": {"conditions": [{"type": "A", "status": "x"}]}})
    assert old == {"metadata": {"labels": {"a": "1"}}, "status": {"conditions": [{"type": "A"}]}}


def test_a_strategic_patch_merges_conditions_by_type() -> None:
    old = {"conditions": [{"type": "Ready", "status": "True", "reason": "r"}, {"type": "B"}]}
    patch = {"conditions": [{"type": "Ready", "status": "False"}, {"type": "C"}]}
    assert patches.apply(STRATEGIC, old, patch) == {
        "conditions": [
            {"type": "Ready", "status": "False", "reason": "r"},
            {"type": "B"},
            {"type": "C"},
        ]
    }


def test_a_strategic_patch_replaces_taints_and_tolerations_because_they_are_atomic() -> None:
    old = {"taints": [{"key": "a"}], "tolerations": [{"key": "a"}]}
    patch = {"taints": [{"key": "b"}], "tolerations": [{"key": "b"}]}
    assert patches.apply(STRATEGIC, old, patch) == patch


def test_a_strategic_patch_adds_finalizers_and_replaces_selectors() -> None:
    old = {"finalizers": ["x"], "labels": {"a": "1"}, "selector": {"b": 1}}
    patch = {"finalizers": ["y", "x"], "labels": {"c": "2"}, "selector": {"d": 2}}
    assert patches.apply(STRATEGIC, old, patch) == {
        "finalizers": ["x", "y"],
        "labels": {"a": "1", "c": "2"},
        "selector": {"d": 2},
    }


@pytest.mark.parametrize(
    ("kind", "patch"),
    [
        (MERGE, []),
        (STRATEGIC, []),
        (STRATEGIC, {"conditions": [{"status": "True"}]}),
        (STRATEGIC, {"labels": {"$patch": "replace"}}),
    ],
)
def test_a_patch_that_cannot_be_applied_is_a_bad_request(
    kind: patches.PatchType, patch: object
) -> None:
    with pytest.raises(statuses.ApiError) as caught:
        patches.apply(kind, {}, patch)
    assert caught.value.code == 400


PATH = "/metadata/annotations/a.example~1b~0c"


def test_a_json_patch_removes_a_member_whose_value_it_tests_first() -> None:
    old = {"metadata": {"annotations": {"a.example/b~c": "1", "other": "2"}}}
    patch = [{"op": "test", "path": PATH, "value": "1"}, {"op": "remove", "path": PATH}]

    assert patches.apply(patches.PatchType.JSON, old, patch) == {
        "metadata": {"annotations": {"other": "2"}}
    }
    assert "a.example/b~c" in old["metadata"]["annotations"]


@pytest.mark.parametrize("annotations", [{}, {"a.example/b~c": "2"}])
def test_a_json_patch_whose_test_fails_is_refused(annotations: dict[str, str]) -> None:
    old = {"metadata": {"annotations": annotations}}
    patch = [{"op": "test", "path": PATH, "value": "1"}, {"op": "remove", "path": PATH}]

    with pytest.raises(statuses.ApiError) as refused:
        patches.apply(patches.PatchType.JSON, old, patch)

    assert refused.value.code == 422
