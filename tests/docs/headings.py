"""The headings of our documents, and the anchors by which links lead to them."""

import pathlib
import re


def below(path: pathlib.Path, heading: str) -> list[str]:
    """The headings one level below a heading of the second level, in their order."""
    text = path.read_text(encoding="utf-8")
    section = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^### (.*)$", section, flags=re.MULTILINE)


def anchors(path: pathlib.Path) -> set[str]:
    """The targets of links into a document."""
    text = path.read_text(encoding="utf-8")
    return {anchor(heading) for heading in re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)}


def anchor(heading: str) -> str:
    """The anchor that hosts of Markdown derive from a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
