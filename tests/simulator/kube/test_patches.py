from typing import Any

import pytest

from queue_processor.simulator.kube import patches, statuses

JSON, MERGE, STRATEGIC = (
    patches.PatchType.JSON,
    patches.PatchType.MERGE,
    patches.PatchType.STRATEGIC,
)


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
    patches.apply(JSON, old, [{"op": "remove", "path": "/metadata/labels/a"}])
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


def test_strategic_directives_delete_and_replace_items_and_order_them() -> None:
    old = {"ownerReferences": [{"uid": "1"}, {"uid": "2"}], "finalizers": ["x", "y"]}
    deleted = patches.apply(
        STRATEGIC,
        old,
        {
            "ownerReferences": [{"$patch": "delete", "uid": "1"}],
            "$deleteFromPrimitiveList/finalizers": ["x"],
        },
    )
    assert deleted == {"ownerReferences": [{"uid": "2"}], "finalizers": ["y"]}
    replaced = patches.apply(
        STRATEGIC, old, {"ownerReferences": [{"$patch": "replace"}, {"uid": "9"}]}
    )
    assert replaced["ownerReferences"] == [{"uid": "9"}]
    ordered = patches.apply(
        STRATEGIC,
        old,
        {
            "ownerReferences": [{"uid": "3"}],
            "$setElementOrder/ownerReferences": [{"uid": "3"}, {"uid": "2"}, {"uid": "1"}],
        },
    )
    assert [item["uid"] for item in ordered["ownerReferences"]] == ["3", "2", "1"]


def test_a_strategic_patch_adds_finalizers_and_replaces_or_empties_objects() -> None:
    old = {"finalizers": ["x"], "labels": {"a": "1"}, "spec": {"b": 1}}
    patch = {
        "finalizers": ["y", "x"],
        "labels": {"$patch": "replace", "c": "2"},
        "spec": {"$patch": "delete"},
    }
    assert patches.apply(STRATEGIC, old, patch) == {
        "finalizers": ["x", "y"],
        "labels": {"c": "2"},
        "spec": {},
    }


def test_a_json_patch_carries_out_every_operation() -> None:
    operations: list[dict[str, Any]] = [
        {"op": "test", "path": "/spec/x", "value": 1},
        {"op": "add", "path": "/spec/list/-", "value": 3},
        {"op": "add", "path": "/spec/list/0", "value": 0},
        {"op": "replace", "path": "/spec/x", "value": 2},
        {"op": "add", "path": "/metadata/a~1b", "value": "c"},
        {"op": "copy", "from": "/spec/x", "path": "/spec/copied"},
        {"op": "move", "from": "/spec/x", "path": "/spec/moved"},
        {"op": "remove", "path": "/spec/list/1"},
    ]
    old = {"metadata": {}, "spec": {"x": 1, "list": [1, 2]}}
    assert patches.apply(JSON, old, operations) == {
        "metadata": {"a/b": "c"},
        "spec": {"list": [0, 2, 3], "copied": 2, "moved": 2},
    }


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/a", "value": 2},
        {"op": "remove", "path": "/b"},
        {"op": "replace", "path": "/b", "value": 1},
        {"op": "dance", "path": "/a"},
        {"op": "add", "path": "/a/b/c", "value": 1},
        {"op": "add", "path": "a", "value": 1},
    ],
)
def test_a_json_patch_that_cannot_be_applied_is_unprocessable(operation: dict[str, Any]) -> None:
    with pytest.raises(statuses.ApiError) as caught:
        patches.apply(JSON, {"a": 1}, [operation])
    assert caught.value.code == 422


@pytest.mark.parametrize(("kind", "patch"), [(JSON, {}), (MERGE, []), (STRATEGIC, [])])
def test_a_patch_of_the_wrong_shape_is_a_bad_request(
    kind: patches.PatchType, patch: object
) -> None:
    with pytest.raises(statuses.ApiError) as caught:
        patches.apply(kind, {}, patch)
    assert caught.value.code == 400
