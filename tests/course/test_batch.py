"""The batch runner believes no ending but the right one, and one bad notebook hides no other."""

import json
import os
import subprocess
import sys
import time

import nbformat
import psutil
import pytest
from toys import write_toy

from novakit.course import process
from novakit.course.batch import run_series
from novakit.course.notebooks import Cost, compare_cost, numbered_notebooks, parameters, stated_cost
from novakit.course.settings import parse_settings, values_for
from novakit.errors import NovaError

HAND_ON = 'from novakit.paths import artefact\nartefact("note.txt").write_text(f"{profile} {steps}")'
READ = (
    'from novakit.paths import artefact\nfile = artefact("note.txt")\n'
    'print("found", file.read_text() if file.exists() else "nothing")'
)
ENDINGS = {  # file: (code cells, status, words of the detail)
    "00_ok.ipynb": ([HAND_ON, "import os; print(os.path.basename(os.getcwd()))"], "passed", ""),
    "01_error.ipynb": (["1 / 0", "print('behind')"], "failed", "ZeroDivisionError: division by zero"),
    "02_exit.ipynb": (["import sys; sys.exit()", "print('behind')"], "ended", "SystemExit"),
    "03_dies.ipynb": (["import os; os._exit(0)", "print('behind')"], "died", "os._exit(0)"),
    "04_quit.ipynb": (["print('last')", "quit()"], "ended", "quit()"),
    # on a busy machine the kernel is gone before its answer is read: then it died
    "05_shutdown.ipynb": (["get_ipython().kernel.do_shutdown(False)"], ("ended", "died"), ""),
    "06_reads.ipynb": ([READ], "passed", ""),
}


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    """One run over all endings."""
    base = tmp_path_factory.mktemp("series {odd} name")
    folder = base / "notebooks"
    for name, (sources, _, _) in ENDINGS.items():
        write_toy(folder, name, *sources, card="| ci | 0.1 min | 100 MB |\n")
    write_toy(folder, "07_untagged.ipynb", "print(1)", parameters=None)
    (folder / "08_broken.ipynb").write_text("[]")
    write_toy(folder, "scratch.ipynb", "not numbered")
    return run_series(folder=folder, out=base / "out", settings=["00.steps=7"])


@pytest.mark.parametrize("name", ENDINGS)
def test_every_ending_gets_its_name(series, name):
    row = next(row for row in series.rows if row.notebook == name)
    _, status, words = ENDINGS[name]
    assert row.verdict.status in ((status,) if isinstance(status, str) else status), row.verdict
    assert words in row.verdict.detail


def test_no_notebook_is_lost_and_the_run_counts_as_failed(series):
    assert [row.notebook[:2] for row in series.rows] == [f"{i:02}" for i in range(9)]
    assert not series.passed
    details = {row.notebook: row.verdict.detail for row in series.rows}
    assert "0 cells are tagged 'parameters'" in details["07_untagged.ipynb"]
    assert "no readable notebook" in details["08_broken.ipynb"]


def test_settings_reach_the_notebook_and_artefacts_the_next_one(series):
    text = (series.folder / "06_reads.ipynb").read_text()
    assert "found ci 7" in text
    assert (series.folder / "artefacts" / "note.txt").read_text() == "ci 7"


def test_working_directory_is_the_notebooks_folder(series):
    notebook = nbformat.read(series.folder / "00_ok.ipynb", 4)
    assert notebook.cells[-1].outputs[0].text == "notebooks\n"


def test_report_files(series, capsys):
    data = json.loads((series.folder / "report.json").read_text())
    assert data["passed"] is False and len(data["notebooks"]) == 9
    assert data["provenance"]["versions"]["torch"]
    first = data["notebooks"][0]
    assert first["status"] == "passed" and first["minutes"] < 2 and 30 < first["peak_memory_mb"] < 2000
    index = (series.folder / "index.html").read_text()
    assert 'href="00_ok.html"' in index and "ZeroDivisionError" in index
    assert "found ci 7" in (series.folder / "06_reads.html").read_text()


def test_jobs_at_a_time_start_from_shipped_artefacts(tmp_path):
    write_toy(tmp_path / "notebooks", "00_first.ipynb", HAND_ON)
    write_toy(tmp_path / "notebooks", "01_second.ipynb", "import time; time.sleep(1)", READ)
    report = run_series(folder=tmp_path / "notebooks", out=tmp_path / "out", jobs=2)
    assert report.passed
    assert "found nothing" in (report.folder / "01_second.ipynb").read_text()


@pytest.fixture
def leaves_no_process():
    """Whatever this process has started at the end of a test it had started before it, as other tests may have."""
    before = psutil.Process().children(recursive=True)
    yield
    assert set(psutil.Process().children(recursive=True)) <= set(before)


@pytest.mark.usefixtures("leaves_no_process")
def test_timeout_stops_the_notebook_and_leaves_no_kernel(tmp_path):
    write_toy(tmp_path / "notebooks", "00_endless.ipynb", "print('started', flush=True)\nwhile True: pass")
    report = run_series(folder=tmp_path / "notebooks", out=tmp_path / "out", timeout_minutes=0.1)
    assert report.rows[0].verdict.status == "timeout"
    assert report.rows[0].cost.minutes < 0.5


