"""The committed notebooks keep the rules, and each rule notices when it is broken."""

import copy
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from notebook_guards import GUARDS, OUTPUT_BYTES

from novakit.course.exercises import verify_exercises
from novakit.course.notebooks import read_notebook

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("[0-9][0-9]_*.ipynb"))
NUMBERS = ("00", "01", "02", "03", "04", "05", "06", "07", "08", "09", "10", "11")


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.__name__)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name[:2])
def test_notebook_keeps_the_rule(path, guard):
    assert guard(path, read_notebook(path)) == []


def test_the_series_is_complete():
    found = [path.name[:2] for path in NOTEBOOKS]
    assert len(found) == len(set(found)), "two notebooks share a number"
    assert [number for number in NUMBERS if number not in found] == []


@pytest.mark.notebook
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name[:2])
def test_stubs_do_not_pass_and_solutions_do(path, monkeypatch, tmp_path):
    monkeypatch.setenv("NOVAKIT_BUILD", str(tmp_path))
    proofs = verify_exercises(path)
    assert [fault for proof in proofs for fault in proof.faults] == []


CARD = (
    "# Toy\n\n| profile | minutes | memory |\n|---|---|---|\n"
    "| ci | 0.4 min | 600 MB |\n| laptop | 2 min | 900 MB |\n| gpu | not measured | |"
)


def good_notebook():
    """A notebook that keeps every rule."""
    cells = [new_markdown_cell(CARD)]
    cells.append(new_code_cell('profile = "ci"', metadata={"tags": ["parameters"]}))
    for kind in ("predict", "code", "break"):
        tags = {"tags": ["exercise", "nbval-check-output"], "novakit": {"kind": kind, "solution": "pass"}}
        printed = new_output("stream", name="stdout", text="exercise: not solved yet\n")
        cells += [new_markdown_cell("Words."), new_code_cell("x = 1", metadata=tags, outputs=[printed])]
    cells.append(new_markdown_cell("Next: [the second](01_second.ipynb)"))
    for count, cell in enumerate((cell for cell in cells if cell.cell_type == "code"), start=1):
        cell.execution_count = count
    return new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})


def printed(text):
    return lambda notebook: notebook.cells[3].outputs.append(new_output("stream", name="stdout", text=text))


def source(text, index=3):
    return lambda notebook: notebook.cells[index].update(source=text)


BREAKS = {  # rule: what breaks it
    "one_parameters_cell": lambda nb: nb.cells[1].metadata.update(tags=[]),
    "run_in_order": lambda nb: nb.cells[3].update(execution_count=None),
    "checked_cells": lambda nb: nb.cells[3].update(outputs=[]),
    "small_outputs": printed("x" * OUTPUT_BYTES),
    "no_error_outputs": lambda nb: nb.cells[3].outputs.append(new_output("error", ename="E", evalue="")),
    "three_exercises": lambda nb: nb.cells[3].metadata.novakit.update(kind="code"),
    "no_absolute_paths": printed("written to /home/student/clip.mp4"),
    "no_install_no_network": source("%pip install decord"),
    "more_words_than_code": lambda nb: nb.cells.extend([new_code_cell("1")] * 2),
    "short_cells": source("x = 1\n" * 41),
    "kernel_python3": lambda nb: nb.metadata.kernelspec.update(name="conda-env"),
    "no_progress_bars": printed("\r 50%|#### | 4/8"),
    "no_semicolons": source("x = 1;"),
    "links_lead_somewhere": source("[gone](03_gone.ipynb) [the second](01_second.ipynb)", index=-1),
    "header_card": lambda nb: nb.cells[0].update(source=CARD.replace("0.4 min", "fast")),
    "valid_python": source("x = ("),
}


@pytest.fixture
def place(tmp_path):
    (tmp_path / "01_second.ipynb").write_text("")
    return tmp_path / "00_toy.ipynb"


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.__name__)
def test_rule_lets_a_good_notebook_pass_and_notices_a_broken_one(guard, place):
    notebook = good_notebook()
    assert guard(place, notebook) == []
    broken = copy.deepcopy(notebook)
    BREAKS[guard.__name__](broken)
    assert guard(place, broken)


def test_next_notebook_must_be_linked(place):
    notebook = good_notebook()
    notebook.cells[-1].source = "The end."
    faults = {guard.__name__: guard(place, notebook) for guard in GUARDS}
    assert faults["links_lead_somewhere"] == ["no link to the next notebook, 01_second.ipynb"]
