"""`novakit train`: options, the dry run, what is refused before anything is loaded, and how data is read.

Rows of the catalogue of faults that are met here: C1, C6 (another or partial base), C7 (another encoder), X10, N3.
Rows C2-C5, X1-X9, X11, X12, N1, N2, N4, N6 and N7 are met by the tests of checkpoints, resume, processes, `train` and
weights.
"""

import sys
import threading
from dataclasses import fields, replace
from functools import partial

import psutil
import pytest
import torch
from full_size_toy import tiny_nova
from safetensors.torch import load_file, save_file
from train_command_toy import QUICK, Clips, random_data

from novakit.editing import loading
from novakit.errors import NovaError, NovaNotice
from novakit.presets import get_preset
from novakit.training.checkpoint import latest_checkpoint
from novakit.training.data import LatentStore
from novakit.training.distributed.processes import OwnError, Processes
from novakit.training.distributed.reader import ReadAhead
from novakit.training.distributed.task import SampleTask
from novakit.training.full_size import command
from novakit.training.full_size import data as full_size_data
from novakit.training.full_size import train as full_size
from novakit.training.full_size.command import train_command
from novakit.training.full_size.data import TrainingData, held_out, open_examples
from novakit.training.full_size.options import check_memory, plan_run, read_recipe
from novakit.training.full_size.plan import plan
from novakit.training.full_size.train import Recipe, build_model

WAN, NANO = get_preset("wan-1.3b"), get_preset("nano")
# ---------------------------------------------------------------------------------------------------- the dry run


def test_dry_run_prints_the_plan(capsys):
    made = train_command("wan-1.3b", dry_run=True, gpus=8, price=3.5)
    assert made == plan(WAN, gpus=8, price=3.5)
    said = capsys.readouterr().out
    assert said == f"{made}\n" and "8 x H200" in said and "PFLOP" in said and "GPU-hours" in said


def test_dry_run_that_does_not_fit_is_an_error_with_the_switches(capsys):
    with pytest.raises(NovaError, match=r"needs 189\.\d GB on each GPU.*\(--accumulation 8\)"):
        train_command("wan-1.3b", dry_run=True, gpus=1)
    assert "DOES NOT FIT" in capsys.readouterr().out
    assert train_command("wan-1.3b", dry_run=True, gpus=1, accumulation=8).fits


def test_dry_run_allocates_and_loads_nothing(monkeypatch):
    def refuse(*_args, **_options):
        raise AssertionError("loaded")

    train_command("wan-1.3b", dry_run=True, gpus=8)  # imports
    before = psutil.Process().memory_info().rss
    for target, name in ((torch.nn.Module, "__init__"), (full_size, "build_model"), (Processes, "start")):
        monkeypatch.setattr(target, name, refuse)
    for gpus in (8, 64):
        train_command("wan-1.3b", "nowhere", dry_run=True, base="nowhere", gpus=gpus, batch=64, accumulation=64 // gpus)
    assert psutil.Process().memory_info().rss - before < 5e6


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"preset": "wan-14b", "dry_run": True}, "the presets are: nano, wan-1.3b"),
        ({"preset": "wan-1.3b", "dry_run": True, "gpu": "h300"}, "not in the table; pass one of h200"),
        ({"preset": "wan-1.3b", "dry_run": True, "gpus": 3}, "cannot be divided among 3 processes"),
        ({"preset": "wan-1.3b", "dry_run": True, "settings": ["learn=main"]}, "counts learn=dense in bf16"),
        ({"lr": -1}, "lr is -1; it must be at least 0"),
        ({"window": -1}, "window is -1; pass a number of latent frames >= 0"),
        ({"keep_attention": True, "activation_offload": True}, "keep_attention keeps results on the GPU"),
        ({}, "--out is missing"),
        ({"dry_run": True, "gpus": 0}, "gpus is 0; it must be at least 1"),
        ({"dry_run": True, "gpus": -1}, "gpus is -1; it must be at least 1"),
        ({"dry_run": True, "batch": 0}, "batch is 0; it must be at least 1"),
        ({"out": "nowhere", "batch": -4}, "batch is -4; it must be at least 1"),
        ({"out": "nowhere", "settings": ["patience=-1"]}, "patience is -1 s; it must be more than 0"),
        ({"out": "nowhere", "settings": ["patience=0"]}, "patience is 0 s; it must be more than 0"),
        ({"out": "nowhere", "settings": ["patience=nan"]}, "patience is nan s; it must be more than 0"),
        ({"out": "nowhere", "settings": ["patience=inf"]}, "patience is inf s; .* at most 604800"),
    ],
)
def test_impossible_options(given, said, monkeypatch):
    monkeypatch.setattr(command, "_find_base", lambda *_: pytest.fail("went on"))
    with pytest.raises(NovaError, match=said):
        train_command(**given)


