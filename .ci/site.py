"""Hooks of mkdocs: one site from README, ``docs/`` and the sources that they link to.

Links in the pages are relative paths of the repository, so they work where the repository is shown.
Here they are rewritten for the site: a page links to the page, a module to its API page or
to a page with its source, and any other file to a copy of it.
"""

import os
import posixpath
import re
from pathlib import Path

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

from parallelbench.cli.program import cli

ROOT = Path(__file__).parents[1]
#: Pages of the site that stand outside of ``docs/``: path in the repository, path on the site.
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "leaderboards/RULES.md": "rules.md",
}
#: Modules with an API page beside the contracts, which are the files of ``parallelbench/``.
API_MODULES = (
    "parallelbench/checks/conformance.py",
    "parallelbench/prompt/canvas.py",
    "parallelbench/prompt/codec.py",
    "parallelbench/decode/loop.py",
    "parallelbench/results/result.py",
    "decoders/selection.py",
)
MARKDOWN_LINK = re.compile(r"(?P<head>\]\()(?P<target>[^)\s]+)(?P<tail>\))")
HTML_LINK = re.compile(r'(?P<head>\b(?:href|src|srcset)=")(?P<target>[^"\s]+)(?P<tail>")')
CODE = re.compile(r"(^```.*?^```$|`[^`\n]+`)", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"^<!--.*?-->\n", re.MULTILINE | re.DOTALL)

log = get_plugin_logger("site")
#: Path in the repository of each generated page, by its path on the site.
origins: dict[str, str] = {}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made here, and every source that a page links to."""
    origins.clear()
    contents = {site: (ROOT / path).read_text("utf-8") for path, site in PAGES.items()}
    origins.update({site: path for path, site in PAGES.items()})
    contents |= api_pages()
    contents["verbs.md"] = verbs_page()
    for src_uri, content in contents.items():
        files.append(generated(src_uri, config, content=content))
    waiting = [(page, (ROOT / page).read_text("utf-8")) for page in PAGES]
    waiting += [(f"docs/{path.name}", path.read_text("utf-8")) for path in ROOT.glob("docs/*.md")]
    while waiting:
        page, text = waiting.pop()
        for path in linked_paths(page, text):
            src_uri = site_path(path)
            if files.get_file_from_path(src_uri) is None and (ROOT / path).exists():
                files.append(source_file(path, src_uri, config))
                if src_uri.endswith(".md"):
                    waiting.append((origins[src_uri], source_page(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Rewrite the links of a page, and drop its comments, which are for our tests."""
    del config
    src_uri = page.file.src_uri
    origin = origins.get(src_uri) or f"docs/{src_uri}"

    def rewritten(link: re.Match[str]) -> str:
        path, _, anchor = link["target"].partition("#")
        if is_outside(link["target"]) or not path:
            return link[0]
        wanted = site_path(in_repository(origin, path))
        if files.get_file_from_path(wanted) is None:
            log.warning("%s links to %s, which does not exist", origin, link["target"])
        if link.re is HTML_LINK:
            wanted = re.sub(r"\.md$", ".html", wanted)
        relative = posixpath.relpath(wanted, posixpath.dirname(src_uri) or ".")
        return f"{link['head']}{relative}{'#' if anchor else ''}{anchor}{link['tail']}"

    parts = CODE.split(COMMENT.sub("\n", markdown))
    parts[::2] = [
        HTML_LINK.sub(rewritten, MARKDOWN_LINK.sub(rewritten, part)) for part in parts[::2]
    ]
    return "".join(parts)


def linked_paths(page: str, text: str) -> set[str]:
    """Return the paths of the repository that a page links to."""
    prose = "".join(CODE.split(text)[::2])
    targets = [
        link["target"].partition("#")[0]
        for pattern in (MARKDOWN_LINK, HTML_LINK)
        for link in pattern.finditer(prose)
        if not is_outside(link["target"])
    ]
    return {in_repository(page, target) for target in targets if target}


