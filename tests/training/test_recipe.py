"""The recipe on a CPU and on a GPU: parts, examples by several processes, steps that can be recorded."""

import json
import os
from dataclasses import replace
from functools import partial

import pytest
import torch
from full_size_toy import run_ranks
from safetensors.torch import load_file

from novakit.editing.pipeline import NovaEditPipeline
from novakit.errors import NovaError
from novakit.models import build_transformer, build_vae
from novakit.training import TrainConfig, Trainer, codes_task, new_latents, pretrain
from novakit.training.data import LatentStore
from novakit.training.examples import build_examples
from novakit.training.model_card import MACHINE
from novakit.training.nova_task import NovaBatch, NovaTask
from novakit.training.objective import draw_noise
from novakit.training.recipe import CUDA_FEED, FEED, RECIPE, VAE_CLIPS, VaeClips, feed, recipe
from novakit.training.run_folder import read_log
from novakit.training.task import GraphedTask
from novakit.training.vae_task import VaeTask, measure_latents


def make_vae(seed=0):
    """An untrained VAE, the same in every process."""
    torch.manual_seed(seed)
    return build_vae("nano").eval().requires_grad_(False)


def test_a_gpu_has_a_recipe_for_every_part_and_a_larger_feed():
    assert set(recipe("cuda:1")) == set(recipe("cpu")) == set(RECIPE)
    assert feed("cpu") is FEED and feed("cuda") is CUDA_FEED and CUDA_FEED.batch > FEED.batch
    assert all(recipe("cuda")[part].cuda_graphs for part in ("vae_whole", "main", "sparse", "nova"))
    assert not any(config.cuda_graphs for config in recipe("cpu").values())


def test_a_vae_from_nothing_takes_other_parts_than_one_that_goes_on(tmp_path):
    assert pretrain.stage_parts("vae", tmp_path, "cpu") == ("vae_codes", "vae")
    assert pretrain.stage_parts("vae", tmp_path, "cuda") == ("vae_codes", "vae", "vae_whole")
    assert pretrain.stage_parts("base", tmp_path, "cuda") == ("main", "sparse", "base")
    for stage, last in (("vae", "vae_whole"), ("base", "base")):
        (tmp_path / last).mkdir()
        (tmp_path / last / "start.safetensors").touch()
        assert pretrain.stage_parts(stage, tmp_path, "cpu") == (last,)


def test_the_base_learns_without_control_a_quarter_of_the_time_and_the_same_quarter_again():
    batch = NovaBatch(torch.zeros(1), None, torch.ones(1))
    free = [pretrain.sometimes_free(batch, step).control is None for step in range(400)]
    assert 0.18 < sum(free) / len(free) < 0.32
    assert free == [pretrain.sometimes_free(batch, step).control is None for step in range(400)]


def test_both_halves_of_the_base_learn_and_the_dense_branch_does_not():
    model = nova_task("base").module
    assert all(weight.requires_grad for weight in model.base.parameters())
    assert not any(weight.requires_grad for weight in model.dense_branch.parameters())


def test_an_unpacked_vae_goes_on_and_is_measured_anew(tmp_path, monkeypatch):
    monkeypatch.setitem(VAE_CLIPS, "vae_whole", VaeClips(1, 5, (16, 16)))
    monkeypatch.setattr(pretrain, "measure_latents", lambda vae: ([0.5] * 48, [2.0] * 48))
    pretrain.pretrain("unpack", tmp_path)
    before = pretrain.trained_vae(tmp_path)
    config = replace(RECIPE["vae_whole"], steps=1, validate_every=0, ema=0.0)
    assert pretrain.train_part(tmp_path, "vae_whole", config, progress=False)
    after = pretrain.trained_vae(tmp_path)
    assert after.config.latents_mean == [0.5] * 48 and before.config.latents_mean != [0.5] * 48
    assert not torch.equal(after.quant_conv.weight, before.quant_conv.weight), "the encoder learned"
    assert json.loads((tmp_path / "vae_whole" / MACHINE).read_text())["hardware"]["cores"] >= 1


def test_examples_of_another_vae_lie_in_another_folder(tmp_path):
    one, two = (pretrain.stores(tmp_path, "main", "cpu", make_vae(seed))[1].folder for seed in (0, 1))
    assert one != two and one == pretrain.stores(tmp_path, "main", "cpu", make_vae(0))[0].folder
    assert pretrain.stores(tmp_path, "main", "cuda", make_vae(0))[1].folder != one, "shards of another size"


def test_several_processes_make_the_same_examples_as_one(tmp_path):
    one, two = (LatentStore(tmp_path / name, "main", 3, clips=1) for name in "ab")
    build_examples([one], make_vae, progress=False)
    build_examples([two], partial(make_vae, 0), workers=2, progress=False)
    for shard in range(3):
        assert one.path(shard).read_bytes() == two.path(shard).read_bytes()
    build_examples([two], lambda: pytest.fail("nothing is missing"), workers=2, progress=False)
    with pytest.raises(NovaError, match="workers is 0"):
        build_examples([two], make_vae, workers=0)


def nova_task(learn="dense"):
    def batch(step):
        generator = torch.Generator().manual_seed(step)
        return NovaBatch(*(torch.randn(2, channels, 2, 4, 4, generator=generator) for channels in (48, 48, 160)))

    return NovaTask(build_transformer("nano"), batch, learn=learn)


