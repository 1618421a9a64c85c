"""The documentation site: the Markdown of this project as it is, for Sphinx (`make site`).

The same files are read on the host of the repository, so they have no syntax of a site generator.
What a site needs in addition is added here: the navigation, and the address of files that are not
part of it. Warnings are errors: a link to a page or a heading that does not exist fails the build.
"""

import pathlib
import re
import tomllib

import sphinx.application

_ROOT = pathlib.Path(__file__).parents[2]
_PROJECT = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
_REPOSITORY = f"{_PROJECT['urls']['Repository']}/blob/main"

#: The pages, by the heading above them in the sidebar.
NAVIGATION = {
    "Begin": (
        "docs/do-i-need-this",
        "docs/playground",
        "docs/install",
        "docs/migrate-from-nth",
        "docs/test-your-handler",
    ),
    "Operate": (
        *("docs/doctor", "docs/runbook", "docs/logs", "docs/metrics", "docs/events"),
        *("docs/traces", "docs/webhooks"),
    ),
    "Reference": (
        *("docs/settings", "docs/cli", "deploy/helm/queue-processor/README"),
        *("infra/terraform/README", "docs/glossary"),
    ),
    "Evidence": ("benchmarks/RESULTS", "benchmarks/SOAK", "benchmarks/SIMULATION"),
    "Project": (
        *("docs/architecture", "CONTRIBUTING", "CODE_OF_CONDUCT", "SECURITY", "docs/releasing"),
        *("queue_processor/simulator/README", "CHANGELOG"),
    ),
    "Decisions": tuple(
        f"docs/decisions/{path.stem}" for path in sorted((_ROOT / "docs/decisions").glob("*.md"))
    ),
}

project = _PROJECT["name"]
release = _PROJECT["version"]
html_title = project
extensions = ["myst_parser", "sphinxcontrib.mermaid"]
root_doc = "README"
include_patterns = ["README.md", *(f"{page}.md" for pages in NAVIGATION.values() for page in pages)]
templates_path = ["templates"]
# The root of the site leads to its first page, which has the name of its file.
html_additional_pages = {"index": "redirect.html"}
html_theme = "furo"
html_favicon = "../icon.svg"
html_logo = "../icon.svg"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
# Headings have the anchors that the host of the repository gives them.
myst_heading_anchors = 4
myst_fence_as_directive = ["mermaid"]
# Examples in these languages have placeholders in them.
suppress_warnings = ["misc.highlighting_failure"]

_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)(?P<path>[^)#\s]+)(?P<anchor>#[^)\s]*)?(?=\))")


def _prepare(app: sphinx.application.Sphinx, name: str, content: list[str]) -> None:
    """Add what a page needs on the site."""
    folder = (_ROOT / name).parent
    text = _LINK.sub(lambda link: _address(app, folder, link), content[0])
    content[0] = text + _navigation() if name == root_doc else text


def _address(app: sphinx.application.Sphinx, folder: pathlib.Path, link: re.Match[str]) -> str:
    """Return where a link leads: a file that is no page is in the repository."""
    target = (folder / link["path"]).resolve()
    is_page = target.suffix == ".md" and app.project.path2doc(str(target)) in app.project.docnames
    if is_page or not target.exists():
        return link[0]
    return f"{_REPOSITORY}/{target.relative_to(_ROOT)}{link['anchor'] or ''}"


def _navigation() -> str:
    trees = (
        "\n".join(["", "```{toctree}", ":hidden:", f":caption: {caption}", "", *pages, "```", ""])
        for caption, pages in NAVIGATION.items()
    )
    return "".join(trees)


def setup(app: sphinx.application.Sphinx) -> None:
    """Prepare each page when Sphinx reads it."""
    app.connect("source-read", _prepare)
