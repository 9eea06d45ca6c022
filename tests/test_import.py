"""``import novakit`` is light, and its public names load what they need when they are used."""

import subprocess
import sys

import pytest

import novakit

TIMER = (
    "import time; start = time.perf_counter(); import novakit; took = time.perf_counter() - start;"
    "import sys; heavy = {'torch', 'numpy', 'diffusers', 'matplotlib'} & set(sys.modules);"
    "print(took, sorted(heavy))"
)


def test_import_takes_at_most_a_third_of_a_second_and_no_torch():
    times = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", TIMER], capture_output=True, text=True, check=True)
        took, heavy = done.stdout.split(maxsplit=1)
        assert heavy.strip() == "[]"
        times.append(float(took))
    assert min(times) <= 0.3


def test_command_line_starts_without_torch():
    code = "import sys, novakit.cli; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("name", [name for name in novakit.__all__ if name != "__version__"])
def test_every_public_name_is_there(name):
    assert getattr(novakit, name) is not None
    assert name in dir(novakit)


def test_unknown_name():
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        _ = novakit.no_such_name
