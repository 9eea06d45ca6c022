"""The paper's claims and equations, each tied to the code, the notebook cell and the test that stand for it.

`claims.toml` beside this file is the list; `problems` says of every entry what does not resolve, so that a renamed
function or a deleted cell cannot leave a claim without its evidence. Source: ours.
"""

from __future__ import annotations

import ast
import tomllib
from dataclasses import dataclass, fields
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

from novakit.course.notebooks import read_notebook
from novakit.errors import NovaError
from novakit.paths import ROOT, notebooks

FILE = Path(__file__).with_name("claims.toml")
NAMES = tuple([f"C{i}" for i in range(1, 11)] + [f"eq{i}" for i in range(1, 6)])


@dataclass(frozen=True)
class Entry:
    """One claim (C1 ... C10) or equation (eq1 ... eq5)."""

    name: str
    title: str
    symbols: tuple[str, ...]  # dotted names in the library
    tests: tuple[str, ...]  # pytest nodes, tests/…/test_x.py::test_y
    notebook: str | None = None  # file in notebooks/, where one shows it
    cell: str | None = None  # a cell's id, or text that one cell of the notebook alone holds
    note: str = ""  # what differs from the paper, if anything


def read_entries(path: Path = FILE) -> dict[str, Entry]:
    """Read the list.

    Args:
        path: a TOML file with one table for every one of NAMES.

    Raises:
        NovaError: no readable TOML, an entry that is missing or unknown, or a key that is.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NovaError(f"{path} cannot be read: {error}.") from None
    if differing := sorted(set(tables) ^ set(NAMES)):
        raise NovaError(f"{path} has entries that are missing or unknown: {', '.join(differing)}.")
    return {name: _entry(name, tables[name], path) for name in NAMES}


def _entry(name: str, table: dict[str, Any], path: Path) -> Entry:
    known = {field.name for field in fields(Entry)} - {"name"}
    unknown, absent = sorted(set(table) - known), sorted({"title", "symbols", "tests"} - set(table))
    if unknown or absent:
        raise NovaError(f"{path}, {name}: unknown keys {unknown}, missing keys {absent}.")
    lists = {key: tuple(table[key]) for key in ("symbols", "tests")}
    return Entry(name, **{key: value for key, value in table.items() if key not in lists}, **lists)


def problems(entry: Entry) -> list[str]:
    """What of an entry does not resolve, in words; empty when all is well.

    Raises:
        NovaError: novakit is installed without its repository, so there are no notebooks and tests.
    """
    found = [f"{entry.name}: no {kind}" for kind in ("symbols", "tests") if not getattr(entry, kind)]
    found += [f"{entry.name}: {text}" for symbol in entry.symbols if (text := symbol_problem(symbol))]
    found += [f"{entry.name}: {text}" for node in entry.tests if (text := test_problem(node))]
    if entry.notebook or entry.cell:
        text = cell_problem(entry.notebook, entry.cell)
        found += [f"{entry.name}: {text}"] if text else []
    return found


def symbol_problem(symbol: str) -> str | None:
    """None when a dotted name leads to something in the library: a module, a class, a function, an attribute."""
    parts = symbol.split(".")
    for length in range(len(parts), 0, -1):
        try:
            value = import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            if not hasattr(value, part):
                return f"symbol {symbol} does not exist: no {part} in {'.'.join(parts[:length])}"
            value = getattr(value, part)
        return None
    return f"symbol {symbol} does not exist: no module {parts[0]}"


def cell_problem(notebook: str | None, cell: str | None) -> str | None:
    """None when exactly one cell of the notebook has that id or holds that text."""
    if not notebook or not cell:
        return f"notebook is {notebook!r} and cell {cell!r}; give both or neither"
    path = notebooks() / notebook
    if not path.exists():
        return f"notebook {notebook} does not exist"
    cells = read_notebook(path).cells
    hits = [c for c in cells if c.get("id") == cell] or [c for c in cells if cell in c.source]
    return None if len(hits) == 1 else f"{len(hits)} cells of {notebook} have the id or hold the text {cell!r}"


def test_problem(node: str) -> str | None:
    """None when a pytest node is a function of a file in the repository."""
    file, _, name = node.partition("::")
    if ROOT is None:
        raise NovaError("the tests were asked for, but this novakit is installed without its repository. Clone it.")
    if not (ROOT / file).is_file():
        return f"test file {file} does not exist"
    return None if name in _functions(ROOT / file) else f"test {node} does not exist"


test_problem.__test__ = False  # pytest must not take it for a test


@lru_cache
def _functions(path: Path) -> frozenset[str]:
    """Names of the functions of a file, without importing it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))
