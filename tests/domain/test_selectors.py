import pytest

from queue_processor.domain import errors, selectors

SPOT = {"lifecycle": "spot", "team": "a", "example.com/pool": "batch", "flag": ""}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "team=a",
        "team==a",
        " team = a ",
        "team!=b",
        "absent!=b",
        "team in (a)",
        "team in (b, a)",
        "team in(b,a)",
        "team notin (b, c)",
        "absent notin (b, c)",
        "team",
        "flag",
        "flag=",
        "flag in (x,)",
        "!absent",
        "! absent",
        "example.com/pool=batch",
        "example.com/pool in (batch, web)",
        "team=a,lifecycle=spot",
        "team in (a, b), lifecycle notin (normal), !absent ,flag",
    ],
)
def test_a_selector_selects_labels_that_meet_every_requirement(text: str) -> None:
    assert selectors.parse(text).selects(SPOT)


@pytest.mark.parametrize(
    "text",
    [
        "team=b",
        "team=A",
        "Team=a",
        "absent=a",
        "absent=",
        "team=",
        "team!=a",
        "team in (b, c)",
        "absent in (a)",
        "absent in (a,)",
        "team notin (b, a)",
        "absent",
        "!team",
        "!flag",
        "team=a,lifecycle=normal",
        "team in (a, b),absent",
    ],
)
def test_a_selector_does_not_select_labels_that_miss_a_requirement(text: str) -> None:
    assert not selectors.parse(text).selects(SPOT)


def test_an_empty_selector_selects_an_object_without_labels() -> None:
    assert selectors.parse("").selects({})


def test_a_negative_requirement_selects_an_object_without_labels() -> None:
    assert selectors.parse("!a,b!=c,d notin (e)").selects({})


@pytest.mark.parametrize(
    "text",
    [
        ",",
        "a,",
        ",a",
        "a,,b",
        "a, ,b",
        "=a",
        "!",
        "!a=b",
        "a=b=c",
        "a===b",
        "a=!b",
        "a b",
        "a>1",
        "a<1",
        "a in",
        "a in b",
        "a in ()",
        "a in ( )",
        "a in (b",
        "a in b)",
        "a in (b c)",
        "a in ((b))",
        "a in (b) c",
        "a in (b)(c)",
        "in (b)",
        "a not in (b)",
        "a NOTIN (b)",
        "a=b;c=d",
        "a=b||c=d",
        "a='b'",
        "a=-b",
        "a=b-",
        "a in (-b)",
        "-a=b",
        "a-=b",
        "/a=b",
        "a/=b",
        "a/b/c=d",
        "UPPER.example.com/a=b",
        "a=" + "b" * 64,
        "a" * 64,
        "a=b\N{SNOWMAN}",
        "a=b\nc=d",
        "(a=b)",
        "{}",
    ],
)
def test_what_is_no_selector_is_refused_and_quoted(text: str) -> None:
    with pytest.raises(errors.ConfigurationError) as caught:
        selectors.parse(text)

    assert "is no" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_the_longest_names_that_kubernetes_takes_are_taken() -> None:
    value = "v" * 63

    assert selectors.parse(f"{'p' * 253}/{'k' * 63}={value}").selects(
        {f"{'p' * 253}/{'k' * 63}": value}
    )


def test_match_expressions_and_match_labels_must_all_hold() -> None:
    selector = selectors.read(
        {
            "matchLabels": {"app": "web"},
            "matchExpressions": [
                {"key": "tier", "operator": "NotIn", "values": ["db", "cache"]},
                {"key": "zone", "operator": "In", "values": ["a", "b"]},
                {"key": "team", "operator": "Exists"},
                {"key": "gone", "operator": "DoesNotExist"},
            ],
        }
    )
    selected = {"app": "web", "zone": "b", "team": ""}
    assert selector.selects(selected)
    assert not selector.selects(selected | {"app": "api"})
    assert not selector.selects(selected | {"tier": "cache"})
    assert not selector.selects(selected | {"zone": "c"})
    assert not selector.selects(selected | {"gone": "no"})
    assert not selector.selects({"app": "web", "zone": "b"})


def test_an_empty_selector_selects_everything() -> None:
    assert selectors.read({}).selects({})
