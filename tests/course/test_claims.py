"""Every claim and equation leads to code, a notebook cell and a test that exist; a wrong entry is named."""

from dataclasses import replace

import pytest

from novakit.course.claims import FILE, NAMES, problems, read_entries
from novakit.errors import NovaError
from novakit.evaluation.suites.claims import CLAIMS

ENTRIES = read_entries()


@pytest.mark.parametrize("name", NAMES)
def test_every_entry_resolves(name):
    assert problems(ENTRIES[name]) == []


def test_claims_are_those_of_the_suite_under_the_same_titles():
    assert {name: ENTRIES[name].title for name in CLAIMS} == {name: claim.title for name, claim in CLAIMS.items()}
    assert all(f"novakit.evaluation.suites.claims.{name}" in ENTRIES[name].symbols for name in CLAIMS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"symbols": ("novakit.degradation.no_such_function",)}, "no no_such_function in novakit.degradation"),
        ({"symbols": ("no_such_package.thing",)}, "no module no_such_package"),
        ({"symbols": ()}, "no symbols"),
        ({"tests": ("tests/course/test_claims.py::test_that_is_not_there",)}, "test_that_is_not_there does not exist"),
        ({"tests": ("tests/no_such_file.py::test_x",)}, "test file tests/no_such_file.py does not exist"),
        ({"notebook": "99_nothing.ipynb"}, "notebook 99_nothing.ipynb does not exist"),
        ({"cell": "text that no cell holds"}, "0 cells of"),
        ({"cell": "e"}, "cells of"),
        ({"cell": None}, "give both or neither"),
    ],
)
def test_what_does_not_resolve_is_named(change, message):
    found = problems(replace(ENTRIES["eq2"], **change))
    assert len(found) == 1 and message in found[0] and found[0].startswith("eq2: ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[C1", "cannot be read"),
        ("[C11]\ntitle = 'x'", "missing or unknown"),
        (FILE.read_text(encoding="utf-8").replace("notebook =", "notebok =", 1), "unknown keys"),
        (FILE.read_text(encoding="utf-8").replace("title =", "# title =", 1), "missing keys"),
    ],
)
def test_a_damaged_list_is_refused(tmp_path, text, message):
    (tmp_path / "claims.toml").write_text(text, encoding="utf-8")
    with pytest.raises(NovaError, match=message):
        read_entries(tmp_path / "claims.toml")
