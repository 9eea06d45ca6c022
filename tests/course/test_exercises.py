"""Exercises: the proof sees a stub that passes, a solution that fails, and a malformed cell."""

import nbformat
import pytest
from nbformat.v4 import new_code_cell
from toys import write_toy

from novakit.course.exercises import exercise_cells, verify_exercises, with_solutions
from novakit.errors import NovaError

STUB = "answer = ...\ncheck('exercise 1', answer, 3)"
SOLUTION = "answer = 3\ncheck('exercise 1', answer, 3)"


def exercise(stub=STUB, solution=SOLUTION, kind="code"):
    return new_code_cell(stub, metadata={"tags": ["exercise"], "novakit": {"kind": kind, "solution": solution}})


def notebook_with(tmp_path, *cells):
    path = write_toy(tmp_path, "00_toy.ipynb", "from novakit.course.checks import check")
    notebook = nbformat.read(path, 4)
    notebook.cells += cells
    nbformat.write(notebook, path)
    return path


def test_good_and_bad_exercises_are_told_apart(tmp_path):
    path = notebook_with(
        tmp_path,
        exercise(),
        exercise(stub=SOLUTION),
        exercise(solution=STUB.replace("...", "4")),
        exercise(stub="answer = 0  # prints nothing"),
        new_code_cell("assert answer == 3  # sees the solution"),
    )
    before = path.read_bytes()
    good, easy, wrong, silent = verify_exercises(path)
    assert good.faults == []
    assert len(easy.faults) == 1 and "the stub should say" in easy.faults[0]
    assert len(wrong.faults) == 1 and "the solution should pass" in wrong.faults[0]
    assert len(silent.faults) == 1 and "the stub should say" in silent.faults[0]
    assert path.read_bytes() == before


def test_a_notebook_that_breaks_with_its_solutions_is_reported(tmp_path):
    path = notebook_with(tmp_path, exercise(solution="1 / 0"))
    with pytest.raises(NovaError, match="00_toy.ipynb does not run with its solutions: ZeroDivisionError"):
        verify_exercises(path)


def test_instructor_version_holds_the_solutions_and_leaves_the_notebook_alone(tmp_path):
    notebook = nbformat.read(notebook_with(tmp_path, exercise()), 4)
    solved = with_solutions(notebook)
    assert solved.cells[-1].source == SOLUTION
    assert notebook.cells[-1].source == STUB


@pytest.mark.parametrize(
    ("change", "words"), [({"solution": " "}, "no solution"), ({"kind": "guess"}, "predict, code, break")]
)
def test_malformed_exercises(tmp_path, change, words):
    notebook = nbformat.read(notebook_with(tmp_path, exercise(**change)), 4)
    with pytest.raises(NovaError, match=words):
        exercise_cells(notebook)