WAIT = "import pathlib, time\nseen = pathlib.Path('seen')\nfirst = not seen.exists()\nseen.touch()\n"


@pytest.mark.usefixtures("leaves_no_process")
@pytest.mark.parametrize(("when", "status"), [("first", "passed"), ("True", "stalled")])
def test_a_kernel_that_waits_for_ever_is_tried_once_more(tmp_path, monkeypatch, when, status):
    monkeypatch.setattr(process, "_STALL_SECONDS", 4)
    write_toy(tmp_path / "notebooks", "00_waiting.ipynb", WAIT + f"time.sleep(600 if {when} else 0)")
    report = run_series(folder=tmp_path / "notebooks", out=tmp_path / "out")
    assert report.rows[0].verdict.status == status
    assert report.rows[0].warning == "second try; the first one: nothing was computed for 4 s"


def test_sigterm_takes_the_kernels_along(tmp_path):
    write_toy(tmp_path / "notebooks", "00_endless.ipynb", "while True: pass")
    code = (
        "import sys; from pathlib import Path; from novakit.course.batch import run_series;"
        "run_series(folder=Path(sys.argv[1]) / 'notebooks', out=Path(sys.argv[1]) / 'out')"
    )
    runner = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    kernels = _wait_for_kernels(runner.pid)
    assert kernels
    runner.terminate()
    assert runner.wait(timeout=20) == 143
    psutil.wait_procs(kernels, timeout=5)
    assert not any(kernel.is_running() for kernel in kernels)


def _wait_for_kernels(pid):
    """Wait until the runner's child has a kernel of its own."""
    for _ in range(200):
        family = psutil.Process(pid).children(recursive=True)
        if len(family) >= 2:
            return family
        time.sleep(0.1)
    return []


def test_command_exit_codes(tmp_path):
    command = [sys.executable, "-m", "novakit", "series", "--out", str(tmp_path)]
    bad = subprocess.run([*command, "--profile", "huge"], capture_output=True, text=True)
    assert bad.returncode == 2
    assert bad.stderr == "error: profile 'huge' is unknown; the profiles are ci, laptop, gpu.\n"
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"profile": "huge"}, "ci, laptop, gpu"),
        ({"only": "01"}, "among 00"),
        ({"only": ","}, "among 00"),
        ({"settings": ["stepz=3"]}, "it has profile, steps"),
        ({"settings": ["steps=seven"]}, "wants int"),
        ({"settings": ["steps"]}, "name=value"),
        ({"settings": ["06.steps=1"]}, "notebook 06 is not in this run"),
        ({"jobs": 0}, "at least 1"),
        ({"timeout_minutes": 0}, "more than 0"),
    ],
)
def test_bad_choices_are_refused_before_anything_runs(tmp_path, options, words):
    write_toy(tmp_path / "notebooks", "00_toy.ipynb", "print(1)")
    with pytest.raises(NovaError, match=words):
        run_series(folder=tmp_path / "notebooks", out=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_no_notebooks(tmp_path):
    with pytest.raises(NovaError, match="no numbered notebook"):
        numbered_notebooks(tmp_path)


def test_parameters_and_values(tmp_path):
    source = 'profile: str = "ci"  # how much\nsteps = 4\nrate = 0.5\nsizes = [1, 2]\nlater = max(1, 2)'
    path = write_toy(tmp_path, "03_toy.ipynb", parameters=source)
    defaults = parameters(nbformat.read(path, 4))
    assert defaults == {"profile": "ci", "steps": 4, "rate": 0.5, "sizes": [1, 2], "later": ...}
    settings = parse_settings(["rate=2", "03.steps=9", "04.other=1", "sizes=[3]", "later=true"])
    assert values_for(path, defaults, settings) == {"rate": 2.0, "steps": 9, "sizes": [3], "later": True}


@pytest.mark.parametrize(
    ("card", "minutes", "memory", "words"),
    [
        ("| ci | 0.4 min | 600 MB |", 0.5, 650, None),
        ("| `ci` | 0.4 min | 0.6 GB |", 0.5, 650, None),
        ("| ci | 0.4 min | 600 MB |", 2.0, 650, "0.4 min, measured 2.0 min"),
        ("| ci | 0.4 min | 600 MB |", 0.4, 1500, "600 MB, measured 1500 MB"),
        ("| laptop | 4 min | 600 MB |", 0.4, 600, "no line for ci; measured: | ci | 0.4 min | 600 MB |"),
    ],
)
def test_header_card_against_measurement(tmp_path, card, minutes, memory, words):
    notebook = nbformat.read(write_toy(tmp_path, "00_toy.ipynb", card=card), 4)
    warning = compare_cost(stated_cost(notebook, "ci"), Cost(minutes, memory), "ci")
    assert warning is None if words is None else words in warning
