"""The language of docs/glossary.md: words that we avoid, and one class for each name."""

import ast
import collections
import pathlib
import re
from collections.abc import Iterator

import pytest

import queue_processor
from docs import reference

PACKAGE = pathlib.Path(queue_processor.__file__).parent
ROOT = reference.DOCS.parent
GLOSSARY = reference.DOCS / "glossary.md"
DOCUMENTS = sorted(
    path
    for path in (
        *ROOT.glob("*.md"),
        *reference.DOCS.rglob("*.md"),
        *PACKAGE.rglob("*.md"),
        *(ROOT / "benchmarks").glob("*.md"),
    )
    if path != GLOSSARY
)
# Fault injection is the field's term for what the simulator does.
FAULT_INJECTION = "simulator"


_OPENINGS = {"How", "Tell", "Tells", "What", "When", "Where", "Whether", "Which", "Who", "Why"}


def _trees(*folders: pathlib.Path) -> Iterator[tuple[pathlib.Path, ast.AST]]:
    """Every module in these folders; the package by default."""
    for folder in folders or (PACKAGE,):
        for path in sorted(folder.rglob("*.py")):
            yield path, ast.parse(path.read_text(encoding="utf-8"))


def _avoided(head: str) -> list[str]:
    """The first column of the table with this head."""
    _, _, after = GLOSSARY.read_text(encoding="utf-8").partition(f"\n| {head} |")
    rows = after.partition("\n\n")[0].splitlines()[2:]
    words = [row.split("|")[1].strip().strip('"') for row in rows]
    assert words, head
    return words


def _prose(text: str) -> str:
    """A document without its code."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return " ".join(re.sub(r"`[^`]*`", "", text).split()).lower()


def _identifiers(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every name that a module defines: classes, functions, arguments, attributes, variables."""
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                yield node.lineno, name
            case ast.AsyncFunctionDef(name=name):
                yield node.lineno, name
            case ast.arg(arg=name):
                yield node.lineno, name
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield node.lineno, name
            case ast.ExceptHandler(name=str(name)):
                yield node.lineno, name
            case _:
                pass


def _words(identifier: str) -> set[str]:
    """The words of an identifier; "not found" is the field's term."""
    identifier = re.sub(r"NotFound|not_found", "", identifier)
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+", identifier)}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_documents_use_no_word_to_avoid(path: pathlib.Path) -> None:
    prose = _prose(path.read_text(encoding="utf-8"))

    used = [word for word in _avoided("avoid") if re.search(rf"\b{re.escape(word)}\b", prose)]
    assert used == []


def test_identifiers_use_no_word_to_avoid() -> None:
    avoided = set(_avoided("avoid in identifiers"))
    used = [
        f"{path.relative_to(ROOT)}:{line}: {name}"
        for path, tree in _trees()
        for line, name in _identifiers(tree)
        for word in _words(name) & avoided
        if not (word == "fault" and FAULT_INJECTION in path.parts)
    ]

    assert used == []


def test_no_two_classes_share_a_name() -> None:
    places = collections.defaultdict(list)
    for path, tree in _trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{path.relative_to(ROOT)}:{node.lineno}")

    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_no_docstring_opens_with_a_relative_clause() -> None:
    """Ruff's D401 checks functions only."""
    openings = [
        f"{path.relative_to(ROOT)}: {docstring.splitlines()[0]}"
        for path, tree in _trees(PACKAGE, ROOT / "benchmarks", ROOT / "tests")
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if (docstring := ast.get_docstring(node)) is not None
        if docstring.split()[0] in _OPENINGS
    ]

    assert openings == []
