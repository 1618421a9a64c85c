"""The references that are made from the code, and what they promise."""

import pytest

from docs import reference


@pytest.mark.parametrize("name", reference.REFERENCES)
def test_a_reference_is_what_the_code_says(name: str) -> None:
    written = (reference.DOCS / name).read_text(encoding="utf-8")

    assert written == reference.REFERENCES[name](), "run `make docs`"
