"""What every committed notebook must be, as small functions that return the faults they find."""

import ast
import json
import re

from novakit.course.exercises import KINDS, exercise_cells
from novakit.course.notebooks import PROFILES, code_cells, has_tag, parameters, stated_cost
from novakit.errors import NovaError

OUTPUT_BYTES = 300_000
CELL_LINES = 40

_ABSOLUTE = re.compile(r"(?<![\w.~/:-])(/(home|root|work|tmp|mnt|opt|usr|Users|private|content)/|[A-Z]:\\\\?\w)")
_NETWORK = re.compile(
    r"pip install|conda install|^\s*[!%]\s*(pip|conda)|\bwget\b|\bcurl\b|urlopen|urlretrieve"
    r"|requests\.(get|post)|hf_hub_download|snapshot_download",
    re.MULTILINE,
)
_LINK = re.compile(r"\]\((?!https?:|#|mailto:|attachment:)([^)#\s]+)")
_BASE64 = re.compile(r"base64,[A-Za-z0-9+/=\\n]+")


def markdown_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "markdown"]


def printed_texts(notebook):
    """Yield everything textual that the code cells have put out, without embedded films and pictures."""
    for cell in code_cells(notebook):
        for output in cell.outputs:
            data = {kind: text for kind, text in output.get("data", {}).items() if not kind.startswith("image/")}
            yield _BASE64.sub("", output.get("text", "") + "".join(map(str, data.values())))


def one_parameters_cell(path, notebook):
    try:
        defaults = parameters(notebook)
    except NovaError as error:
        return [str(error)]
    return [] if defaults.get("profile") == "ci" else ['the parameters cell must say profile = "ci"']


def run_in_order(path, notebook):
    counts = [cell.execution_count for cell in code_cells(notebook)]
    wanted = list(range(1, len(counts) + 1))
    return [] if counts == wanted else [f"execution counts {counts}: restart the kernel, run all, save"]


def checked_cells(path, notebook):
    checked = [cell for cell in code_cells(notebook) if has_tag(cell, "nbval-check-output")]
    faults = [] if len(checked) >= 3 else [f"{len(checked)} cells tagged nbval-check-output, 3 wanted"]
    for cell in checked:
        texts = [output for output in cell.outputs if "text" in output or "text/plain" in output.get("data", {})]
        if not texts:
            faults.append(f"a checked cell has no stored text: {cell.source[:40]!r}")
    return faults


def small_outputs(path, notebook):
    size = sum(len(json.dumps(cell.outputs)) for cell in code_cells(notebook))
    size += len(json.dumps(notebook.metadata.get("widgets", {})))
    return [] if size <= OUTPUT_BYTES else [f"{size / 1000:.0f} KB of outputs, {OUTPUT_BYTES // 1000} KB wanted"]


def no_error_outputs(path, notebook):
    return [
        f"a stored error: {output.ename}"
        for cell in code_cells(notebook)
        for output in cell.outputs
        if output.output_type == "error" and not has_tag(cell, "raises-exception")
    ]


def three_exercises(path, notebook):
    try:
        kinds = {exercise.kind for exercise in exercise_cells(notebook)}
    except NovaError as error:
        return [str(error)]
    return [f"no exercise of kind {kind}" for kind in KINDS if kind not in kinds]


def no_absolute_paths(path, notebook):
    texts = [*(cell.source for cell in notebook.cells), *printed_texts(notebook)]
    found = [match[0] for text in texts for match in _ABSOLUTE.finditer(text)]
    return [f"an absolute path: {text}…" for text in found]


def no_install_no_network(path, notebook):
    return [match[0] for cell in code_cells(notebook) for match in _NETWORK.finditer(cell.source)]


def more_words_than_code(path, notebook):
    words, code = len(markdown_cells(notebook)), len(code_cells(notebook))
    return [] if words > code else [f"{words} markdown cells, {code} code cells"]


def short_cells(path, notebook):
    lengths = [len(cell.source.splitlines()) for cell in code_cells(notebook)]
    return [f"a code cell of {n} lines, at most {CELL_LINES} wanted" for n in lengths if n > CELL_LINES]


def kernel_python3(path, notebook):
    name = notebook.metadata.get("kernelspec", {}).get("name")
    return [] if name == "python3" else [f"kernelspec {name!r}, python3 wanted"]


def no_progress_bars(path, notebook):
    return ["a progress bar in an output" for text in printed_texts(notebook) if re.search(r"\r(?!\n)|\d%\|", text)]


def no_semicolons(path, notebook):
    """A trailing ``;`` hides a value in Jupyter but not from nbval."""
    lines = [line for cell in code_cells(notebook) for line in cell.source.splitlines()]
    return [f"a trailing semicolon: {line.strip()}" for line in lines if line.rstrip().endswith(";")]


def links_lead_somewhere(path, notebook):
    targets = [target for cell in markdown_cells(notebook) for target in _LINK.findall(cell.source)]
    faults = [f"a broken link: {target}" for target in targets if not (path.parent / target).exists()]
    later = sorted(other.name for other in path.parent.glob("[0-9][0-9]_*.ipynb") if other.name > path.name)
    if later and later[0] not in targets:
        faults.append(f"no link to the next notebook, {later[0]}")
    return faults


def header_card(path, notebook):
    head = "\n".join(cell.source for cell in markdown_cells(notebook)[:3])
    faults = [
        f"the header card has no line for {profile}"
        for profile in PROFILES
        if not re.search(rf"^\|\s*`?{profile}`?\s*\|", head, re.MULTILINE)
    ]
    return faults or ([] if stated_cost(notebook, "ci") else ["write the ci line as | ci | 0.4 min | 600 MB |"])


def valid_python(path, notebook):
    """Cells without magics must parse; ruff checks the rest."""
    faults = []
    for cell in code_cells(notebook):
        if not re.search(r"^\s*[%!?]", cell.source, re.MULTILINE):
            try:
                ast.parse(cell.source)
            except SyntaxError as error:
                faults.append(f"{error.msg} in {cell.source[:40]!r}")
    return faults


GUARDS = (
    one_parameters_cell,
    run_in_order,
    checked_cells,
    small_outputs,
    no_error_outputs,
    three_exercises,
    no_absolute_paths,
    no_install_no_network,
    more_words_than_code,
    short_cells,
    kernel_python3,
    no_progress_bars,
    no_semicolons,
    links_lead_somewhere,
    header_card,
    valid_python,
)