def is_outside(target: str) -> bool:
    """Return True if a link leaves the repository."""
    return re.match(r"[a-z]+:", target) is not None


def in_repository(page: str, target: str) -> str:
    """Return the path in the repository that ``target``, a relative link of ``page``, leads to."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), target))


def site_path(path: str) -> str:
    """Return the path on the site of a path in the repository."""
    if path in PAGES:
        return PAGES[path]
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if path in api_modules():
        return f"api/{import_name(path)}.md"
    if path.endswith(".py"):
        return f"source/{path}.md"
    if (ROOT / path).is_dir():
        return f"source/{path}/index.md"
    return f"source/{path}"


def source_file(path: str, src_uri: str, config: MkDocsConfig) -> File:
    """Return the file of the site that shows a module, a folder or any other file."""
    if not src_uri.endswith(".md"):
        return generated(src_uri, config, abs_src_path=str(ROOT / path))
    origins[src_uri] = f"{path}/index.md" if is_folder(path) else path
    return generated(src_uri, config, content=source_page(path))


def generated(src_uri: str, config: MkDocsConfig, **content: str) -> File:
    """Return a file of the site that is not in ``docs/``; the navigation need not name it."""
    file = File.generated(config, src_uri, **content)
    file.inclusion = InclusionLevel.NOT_IN_NAV
    return file


def source_page(path: str) -> str:
    """Return a page with the source of a module, the modules of a folder, or a text as it is."""
    if is_folder(path):
        modules = sorted(each.name for each in (ROOT / path).glob("*.py"))
        return f"# {path}\n\n" + "".join(f"- [{name}]({name})\n" for name in modules)
    text = (ROOT / path).read_text("utf-8")
    return text if path.endswith(".md") else f"# {path}\n\n```python\n{text}```\n"


def is_folder(path: str) -> bool:
    """Return True if a path of the repository is a folder."""
    return (ROOT / path).is_dir()


def api_modules() -> list[str]:
    """Return the modules with an API page: the contracts first, as paths in the repository."""
    contracts = sorted(
        path.relative_to(ROOT).as_posix()
        for path in ROOT.glob("parallelbench/*.py")
        if not path.stem.startswith("__")
    )
    return [*contracts, *API_MODULES]


def import_name(path: str) -> str:
    """Return the name by which a module is imported."""
    name = path.removesuffix(".py").replace("/", ".")
    return name if name.startswith("parallelbench") else f"parallelbench.{name}"


def api_pages() -> dict[str, str]:
    """Return the pages of the API reference: one for each module, and their table."""
    lines = ["# Python API", "", "| module | what it holds |", "|---|---|"]
    pages = {}
    for path in api_modules():
        name = import_name(path)
        summary = re.match(r'"""(.*?)(?:"""|\n)', (ROOT / path).read_text("utf-8"))
        lines.append(f"| [`{name}`]({name}.md) | {summary[1] if summary else ''} |")
        pages[f"api/{name}.md"] = f"# {name}\n\n::: {name}\n"
        origins[f"api/{name}.md"] = f"docs/api/{name}.md"
    return pages | {"api/index.md": "\n".join(lines) + "\n"}


def verbs_page() -> str:
    """Return the page with the help text of every verb and action."""
    os.environ["COLUMNS"] = "100"
    page = "# Every verb\n\nThe help texts, as `--help` prints them.\n"
    waiting: list[tuple[str, click.Command]] = [("parallelbench", cli)]
    while waiting:
        name, command = waiting.pop(0)
        context = click.Context(command, info_name=name, max_content_width=100)
        if name != "parallelbench":
            page += f"\n## {name}\n\n```text\n{command.get_help(context)}\n```\n"
        if isinstance(command, click.Group):
            names = command.list_commands(context)
            below = [(f"{name} {each}", command.get_command(context, each)) for each in names]
            waiting[:0] = [(title, each) for title, each in below if each]
    return page
