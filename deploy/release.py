"""Make what a release consists of, and keep its version the same everywhere.

    python deploy/release.py version [--tag v1.2.3]     print the version; check the tag
    python deploy/release.py set 1.2.3                  write it everywhere, and date the changelog
    python deploy/release.py files --image IMAGE        make the files of the release, in dist/

pyproject.toml has the version. Some files cannot read it from there, such as Chart.yaml: `PLACES`
lists them, `set` writes them, and a test compares them. Only the standard library is used, because
a workflow runs this before anything is installed.
"""

import argparse
import dataclasses
import datetime as dt
import hashlib
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence

ROOT = pathlib.Path(__file__).parents[1]
_CHART = ROOT / "deploy" / "helm" / "queue-processor"
_MANIFEST = ROOT / "deploy" / "kustomize" / "base" / "queue-processor.yaml"
_TEMPLATE = ROOT / "infra" / "cloudformation" / "queue-processor.yaml"
_CHANGELOG = ROOT / "CHANGELOG.md"
_VERSION = re.compile(r"\d+\.\d+\.\d+(?:-?(?:a|b|rc)\.?\d+)?")
# `name@sha256:...`: a tag can be moved to another image, a digest cannot.
_IMAGE = re.compile(r"(?P<repository>[a-z0-9][a-z0-9./:_-]*)@(?P<digest>sha256:[0-9a-f]{64})")
# What is in the folder of the files, and is none of them.
_NO_ASSETS = {".gitignore", "NOTES.md", "SHA256SUMS"}
# What the distributions are built from. A link in the package leads to the template.
_SOURCES = ("LICENSE", "README.md", "infra", "pyproject.toml", "queue_processor")
_MANIFEST_HEADER = """\
# queue-processor, for `kubectl apply -f`. Fill in the URL of the queue, marked REPLACE-... With IAM
# roles for service accounts, annotate the ServiceAccount with the role, too.
"""
_UNRELEASED = "## [Unreleased]\n"


class ReleaseError(Exception):
    """Something does not fit; the text says what, and how to mend it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """A place that has the version.

    Attributes:
        file: The file, from the root of the project.
        pattern: The text around it, with `{}` in place of the version.
    """

    file: str
    pattern: str

    def read(self) -> str:
        """Return the version that stands there.

        Raises:
            ReleaseError: The file has no such place, or more than one.
        """
        texts = self._regex().findall(self._path.read_text(encoding="utf-8"))
        if len(texts) != 1:
            raise ReleaseError(
                f"{self.file}: {self.pattern!r} is there {len(texts)} times, not once"
            )
        return str(texts[0])

    def write(self, version: str) -> None:
        """Replace the version that stands there."""
        old, new = self.pattern.format(self.read()), self.pattern.format(version)
        text = self._path.read_text(encoding="utf-8")
        self._path.write_text(text.replace(old, new), encoding="utf-8")

    @property
    def _path(self) -> pathlib.Path:
        return ROOT / self.file

    def _regex(self) -> re.Pattern[str]:
        before, _, after = self.pattern.partition("{}")
        return re.compile(f"{re.escape(before)}({_VERSION.pattern}){re.escape(after)}")


PLACES = (
    Place("pyproject.toml", '\nversion = "{}"\n'),
    Place("uv.lock", '\nname = "queue-processor"\nversion = "{}"\n'),
    Place("deploy/helm/queue-processor/Chart.yaml", "\nversion: {}\n"),
    Place("deploy/helm/queue-processor/Chart.yaml", "\nappVersion: {}\n"),
    Place("deploy/kustomize/imds-simulator/kustomization.yaml", '    newTag: "{}"\n'),
    Place("Dockerfile", "\nARG VERSION={}\n"),
    Place("Dockerfile", "/queue-processor:{} "),
    Place("docs/install.md", '/queue-processor:{}" '),
    Place("infra/terraform/README.md", '?ref=v{}"'),
)


def version(tag: str | None = None) -> str:
    """Return the version of the project.

    Args:
        tag: The tag of the release, `v` and the version.

    Raises:
        ReleaseError: The tag is that of another version.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    own = str(project["version"])
    if tag is not None and tag != f"v{own}":
        raise ReleaseError(
            f"the tag is {tag}, and pyproject.toml has version {own}:"
            f" tag the commit with v{own}, or run `python deploy/release.py set {tag.lstrip('v')}`"
        )
    return own


def set_version(new: str, *, today: dt.date) -> None:
    """Write a version everywhere, and give what is unreleased in the changelog its number.

    Raises:
        ReleaseError: It is no version, or nothing in the changelog is unreleased.
    """
    if not _VERSION.fullmatch(new):
        raise ReleaseError(f"{new!r} is not a version such as 1.2.3 or 1.2.3rc1")
    changelog = _CHANGELOG.read_text(encoding="utf-8")
    if not section(changelog, "Unreleased").strip():
        raise ReleaseError(f"{_CHANGELOG.name}: there is nothing under {_UNRELEASED.strip()!r}")
    for place in PLACES:
        place.write(new)
    heading = f"{_UNRELEASED}\n## [{new}] - {today.isoformat()}\n"
    _CHANGELOG.write_text(changelog.replace(_UNRELEASED, heading, 1), encoding="utf-8")


