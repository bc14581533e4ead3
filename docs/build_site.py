"""Build the documentation site into build/site: `python docs/build_site.py`.

Pages in docs/ link to files of the repository and contain no markup that only the site understands, so that they read
well in the repository too. The site is therefore built from a copy, build/docs, in which

- every linked file outside docs/ is a page of its own, with numbered lines;
- a link to `file.py#Class.method` leads to the line where that is defined, and says which line it is;
- every package of docs/api.md has a page generated from its docstrings, and the fields of its settings classes;
- notebooks are pages, with their outputs.

The build fails on a warning of zensical, and on a link of a built page that leads nowhere.
"""

from __future__ import annotations

import ast
import base64
import json
import os
import pkgutil
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
STAGED = ROOT / "build" / "docs"
SITE = ROOT / "build" / "site"
FENCED = re.compile(r"^ *```.*?^ *```", re.M | re.S)
LINK = re.compile(r"(\[[^\[\]]*\]|\[!\[[^\[\]]*\]\([^()]*\)\])\(([^()\s]+)\)")
NOT_DOCUMENTED_HERE = ("__version__", "plot")  # a text, and a module with its own page
LANGUAGES = {".py": "python", ".yaml": "yaml", ".toml": "toml", ".jinja": "jinja"}


def page_of(path: Path) -> Path:
    """Return where a file of the repository is in the copy: pages of docs/ where they were, others in repository/."""
    if path.is_relative_to(DOCS):
        return STAGED / path.relative_to(DOCS).with_suffix(".md" if path.suffix == ".ipynb" else path.suffix)
    place = STAGED / "repository" / path.relative_to(ROOT)
    return place if path.suffix == ".md" else place.with_name(f"{place.name}.md")


def line_of(symbol: str, source: str) -> int:
    """Return the line where a symbol of a module is defined, such as `Class.method` or `CONSTANT`.

    Raises:
        LookupError: if the source defines no such symbol.
    """
    body, line = ast.parse(source).body, 0
    for name in symbol.split("."):
        found = next((node for node in body if name in _names(node)), None)
        if found is None:
            raise LookupError(f"no {symbol} in the module")
        body, line = getattr(found, "body", []), found.lineno
    return line


def _names(node: ast.stmt) -> list[str]:
    """Return the names that a statement defines."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


class Stage:
    """Copy of the documentation, with a page for every file that it links to."""

    def __init__(self) -> None:
        self._done: set[Path] = set()

    def page(self, path: Path) -> None:
        """Write the page of a file, and those of all files that it links to."""
        if path in self._done or not path.exists():
            return
        self._done.add(path)
        place = page_of(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            text = self._linked(path.read_text(encoding="utf-8"), path)
        elif path.suffix == ".ipynb":
            text = self._linked(_notebook(path, place), path)
        elif path.is_dir():
            names = sorted(p.name for p in path.iterdir() if p.is_file())
            listed = "\n".join(f"- [{name}]({name})" for name in names)
            text = self._linked(f"# {path.relative_to(ROOT)}\n\n{listed}\n", path)
        else:
            fence, language = "`" * 5, LANGUAGES.get(path.suffix, "text")
            source = path.read_text(encoding="utf-8")
            text = f'# {path.relative_to(ROOT)}\n\n{fence}{language} linenums="1"\n{source}\n{fence}\n'
        place.write_text(text, encoding="utf-8")

    def _linked(self, text: str, path: Path) -> str:
        """Return a page's text with its links changed to those of the copy, after writing the pages they lead to."""
        folder = path if path.is_dir() else path.parent

        def changed(match: re.Match[str]) -> str:
            label, target = match.groups()
            file, _, fragment = target.partition("#")
            linked = (folder / file).resolve()
            if not file or ":" in file:
                return match[0]
            if linked.suffix == ".md" or not linked.is_relative_to(DOCS):
                self.page(linked)
            if linked.suffix == ".py" and fragment:
                line = line_of(fragment, linked.read_text(encoding="utf-8"))
                label, fragment = f"{label[:-1]}, line {line}]", f"__codelineno-0-{line}"
            if label[1:-1] == linked.name and linked.suffix == ".md":
                label = f"[{_title(linked)}]"
            to = os.path.relpath(page_of(linked), page_of(path).parent)
            return f"{label}({to}{'#' if fragment else ''}{fragment})"

        parts, end = [], 0
        for fence in FENCED.finditer(text):
            parts += [LINK.sub(changed, text[end : fence.start()]), fence[0]]
            end = fence.end()
        return "".join([*parts, LINK.sub(changed, text[end:])])


