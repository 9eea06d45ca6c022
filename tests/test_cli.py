"""The command line is thin: it hands over what was typed, and a NovaError is one line."""

import subprocess
import sys
import types
from pathlib import Path

import pytest

import novakit
from novakit import cli
from novakit.errors import NovaError


@pytest.fixture
def implementation(monkeypatch):
    """Put a recorder in the place of an implementation."""
    calls = []

    def install(module, name, result=None, error=None):
        def record(*args, **options):
            calls.append((args, options))
            if error:
                raise error
            return result

        monkeypatch.setitem(sys.modules, module, types.SimpleNamespace(**{name: record}))
        return calls

    return install


def run(*words):
    """Return the exit code of a command."""
    try:
        return cli.main(list(words))
    except SystemExit as end:
        return end.code


EDIT = ("edit", "in.mp4", "--keyframes", "frames", "--out", "out.mp4")


def test_edit_hands_over_everything(implementation):
    calls = implementation("novakit.editing.command", "edit_file")
    assert run(*EDIT, "--mask", "m.mp4", "--steps", "4", "--seed", "7", "--interval", "10") == 0
    assert run(*EDIT, "--paste-back", "--match-colour", "--frames", "120:200", "--mask", "m.mp4") == 0
    assert run(*EDIT, "--preset", "wan-1.3b", "--base", "Wan-AI/base", "--dense", "d.safetensors") == 0
    (args, options) = calls[0]
    assert args == (Path("in.mp4"), Path("frames"), Path("out.mp4"))
    asked = {"mask": Path("m.mp4"), "preset": "nano", "steps": 4, "seed": 7, "interval": 10}
    after = {"paste_back": False, "match_colour": False, "frames": None}
    wan = {"base": None, "dense": None, "prompt": "", "download": False, "offload": "none", "attention": None}
    speed = {"compile": False, "tiling": False, "use_cache": True, "step_cache": 0.0}
    assert options == {**asked, **after, **wan, **speed}
    assert {name: calls[1][1][name] for name in after} == dict.fromkeys(after, True) | {"frames": "120:200"}
    options = calls[2][1]
    assert (options["preset"], options["base"], options["dense"]) == ("wan-1.3b", "Wan-AI/base", "d.safetensors")


def test_edit_hands_over_how_a_large_preset_is_loaded(implementation):
    calls = implementation("novakit.editing.command", "edit_file")
    words = ("--download", "--offload", "group", "--attention", "flash", "--compile", "--tiling", "--step-cache", "0.1")
    assert run(*EDIT, *words, "--features-cache", "--prompt", "a red coat") == 0
    given = {"download": True, "offload": "group", "attention": "flash", "compile": True, "tiling": True}
    assert given.items() <= calls[0][1].items()
    assert (calls[0][1]["step_cache"], calls[0][1]["prompt"]) == (0.1, "a red coat")
    assert calls[0][1]["use_cache"] == "features"


def test_train_hands_over(implementation):
    calls = implementation("novakit.training.full_size.command", "train_command")
    words = ("--data", "c", "--out", "r", "--fsdp", "--set", "ema=0.9", "--gpus", "8", "--dry-run", "--download")
    assert run("train", "--preset", "wan-1.3b", *words) == 0
    args, given = calls[0]
    assert args == ("wan-1.3b", Path("c"), Path("r")) and given["settings"] == ["ema=0.9"]
    assert given["fsdp"] is True and given["steps"] is None and given["dry_run"] and given["gpus"] == 8
    assert given["download"] is True


def test_pretrain_and_bench_hand_over(implementation):
    calls = implementation("novakit.training.pretrain", "pretrain")
    assert run("pretrain", "--stage", "vae", "--folder", "runs", "--minutes", "3", "--no-resume", "--threads", "1") == 0
    options = {"minutes": 3.0, "device": "auto", "resume": False, "threads": 1, "workers": 1, "steps": None, "lr": None}
    assert calls == [(("vae", Path("runs")), options)]
    calls = implementation("novakit.training.variants.train", "train_variant")
    assert run("pretrain", "--stage", "variant", "--variant", "add", "--steps", "9") == 0
    assert calls[-1][0] == ("add", None) and calls[-1][1]["steps"] == 9 and "lr" not in calls[-1][1]
    calls = implementation("novakit.evaluation.benchmark", "bench")
    assert run("bench", "--suite", "gpu", "--out", "b.json", "--minutes", "9") == 0
    assert calls[-1] == (("gpu", Path("b.json"), 9.0), {})


@pytest.mark.parametrize(
    "words",
    [
        ("--stage", "variant"),
        ("--stage", "nova", "--variant", "add"),
        ("--stage", "variant", "--variant", "add", "--lr", "1"),
    ],
)
def test_a_variant_and_its_stage_go_together(words, capsys):
    assert run("pretrain", *words) == 2
    assert "do not go together" in capsys.readouterr().err


def test_eval_hands_over(implementation):
    calls = implementation("novakit.evaluation.suites", "evaluate")
    assert run("eval", "--suite", "table2", "--out", "results", "--scenes", "16", "--seeds", "1") == 0
    given = {"scenes": 16, "seeds": 1, "device": "auto", "folder": None, "encoder": "embedded", "resume": True}
    assert calls == [(("table2", Path("results")), given)]


@pytest.mark.parametrize(("passed", "code"), [(True, 0), (False, 1)])
def test_series_exit_code_tells(implementation, passed, code):
    calls = implementation("novakit.course.batch", "run_series", types.SimpleNamespace(passed=passed))
    assert run("series", "--only", "02,05", "--set", "a=1", "--set", "06.b=2", "--jobs", "2") == code
    options = calls[0][1]
    assert options["only"] == "02,05" and list(options["settings"]) == ["a=1", "06.b=2"] and options["jobs"] == 2


def test_nova_error_is_one_line_and_code_2(implementation, capsys):
    implementation("novakit.editing.command", "edit_file", error=NovaError("clip has 80 frames;\n  pass 77."))
    assert run(*EDIT) == 2
    assert capsys.readouterr().err == "error: clip has 80 frames; pass 77.\n"


@pytest.mark.parametrize(
    "words, message",
    [
        (("--base", "somewhere"), "--base, --dense) belong to wan-1.3b"),
        (("--dense", "d.safetensors"), "--base, --dense) belong to wan-1.3b"),
        (("--interval", "0"), "--interval) is 0"),
        (("--seed", "-1"), "--seed) is -1"),
        (("--seed", str(2**63)), f"--seed) is {2**63}"),
    ],
)
def test_options_that_cannot_work_are_refused_before_any_file_is_opened(words, message, capsys):
    assert run(*EDIT, *words) == 2
    assert message in capsys.readouterr().err


def test_any_other_exception_is_a_bug_and_shows_itself(implementation):
    implementation("novakit.editing.command", "edit_file", error=RuntimeError("a bug"))
    with pytest.raises(RuntimeError, match="a bug"):
        run(*EDIT)


@pytest.mark.parametrize("words", [("edit",), ("edit", "a.mp4", "--wrong"), ("nothing",), (*EDIT, "--seed", "x")])
def test_wrong_usage_is_code_2_without_a_traceback(words):
    done = subprocess.run([sys.executable, "-m", "novakit", *words], capture_output=True, text=True)
    assert done.returncode == 2
    assert "Usage" in done.stderr and "Traceback" not in done.stderr


def test_version():
    done = subprocess.run([sys.executable, "-m", "novakit", "--version"], capture_output=True, text=True)
    assert done.stdout == f"novakit {novakit.__version__}\n"