def section(changelog: str, name: str) -> str:
    """Return the text under the heading of a version; empty without one."""
    _, heading, after = changelog.partition(f"\n## [{name}]")
    if not heading:
        return ""
    body = after.partition("\n")[2]
    return re.split(r"^## ", body, maxsplit=1, flags=re.MULTILINE)[0].strip() + "\n"


def make_files(folder: pathlib.Path, *, image: str) -> Sequence[pathlib.Path]:
    """Make all files of the release of this version.

    Args:
        folder: Where they go; what is in there stays.
        image: The published image, `repository@sha256:...`.

    Raises:
        ReleaseError: The image has no digest, the changelog does not have the version, or a
            program that is needed fails or is missing.
    """
    named = _IMAGE.fullmatch(image)
    if named is None:
        raise ReleaseError(f"--image {image}: not of the form REPOSITORY@sha256:DIGEST")
    own = version()
    notes = section(_CHANGELOG.read_text(encoding="utf-8"), own)
    if not notes.strip():
        raise ReleaseError(f"{_CHANGELOG.name} has no section [{own}]: run `set {own}` first")
    folder.mkdir(parents=True, exist_ok=True)
    _build_distributions(folder, own)
    _package_chart(folder, own, repository=named["repository"], digest=named["digest"])
    (folder / "NOTES.md").write_text(notes, encoding="utf-8")
    (folder / _MANIFEST.name).write_text(_manifest(image, own), encoding="utf-8")
    shutil.copy(_TEMPLATE, folder / "queue-processor.cloudformation.yaml")
    files = sorted(path for path in folder.iterdir() if path.name not in _NO_ASSETS)
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (folder / "SHA256SUMS").write_text("".join(sums), encoding="utf-8")
    return files


def _build_distributions(folder: pathlib.Path, own: str) -> None:
    """Build the wheel and the source distribution, with a README that PyPI can show."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    files = f"{project['urls']['Repository']}/blob/v{own}/"
    with tempfile.TemporaryDirectory() as temporary:
        source = pathlib.Path(temporary)
        for name in _SOURCES:
            origin = ROOT / name
            if origin.is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(origin, source / name, symlinks=True, ignore=ignored)
            else:
                shutil.copy(origin, source / name)
        readme = source / "README.md"
        text = readme.read_text(encoding="utf-8")
        readme.write_text(absolute_links(text, files), encoding="utf-8")
        _run("uv", "build", "--quiet", "--out-dir", str(folder), str(source))


def absolute_links(text: str, files: str) -> str:
    """Let links in Markdown that lead to files of the project begin with the URL of these files."""
    return re.sub(r"(?<=\]\()(?!https?://|#)", files, text)


def _package_chart(folder: pathlib.Path, own: str, *, repository: str, digest: str) -> None:
    """Package the chart, with the published image as its default."""
    with tempfile.TemporaryDirectory() as temporary:
        chart = pathlib.Path(temporary) / _CHART.name
        shutil.copytree(_CHART, chart)
        values = chart / "values.yaml"
        text = values.read_text(encoding="utf-8")
        for name, value in (("repository", repository), ("digest", digest)):
            old, new = f'\n  {name}: ""\n', f"\n  {name}: {value}\n"
            text = _replaced_once(text, old, new, file=values.name)
        values.write_text(text, encoding="utf-8")
        options = ("--version", own, "--app-version", own, "--destination", str(folder))
        _run("helm", "package", str(chart), *options)


def _manifest(image: str, own: str) -> str:
    """Return the manifest with the published image in it."""
    text = _MANIFEST.read_text(encoding="utf-8")
    old, new = f"image: queue-processor:{own}\n", f"image: {image}\n"
    return _MANIFEST_HEADER + _replaced_once(text, old, new, file=_MANIFEST.name)


def _replaced_once(text: str, old: str, new: str, *, file: str) -> str:
    """Replace what a text has exactly once; raise ReleaseError if it has not."""
    if text.count(old) != 1:
        raise ReleaseError(f"{file}: {old!r} is there {text.count(old)} times, not once")
    return text.replace(old, new)


def _run(*command: str) -> None:
    program, *arguments = command
    path = shutil.which(program)
    if path is None:
        raise ReleaseError(f"{program} is not on the PATH")
    try:
        subprocess.run([path, *arguments], check=True, stdout=sys.stderr)  # noqa: S603 - our own
    except subprocess.CalledProcessError as error:
        raise ReleaseError(f"{program} failed with exit code {error.returncode}") from error


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    shown = commands.add_parser("version", help="print the version")
    shown.add_argument("--tag", help="fail unless this is its tag")
    changed = commands.add_parser("set", help="write a version everywhere")
    changed.add_argument("version", help="such as 1.2.3")
    made = commands.add_parser("files", help="make the files of the release")
    made.add_argument("--image", required=True, help="REPOSITORY@sha256:DIGEST")
    made.add_argument("--out", type=pathlib.Path, default=ROOT / "dist", help="dist by default")
    return parser.parse_args()


def _main() -> None:
    arguments = _parsed()
    match arguments.command:
        case "version":
            sys.stdout.write(version(arguments.tag) + "\n")
        case "set":
            set_version(arguments.version, today=dt.datetime.now(tz=dt.UTC).date())
            sys.stdout.write("now run: make lock manifests docs\n")
        case _:
            for path in make_files(arguments.out, image=arguments.image):
                sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    try:
        _main()
    except ReleaseError as error:
        sys.exit(f"release: {error}")
