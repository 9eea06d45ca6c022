"""The files that describe the environment agree with each other and with what is installed."""

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import novakit

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
NOT_INSTALLED = {"wandb"}  # a client of a service: tests put a stand-in there, so no version of it was run
ALL = [Requirement(text) for text in [*PROJECT["dependencies"], *(text for extra in EXTRAS.values() for text in extra)]]
# one extra may take in another
REQUIREMENTS = [requirement for requirement in ALL if requirement.name not in {"novakit", *NOT_INSTALLED}]
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text())


def pins():
    """Name -> version of constraints.txt."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=lambda requirement: requirement.name)
def test_every_requirement_is_pinned_within_its_bounds(requirement):
    assert requirement.specifier.contains(pins()[canonicalize_name(requirement.name)])


def test_pins_are_exact_and_portable():
    assert pins()["torch"] == "2.13.0"
    for name in ("constraints.txt", "environment.yml", "pyproject.toml", "Makefile", "README.md"):
        text = (ROOT / name).read_text()
        assert not re.search(r"==[\w.]+\+(cpu|cu\d+)", text), name
        assert not re.search(r"index-url|find-links|https?://\S*/simple", text), name


def test_pins_are_what_is_installed_here():
    wrong = []
    for name, version in pins().items():
        try:
            found = metadata.version(name).partition("+")[0]
        except metadata.PackageNotFoundError:
            continue  # another platform, or an extra that is not installed
        if found != version:
            wrong.append(f"{name} {found}, pinned {version}")
    assert wrong == []


def test_environment_file_agrees_with_both():
    assert ENVIRONMENT["name"] == PROJECT["name"]
    python, pip, section = ENVIRONMENT["dependencies"]
    assert pip == "pip"
    assert Requirement(python.replace("=", "==", 1)).specifier
    assert PROJECT["requires-python"] == ">=" + python.partition("=")[2]
    lines = section["pip"]
    assert "-c constraints.txt" in lines and "-e .[test]" in lines
    named = [Requirement(line) for line in lines if not line.startswith("-")]
    assert [requirement.name for requirement in named] == ["torch"]
    for requirement in named:
        assert str(requirement.specifier) == "==" + pins()[requirement.name]


def test_decord_is_asked_for_only_where_it_has_a_wheel():
    marker = next(r.marker for r in REQUIREMENTS if r.name == "decord")
    assert marker.evaluate({"platform_machine": "x86_64", "sys_platform": "linux"})
    assert not marker.evaluate({"platform_machine": "arm64", "sys_platform": "darwin"})
    assert not marker.evaluate({"platform_machine": "x86_64", "sys_platform": "darwin"})
    assert not marker.evaluate({"platform_machine": "aarch64", "sys_platform": "linux"})


def test_licence_and_citation():
    licence = (ROOT / "LICENSE").read_text()
    assert "Apache License" in licence and "END OF TERMS AND CONDITIONS" in licence
    assert PROJECT["license"] == "Apache-2.0"
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["license"] == "Apache-2.0"
    assert citation["version"] == novakit.__version__
    assert "2603.02802" in str(citation["references"])


def test_python3_kernel_is_this_python():
    code = (
        "import sys; from jupyter_client import KernelManager;"
        "command = KernelManager(kernel_name='python3').format_kernel_cmd();"
        "print(command[0] == sys.executable, command)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("True"), done.stdout


@pytest.mark.parametrize("target", ["notebooks", "test"])
def test_make_knows_the_two_commands(target):
    """A dry run shows the environment being made, then the work."""
    words = ["make", "--dry-run", "--always-make", target, "VENV=build/no-such-venv"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    made = done.stdout.index("-m venv")
    assert made < done.stdout.index("-c constraints.txt torch") < done.stdout.index("-e '.[test]'")


def test_make_refuses_an_old_python(tmp_path):
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    words = ["make", "install", f"VENV={tmp_path / 'venv'}", f"PYTHON={old}"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert "older than 3.11" in done.stderr
    assert not (tmp_path / "venv").exists()