def test_missing_wandb_is_told_before_anything_is_loaded(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setattr(command, "_find_base", lambda *_: pytest.fail("went on"))
    with pytest.raises(NovaError, match=r"wandb is not installed: .*--wandb\) out"):
        train_command("nano", out=tmp_path / "run", opener=random_data, wandb="project", device="cpu")
    assert not (tmp_path / "run").exists()
    train_command("nano", dry_run=True, wandb="project")


# -------------------------------------------------------------------------------------------------------- options


def test_every_field_of_the_recipe_can_be_set():
    """By an option or as a setting; both give the same recipe."""
    other = {"schedule": "constant", "weighting": "epsilon", "precision": "fp32", "learn": "main", "device": "cpu"}
    other |= {"minutes": 7.0, "wandb": "project", "ema": 0.9, "keep": 3, "window": 2}
    for field in fields(Recipe):
        value = getattr(Recipe(), field.name)
        changed = other.get(field.name)
        if changed is None:
            changed = not value if isinstance(value, bool) else value + 1
        options, settings = read_recipe({field.name: changed}), read_recipe({}, [f"{field.name}={changed}"])
        assert options == settings == replace(Recipe(), **{field.name: changed}) != Recipe()


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("warmup", "wanted name=value"),
        ("warmup=soon", "warmup wants int"),
        ("background_checkpoints=1", "true or false"),
        ("warmpu=3", r"unknown training setting \['warmpu'\]"),
        ("schedule=linear", "choose one of"),
    ],
)
def test_settings_that_mean_nothing(setting, said):
    with pytest.raises(NovaError, match=said):
        read_recipe({}, [setting])


# --------------------------------------------------------------------------------------------------------- memory


def check(free_gb, count=1, clip=None, notices=False, **recipe):
    team = Processes()
    team.count, team.together = count, lambda function: function()
    check_memory(WAN, Recipe(**recipe), team, clip or {}, free=lambda: int(free_gb * 1e9))


def test_too_little_memory_names_the_switches():
    """What is free is compared with the plan of the recipe, of the real size of the clips."""
    needed = plan("wan-1.3b", gpus=8).memory / 1e9
    check(needed + 0.1, count=8)
    with pytest.raises(NovaError, match=r"needs 33\.3 GB .* there are 20 GB \(free on cpu\).*--activation-offload"):
        check(20, count=8)
    with pytest.raises(NovaError, match=r"It fits with batch=1, accumulate=8 \(--accumulation 8\)"):
        check(100)
    check(100, accumulation=8)
    with pytest.raises(NovaError, match="fits with sharding='fsdp' \\(--fsdp\\)"):
        check(30.5, count=8)
    check(30.5, count=8, fsdp=True)
    check(20, count=8, clip={"frames": 17, "height": 480, "width": 832})
    with pytest.warns(NovaNotice, match="not checked for main, bf16"):
        check(1, learn="main")


def test_memory_is_checked_before_weights_are_loaded(tmp_path, monkeypatch):
    """With a card that has 1 GB free: no model is built, no folder made."""
    monkeypatch.setattr(full_size, "build_model", lambda *_args: pytest.fail("loaded"))
    real = command.check_memory
    monkeypatch.setattr(command, "check_memory", lambda *given: real(*given, free=lambda: 10**9))
    with pytest.raises(NovaError, match=r"training needs .* GB on each GPU; there are 1 GB"):
        train_command("nano", "cache", tmp_path / "run", opener=random_data, batch=8, device="cpu")
    assert not (tmp_path / "run").exists()


def test_out_of_memory_all_the_same(tmp_path, monkeypatch):
    """X9: in a pass of a single clip, and where no ladder helps: one line with the switches."""

    def full(*_given):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nmore")

    with monkeypatch.context() as patch:
        patch.setattr(SampleTask, "loss", full)
        with pytest.raises(NovaError, match=r"Tried to allocate 2 GiB.*What is left: --fsdp, --activation-offload"):
            train_command("nano", "cache", tmp_path, opener=random_data, preview=False, **QUICK)
    assert latest_checkpoint(tmp_path / "checkpoints").step == 0
    monkeypatch.setattr(full_size, "place", full)
    with pytest.raises(OwnError, match=r"Tried to allocate 2 GiB.*more --accumulation, --fsdp"):
        train_command("nano", "cache", tmp_path, opener=random_data, preview=False, **QUICK)


# ----------------------------------------------------------------------------------------------------- base, data


def test_another_or_partial_base_is_refused(tmp_path, monkeypatch):
    """C1, C6: seen in the config before a weight is read; a base with a weight too few does not train at random."""
    tiny_nova().base.save_pretrained(tmp_path / "transformer")
    with pytest.raises(NovaError, match=r"has patch_size=\[1, 1, 1\], the preset \[1, 2, 2\]: another model"):
        build_model(WAN, tmp_path, None)
    config = {key: value for key, value in tiny_nova().base.config.items() if not key.startswith("_")}
    fitting = replace(NANO, transformer=config)
    assert build_model(fitting, tmp_path, None, "fp32").base.config.ffn_dim == 32
    file = tmp_path / "transformer/diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    save_file({name: weights[name] for name in list(weights)[1:]}, file, metadata={"format": "pt"})
    with pytest.raises(NovaError, match="1 of 185 tensors differ"):
        build_model(fitting, tmp_path, None)