def _title(page: Path) -> str:
    """Return the heading of a page, which names it better than its file does."""
    return page.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")


def _notebook(path: Path, place: Path) -> str:
    """Return a notebook as Markdown, and write its pictures beside the page."""
    parts = []
    for number, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
        source = "".join(cell["source"])
        parts.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", []):
            data = output.get("data", {"text/plain": output.get("text", "")})
            if "image/png" in data:
                picture = place.with_name(f"{place.stem}-{number}.png")
                picture.write_bytes(base64.b64decode(data["image/png"]))
                parts.append(f"![output]({picture.name})")
            elif "text/html" in data:
                parts.append(f'<div style="overflow-x: auto">{"".join(data["text/html"])}</div>')
            else:
                parts.append("```text\n" + "".join(data["text/plain"]).rstrip() + "\n```")
    return "\n\n".join(parts) + "\n"


def api_pages() -> None:
    """Write a page for every package of docs/api.md, with the names that it lists, and link the names to them."""
    text = (STAGED / "api.md").read_text(encoding="utf-8")
    index, end, modules = text.partition("\n## Modules\n")
    head, *sections = re.split(r"^## ", index, flags=re.M)
    linked = []
    for section in sections:
        package, sentence, names = re.split(r"(\n\n.*?\.\n\n)", section, maxsplit=1)
        symbols = [name for name in re.findall(r"`(\w+)`", names) if name not in NOT_DOCUMENTED_HERE]
        _api_page(package, [f"{package}.{name}" for name in symbols])
        shown = re.compile(rf"`({'|'.join(symbols)})`")
        linked.append(package + sentence + shown.sub(rf"[`\1`](reference/api/{package}.md#{package}.\1)", names))
    for module in re.findall(r"^- `([\w.]+)`", modules, flags=re.M):
        _api_page(module, [module])
    modules = re.sub(r"^- `([\w.]+)`", r"- [`\1`](reference/api/\1.md)", modules, flags=re.M)
    (STAGED / "api.md").write_text("## ".join([head, *linked]) + end + modules, encoding="utf-8")


def _api_page(name: str, symbols: list[str]) -> None:
    place = STAGED / "reference" / "api" / f"{name}.md"
    place.parent.mkdir(parents=True, exist_ok=True)
    parts = [part for symbol in symbols for part in (f"::: {symbol}", settings_of(symbol))]
    place.write_text("\n\n".join([f"# {name}", *filter(None, parts)]) + "\n", encoding="utf-8")


def settings_of(symbol: str) -> str:
    """Return a line for every field of a settings class, as the reference of recipes has it; "" for other symbols."""
    found = pkgutil.resolve_name(symbol)
    if not (isinstance(found, type) and issubclass(found, BaseModel)):
        return ""
    if found.__name__ == "Recipe":
        return "The fields are the [keys of a recipe](../recipe/keys.md)."
    sys.path.append(str(ROOT / "tests" / "recipe"))
    from test_recipe_documentation import described

    return f"Fields of `{found.__name__}`:\n\n" + "\n".join(described(found, python=True))


class _Page(HTMLParser):
    """Links and anchors of a built page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors = {""}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for key, value in attrs:
            if key in ("href", "src") and value:
                self.links.append(value)
            elif key in ("id", "name") and value:
                self.anchors.add(value)


def broken_links(site: Path) -> list[str]:
    """Return the links of a built site that lead to no file or no anchor of it, each with the page that has it."""
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html") if path.name != "404.html"}
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            known = pages[target].anchors if target in pages else {""}
            if not target.exists() or (target in pages and unquote(parts.fragment) not in known):
                broken.append(f"{path.relative_to(site)}: {link}")
    return broken


def stage() -> None:
    """Write the copy of the documentation from which the site is built."""
    shutil.rmtree(STAGED, ignore_errors=True)
    shutil.copytree(DOCS, STAGED, ignore=shutil.ignore_patterns("*.md", "*.ipynb", "*.py", "__pycache__"))
    pages = Stage()
    for path in [*DOCS.rglob("*.md"), *DOCS.rglob("*.ipynb"), ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]:
        pages.page(path)
    api_pages()


def main() -> None:
    """Build the site, and check its links."""
    stage()
    shutil.rmtree(SITE, ignore_errors=True)
    subprocess.run(["zensical", "build", "--strict", "--clean"], cwd=ROOT, check=True)
    broken = broken_links(SITE)
    if broken:
        sys.exit("Links that lead nowhere:\n" + "\n".join(broken))


if __name__ == "__main__":
    main()
