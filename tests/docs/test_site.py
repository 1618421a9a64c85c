"""The documentation site: it builds without a warning, and leads to every page."""

import pathlib
import re
import subprocess
import sys

import pytest

from docs import reference
from docs.site import conf

ROOT = reference.DOCS.parent

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The site, built as `make site` does."""
    folder = tmp_path_factory.mktemp("site")
    strictly = ("--fail-on-warning", "--keep-going", "--quiet", "--conf-dir", "docs/site")
    built = subprocess.run(  # noqa: S603 - our own arguments
        [sys.executable, "-m", "sphinx", *strictly, "--doctree-dir", folder / "trees", ".", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (built.returncode, built.stderr) == (0, "")
    return folder


def test_every_document_is_a_page(site: pathlib.Path) -> None:
    documents = [path.relative_to(ROOT) for path in reference.DOCS.rglob("*.md")]

    missing = [path for path in documents if not (site / path.with_suffix(".html")).exists()]
    assert missing == []
    assert 'url=README.html"' in (site / "index.html").read_text(encoding="utf-8")


def test_a_link_to_a_file_that_is_no_page_leads_to_the_repository(site: pathlib.Path) -> None:
    page = (site / "docs" / "metrics.html").read_text(encoding="utf-8")

    assert "/blob/main/queue_processor/observability/metrics.py" in page


def test_the_sidebar_leads_to_every_page(site: pathlib.Path) -> None:
    links = set(re.findall(r'href="([^"#]+)\.html', (site / "README.html").read_text("utf-8")))

    assert {page for pages in conf.NAVIGATION.values() for page in pages} <= links