def test_missing_base_is_told_before_the_data_is_opened(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(NovaError, match="hf download"):
        train_command("wan-1.3b", "cache", tmp_path, base=tmp_path / "nowhere", opener=lambda *_, **__: 1 / 0)


def test_a_missing_dense_file_of_the_hub_is_told_before_the_data_is_opened(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(NovaError, match=r"hf download no/such dense\.safetensors"):
        train_command("nano", out=tmp_path / "run", dense="no/such", device="cpu", opener=lambda *_, **__: 1 / 0)
    assert not (tmp_path / "run").exists()


def test_download_is_what_fetches_base_and_dense_file(tmp_path, monkeypatch):
    """The message about a missing base names --download: it works here too, and never unasked."""
    asked = []

    def fetch(hub_id, *_):
        asked.append(hub_id)
        (tmp_path / "dense.safetensors").touch()
        return tmp_path

    monkeypatch.setattr(loading, "fetch", fetch)
    monkeypatch.setattr(loading, "cached_folder", lambda _: tmp_path)
    for download in (False, True):
        given = {"base": "some/base", "dense": "some/dense", "download": download, "device": "cpu"}
        with pytest.raises(NovaError, match="--data is missing" if download else "dense branch of some/dense is not"):
            train_command("wan-1.3b", out=tmp_path / "run", **given)
        assert asked == (["some/base", "some/dense"] if download else [])


def test_latents_of_another_encoder(tmp_path):
    """N3: 16 channels for nano."""
    clips = Clips()
    clips.channels = 16
    with pytest.raises(NovaError, match="have 16 channels; nano wants 48"):
        TrainingData(clips, [], "").clip_size(NANO)
    assert random_data().clip_size(NANO) == {"frames": 9, "height": 32, "width": 32}


def test_full_size_wants_a_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "_find_base", lambda *_: tmp_path)
    with pytest.raises(NovaError, match="--data is missing: wan-1.3b trains on a latent cache.*novakit prepare"):
        train_command("wan-1.3b", out=tmp_path / "run", device="cpu")


def test_held_out_videos_do_not_move():
    """About one in fifty, by name; at least one of several; more videos leave those where they are."""
    names = [f"video-{i}.mp4" for i in range(5000)]
    chosen = held_out(names)
    assert 70 < len(chosen) < 130 and held_out(names[::-1]) == chosen
    assert held_out(names[:2500]) == chosen & set(names[:2500])
    assert len(held_out(["a.mp4", "b.mp4", "a.mp4"])) == 1 and held_out(["a.mp4"]) == set()


def test_disk_that_hangs_ends_the_run():
    """X10: nothing comes; the run gives up, and the thread that still waits does not keep the program alive."""
    hangs = threading.Event()
    reader = ReadAhead(lambda step: step if step < 2 else hangs.wait(), 0.2)
    assert (reader.take(0), reader.take(1)) == (0, 1)
    with pytest.raises(NovaError, match=r"did not give batch 2 within 0\.2 s: the disk or the network"):
        reader.take(2)
    waiting = [thread for thread in threading.enumerate() if thread.name == "batch"]
    assert waiting and all(thread.daemon for thread in waiting)
    hangs.set()


def test_batches_are_read_once_and_one_ahead():
    seen = []
    reader = ReadAhead(lambda step: (seen.append(step), object())[1], 60)
    assert reader.take(3) is reader.take(3) and reader.take(4) is reader.take(4)
    reader.take(5)
    assert seen[:3] == [3, 4, 5]


def test_examples_of_the_nano_world(tmp_path, monkeypatch):
    """Rendered once; batches are a function of (seed, step); held-out clips are other clips."""
    monkeypatch.setattr(full_size_data, "LatentStore", partial(LatentStore, clips=2))
    with pytest.warns(NovaNotice, match="no --data: examples of the nano world"):
        data = open_examples(NANO, tmp_path, 0, Processes(), shards=1, val_shards=1)
    assert (data.source.count, len(data.validation)) == (2, 4) and "held out: 2 of other scenes" in data.about
    first, again = data.source.batch(3, 5, 0), data.source.batch(3, 5, 0)
    assert first.target_latents.shape == (5, 48, 5, 8, 12) and first.control.shape == (5, 160, 5, 8, 12)
    assert torch.equal(first.source_latents, again.source_latents)
    assert not torch.equal(first.target_latents, data.source.batch(3, 5, 1).target_latents)
    seen = data.source.store.groups[5]["target_latents"].float()
    assert not any(torch.equal(clip, other) for clip in data.validation[0].target_latents for other in seen)


def test_plan_of_a_recipe_is_the_plan():
    assert plan_run(WAN, Recipe(batch=64), "h200", 64) == plan(WAN, 64)
    sharded = plan_run(WAN, Recipe(batch=16, accumulation=2, fsdp=True), "h100", 8)
    assert sharded == plan(WAN, 8, "h100", sharding="fsdp", accumulate=2)
