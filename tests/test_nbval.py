"""nbval as this repository sets it up really compares, and ignores only what differs by machine."""

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

ROOT = Path(__file__).resolve().parents[1]
KERNEL = {"name": "python3", "display_name": "Python 3 (ipykernel)"}


def stored(source, text, count=1):
    """A checked cell with a stored text."""
    output = new_output("stream", name="stdout", text=text)
    tags = {"tags": ["nbval-check-output"]}
    return new_code_cell(source, metadata=tags, outputs=[output], execution_count=count)


def nbval(folder, *cells, extra=()):
    """Run nbval over one notebook of the given cells, with this repository's settings."""
    path = folder / "00_toy.ipynb"
    nbformat.write(new_notebook(cells=list(cells), metadata={"kernelspec": KERNEL}), path)
    words = [sys.executable, "-m", "pytest", "-p", "conftest", "-c", "pyproject.toml", "--nbval-lax", *extra]
    return subprocess.run([*words, "-q", str(path)], cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_equal_text_passes_whatever_time_and_memory_it_took(tmp_path):
    cell = stored(
        "import sys\nprint('loss 0.25 after 3.5 s, 812 MB, on 2026-11-22')\nprint('noise', file=sys.stderr)",
        "loss 0.25 after 1.2 s, 640 MB, on 2025-01-01\n",
    )
    done = nbval(tmp_path, cell)
    assert done.returncode == 0, done.stdout


def test_another_number_fails(tmp_path):
    done = nbval(tmp_path, stored("print('loss 0.26')", "loss 0.25\n"))
    assert done.returncode == 1
    assert "loss 0.25" in done.stdout and "loss 0.26" in done.stdout


def test_a_changed_library_fails(tmp_path):
    """The mutation that nbval is there for: the notebook is the same, novakit is not."""
    mutate = "import novakit\nnovakit.__version__ = 'broken'"
    cells = [new_code_cell(mutate, execution_count=1)]
    cells.append(stored("print('is', novakit.__version__)", "is the right one\n", count=2))
    assert nbval(tmp_path, *cells).returncode == 1


@pytest.mark.parametrize("source", ["import os; os._exit(0)", "while True: pass"])
def test_a_dead_or_endless_kernel_ends(tmp_path, source):
    done = nbval(tmp_path, new_code_cell(source, execution_count=1), extra=("--nbval-cell-timeout=3",))
    assert done.returncode == 1