@pytest.mark.parametrize("make", [nova_task, lambda: VaeTask(build_vae("nano"), 0, VaeClips(1, 5, (16, 16)))])
def test_a_step_in_two_halves_is_the_step(make):
    torch.manual_seed(0)
    task = make()
    assert isinstance(task, GraphedTask)
    inputs = task.inputs(3)
    assert all(tensor.device.type == "cpu" for tensor in inputs.values())
    halves, numbers = task.measure(**inputs)
    whole, said = task.loss(3)
    assert torch.equal(halves, whole) and {name: number.item() for name, number in numbers.items()} == said


def test_noise_on_a_cpu_is_the_generator_s_own():
    like = torch.zeros(2, 3, 4)
    expected = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(5))
    assert torch.equal(draw_noise(like, torch.Generator().manual_seed(5)), expected)


def test_graphs_need_a_card_and_one_pass_per_update(tmp_path):
    with pytest.raises(NovaError, match="on cpu cannot be recorded as a CUDA graph.*Set cuda_graphs to False"):
        Trainer(nova_task(), TrainConfig(steps=1, cuda_graphs=True), tmp_path)
    with pytest.raises(NovaError, match="accumulate=1"):
        TrainConfig(cuda_graphs=True, accumulate=2)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_part_keeps_its_best_weights_apart(device):
    chosen = {part: (config.best_metric, config.best_direction) for part, config in recipe(device).items()}
    assert chosen == {part: ("psnr", "max") if part.startswith("vae") else ("loss", "min") for part in chosen}


@pytest.fixture
def small_recipe(monkeypatch):
    """The whole recipe, in small."""
    small = replace(FEED, shards={"main": 1, "sparse": 2, "dense": 2}, clips=2, frame_counts=(17,), batch=2)
    monkeypatch.setattr(pretrain, "feed", lambda device: small)
    monkeypatch.setattr(pretrain, "VAL_SHARDS", 1)
    monkeypatch.setattr(pretrain, "measure_latents", partial(measure_latents, num_clips=2, batch=2))
    monkeypatch.setattr(codes_task, "fit_codes", partial(codes_task.fit_codes, num_clips=2, batch=2))
    monkeypatch.setattr(new_latents, "training_clips", partial(new_latents.training_clips, 4, 4))
    for part in ("vae_codes", "vae"):
        monkeypatch.setitem(VAE_CLIPS, part, VaeClips(1, 5, (16, 16)))
        monkeypatch.setitem(RECIPE, part, replace(RECIPE[part], validate_every=0))
    monkeypatch.setitem(RECIPE, "base", replace(RECIPE["base"], validate_every=0))
    monkeypatch.setitem(RECIPE, "nova", replace(RECIPE["nova"], validate_every=1))


def test_the_road_from_a_new_vae_to_a_pipeline(tmp_path, small_recipe):
    """Every stage of the recipe: VAE from nothing, the shipped base carried to it, base, NOVA, export."""
    run = partial(pretrain.pretrain, folder=tmp_path, device="cpu", steps=1, progress=False)
    assert run("vae") == tmp_path / "vae"
    run("carry")
    run("base")
    run("nova")
    best = json.loads((tmp_path / "nova/best.json").read_text())
    assert best["step"] == 1 and best["loss"] > 0 and (tmp_path / "nova/best.safetensors").exists()
    pipe = NovaEditPipeline.from_pretrained(run("export"))
    assert pipe.transformer.is_nova and min(pipe.vae.config.latents_std) > 0
    assert [row["part"] for row in json.loads((tmp_path / "pipeline" / "history.json").read_text())] == [
        "vae_codes", "vae", "base", "nova"
    ]  # fmt: skip


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_two_processes_walk_the_same_road(tmp_path, small_recipe):
    """A launcher starts a stage twice: examples and passes are shared out, the weights are those of one process."""
    stages = {"vae": ("vae_codes", "vae"), "base": ("base",)}
    for folder in ("one", "two"):
        run = partial(pretrain.pretrain, folder=tmp_path / folder, device="cpu", steps=1, progress=False)
        for stage in stages:
            if folder == "one":
                run(stage)
            else:
                done = run_ranks(partial(run, stage), tmp_path)
                assert done.codes == [0, 0], done.text()
            if stage == "vae":
                run("carry")
    for part in (part for parts in stages.values() for part in parts):
        one, two = (load_file(tmp_path / folder / part / "last.safetensors") for folder in ("one", "two"))
        assert all(torch.allclose(one[name], two[name], atol=1e-4) for name in one), part
        one, two = (read_log(tmp_path / folder / part / "log.jsonl")[0] for folder in ("one", "two"))
        for number in ("loss", "grad_norm"):  # a first update is small: the weights alone would forgive much
            assert two[number] == pytest.approx(one[number], rel=1e-3), (part, number)
    done = run_ranks(partial(run, "export"), tmp_path)
    assert done.codes == [2, 2] and "run it once, without a launcher" in done.text(0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_what_cannot_be_shared_out_is_refused_before_examples_are_made(tmp_path):
    """ "main" has one pass an update."""
    done = run_ranks(partial(pretrain.pretrain, "base", tmp_path / "run", device="cpu", progress=False), tmp_path)
    assert done.codes == [2, 2] and not (tmp_path / "run").exists()
    assert "part 'main' cannot be trained by 2 processes with accumulate 1" in done.text(0)
