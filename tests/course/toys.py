"""Small notebooks that end in every way a notebook can end."""

from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

PARAMETERS = 'profile = "ci"\nsteps = 4'
KERNEL = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}


def write_toy(folder: Path, name: str, *sources: str, parameters: str | None = PARAMETERS, card: str = "") -> Path:
    """Write a notebook of the given code cells behind a parameters cell and a header card."""
    cells = [new_markdown_cell("# A toy\n\n| profile | minutes | memory |\n|---|---|---|\n" + card)]
    if parameters is not None:
        cells.append(new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    cells += [new_code_cell(source) for source in sources]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": KERNEL}), path)
    return path
