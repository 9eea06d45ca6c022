"""What every pytest run needs, most of all nbval over the notebooks, from whichever command it is started.

nbval compares printed text; its traps are taken out here: a kernel that dies would hang for 2,000
seconds, and stderr, HTML and pictures differ from machine to machine. Source: ours.
"""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent
CELL_TIMEOUT = 300.0  # seconds
NBVAL_DEFAULT_TIMEOUT = 2000


def pytest_configure(config):
    """Give kernels this repository's novakit and this Python, no progress bars, and nbval its options."""
    old_path = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = f"{ROOT}{os.pathsep}{old_path}" if old_path else str(ROOT)
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"
    options = config.option
    if getattr(options, "nbval", False) or getattr(options, "nbval_lax", False):
        os.environ["TQDM_DISABLE"] = "1"
        os.environ.pop("MPLBACKEND", None)  # plots would get lost without an error
        options.nbval_current_env = options.nbval_kernel_name is None
        options.nbval_sanitize_with = options.nbval_sanitize_with or str(ROOT / "tests" / "nbval.cfg")
        if options.nbval_cell_timeout == NBVAL_DEFAULT_TIMEOUT:
            options.nbval_cell_timeout = CELL_TIMEOUT


def pytest_runtest_setup(item):
    """Tests marked gpu need CUDA, but for those that are rehearsed on the CPU just now."""
    marker = item.get_closest_marker("gpu")
    if marker is None or marker.kwargs.get("rehearsed"):
        return
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")


def pytest_collectstart(collector):
    """Compare what a cell prints; leave out warnings, HTML and pictures."""
    if type(collector).__name__ == "IPyNbFile":
        collector.skip_compare += ("stderr", "text/html", "image/png")
