"""List of the shipped methods, read from their docstrings: `duelist methods`."""

from __future__ import annotations

import typing
from dataclasses import asdict, dataclass

from rich.markup import escape

from duelist.cli.console import Json, out, print_json
from duelist.recipe.components import COMPONENTS
from duelist.recipe.docstrings import FIELDS, described_in, docstrings_of, summary_of

# Ways of selecting that wrap a rule: settings of any acquisition, described in the same form.
WRAPPERS = {"lure": "duelist.acquisition.lure:LureConfig"}


@dataclass(frozen=True)
class Method:
    """A method's kind and name in a recipe, and its description from its docstring.

    Attributes:
        kind: recipe key.
        name: name in a recipe.
        summary: one sentence on what the method does.
        reference: source of the method.
        formula: formula that the method computes.
        needs: fields of `Features` that an acquisition needs with its default settings; empty for other kinds.
        unit: unit of the method's numbers.
        cost: cost of running the method.
        path: dotted path of the class.
    """

    kind: str
    name: str
    summary: str
    reference: str
    formula: str
    needs: tuple[str, ...]
    unit: str
    cost: str
    path: str


def list_methods() -> list[Method]:
    """Return every method that a recipe can name.

    Each field comes from the class docstring, or from the module docstring if the class has none. Only acquisitions
    are imported, to read the features they need.
    """
    kinds = ("sampler", "pairing", "featurizer", "acquisition", "annotator", "trainer")
    found = [_method(kind, name, path) for kind in kinds for name, path in COMPONENTS[kind].items()]
    return found + [_method("acquisition setting", name, path) for name, path in WRAPPERS.items()]


def _method(kind: str, name: str, path: str) -> Method:
    of_class, of_module = (described_in(text) for text in docstrings_of(path))
    values = {field: of_class[field] or of_module[field] for field in FIELDS}
    return Method(
        kind=kind,
        name=name,
        summary=summary_of(path),
        reference=values["Reference"],
        formula=values["Formula"],
        needs=_needs(path) if kind == "acquisition" else (),
        unit=values["Unit"],
        cost=values["Cost"],
        path=path,
    )


def _needs(path: str) -> tuple[str, ...]:
    """Return the fields that an acquisition needs with its default settings."""
    from duelist.settings.importing import import_object

    cls = import_object(path)
    config_type = typing.get_type_hints(cls.__init__).get("config")
    rule = cls() if config_type is None else cls(config_type())
    return tuple(sorted(rule.needs))


def methods(as_json: Json = False) -> None:
    """List the methods that a recipe can name, with citation, formula, required features, unit and cost."""
    found = list_methods()
    if as_json:
        print_json([asdict(m) for m in found])
        return
    for m in found:
        out.print(f"[bold]{m.kind}: {m.name}[/bold]  {escape(m.summary)}", soft_wrap=True, highlight=False)
        needs = ", ".join(m.needs)
        described = (("", m.reference), ("formula", m.formula), ("needs", needs), ("unit", m.unit), ("cost", m.cost))
        for title, text in described:
            if text:
                out.print(f"    {title + ': ' if title else ''}{escape(text)}", soft_wrap=True, highlight=False)
