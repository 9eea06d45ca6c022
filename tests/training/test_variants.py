"""The small trainings: each differs from the reference in what it says, and all run, resume and load."""

import json
from dataclasses import replace
from functools import partial

import pytest
import torch

from novakit.editing.pipeline import NovaEditPipeline
from novakit.errors import NovaError
from novakit.models import build_vae
from novakit.models.token_concat import TokenConcatTransformer, encode_cues, latent_place
from novakit.scenes import render_clips, render_cut_outs, render_scenes
from novakit.training import data, makers, recipe
from novakit.training.objective import step_generator
from novakit.training.variants import examples as variant_data
from novakit.training.variants import train as variants
from novakit.training.variants.train import VARIANTS, load_variant, train_variant, trained_parameters

STORES = {name: variant.store for name, variant in VARIANTS.items()}


@pytest.fixture(scope="module")
def pipe():
    return NovaEditPipeline.from_preset("nano", device="cpu")


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """One shard of two clips, batches of two, no validation; 17 frames in 3 of 4 shards as always."""
    monkeypatch.setattr(variants, "SHARDS", 1)
    monkeypatch.setattr(variants, "VAL_SHARDS", 1)
    monkeypatch.setattr(variants, "FEED", replace(variants.FEED, batch=2))
    monkeypatch.setattr(variant_data, "LatentStore", partial(data.LatentStore, clips=2))
    monkeypatch.setattr(variants, "BUDGET", replace(variants.BUDGET, validate_every=0))


@pytest.fixture
def pixels(monkeypatch):
    """Makers of examples that keep pixels: what enters the VAE, seen before it is encoded."""
    for module in (makers, variant_data):
        monkeypatch.setattr(module, "encode_examples", lambda vae, clip: clip)
        monkeypatch.setattr(module, "encode_context", lambda vae, clip: clip)


def examples(name, seed=0, split="train", frames=17):
    """One batch of a variant's examples, with what it was rendered from."""
    render, make = variant_data.VARIANT_MAKERS[STORES[name]]
    rendered = render([seed, seed + 1], split=split, num_frames=frames)
    return make(None, rendered, step_generator(0, seed)), rendered


def changes_of_direction(control):
    """Frames at which the control sequence bends: only keyframes may."""
    bend = (control[:, :, 2:] - 2 * control[:, :, 1:-1] + control[:, :, :-2]).abs().flatten(3).amax((0, 1, 3))
    return [1 + int(i) for i in (bend > 1e-3).nonzero()]


def test_interval_8_has_keyframes_exactly_8_apart_and_the_reference_has_not(pixels):
    assert all(changes_of_direction(examples("interval_8", seed)[0].control) == [8] for seed in range(4))
    batch, _ = examples("interval_8", frames=33)
    assert changes_of_direction(batch.control) == [8, 16, 24]
    assert any(changes_of_direction(examples("reference", seed)[0].control) != [8] for seed in range(4))


def test_no_degradation_gives_the_target_itself_and_clean_keyframes(pixels):
    batch, clips = examples("no_degradation")
    assert torch.equal(batch.source_latents, batch.target_latents) and torch.equal(batch.target_latents, clips)
    same = (batch.control == clips).flatten(3).all(-1).all(1).all(0)
    assert same.sum() >= 2 and changes_of_direction(batch.control)
    reference, _ = examples("reference")
    assert not torch.equal(reference.source_latents, reference.target_latents)


def test_a_paired_source_differs_from_its_target_only_inside_the_mask(pixels):
    batch, scenes = examples("paired", frames=33)
    differs = (batch.source_latents != batch.target_latents).any(1, keepdim=True)
    assert differs.any() and not (differs & (scenes.mask == 0)).any()
    same = (batch.control == scenes.truth).flatten(3).all(-1).all(1).all(0)  # keyframes of the truth, untouched
    assert same.sum() >= 2


def test_all_variants_see_the_same_worlds(pixels):
    clips = render_clips([5, 6], num_frames=17)
    assert torch.allclose(render_cut_outs([5, 6], num_frames=17).clip, clips, atol=1e-6)
    assert torch.allclose(render_scenes([5, 6], num_frames=17).source, clips, atol=1e-6)


def test_the_budget_stays_what_the_recorded_tables_say():
    """500 updates of 8 clips, whatever becomes of the recipe of the shipped weights."""
    assert (variants.BUDGET.steps, variants.BUDGET.accumulate * recipe.FEED.batch) == (500, 8)


def test_cues_are_single_frames_in_order():
    torch.manual_seed(0)
    vae = build_vae("nano").eval()
    frames = render_clips([1, 2], num_frames=17)[:, :, [0, 8]]
    cues = encode_cues(vae, frames)
    assert cues.shape == (2, 48, 2, 8, 12)
    assert torch.allclose(cues[1, :, 1], encode_cues(vae, frames[1:, :, 1:])[0, :, 0], atol=1e-5)
    assert [latent_place(index) for index in (0, 1, 4, 5, 8, 32)] == [0, 1, 1, 2, 2, 8]


def concat_inputs(pipe, batch=2):
    draw = partial(torch.randn, generator=torch.Generator().manual_seed(3))
    text = torch.zeros(batch, 1, pipe.transformer.base.config.text_dim)
    return (
        draw(batch, 48, 3, 4, 6),
        torch.tensor([900.0, 300.0]),
        text,
        draw(batch, 48, 3, 4, 6),
        draw(batch, 48, 2, 4, 6),
    )


@torch.no_grad()
def test_concatenation_of_nothing_is_the_base_without_hints_and_of_something_is_not(pipe):
    model = TokenConcatTransformer(pipe.transformer.base)
    noisy, timestep, text, source, cues = concat_inputs(pipe)
    base = pipe.transformer(noisy, timestep, text, return_dict=False)[0]
    assert torch.equal(model(noisy, timestep, text), base)
    with_source, with_cues = (model(noisy, timestep, text, source), model(noisy, timestep, text, None, cues, [0, 2]))
    assert all((v - base).abs().max() > 1e-2 for v in (with_source, with_cues))
    assert (model(noisy, timestep, text, None, cues, [0, 1]) - with_cues).abs().max() > 1e-4  # a cue has its place
    with pytest.raises(NovaError, match="wanted one place for each, from 0 to 2"):
        model(noisy, timestep, text, None, cues, [0, 3])


def test_concatenation_learns_self_attention_and_roles_only_and_both_get_gradients(pipe):
    model = TokenConcatTransformer(pipe.transformer.base)
    model.learn()
    noisy, timestep, text, source, cues = concat_inputs(pipe)
    model(noisy, timestep, text, source, cues, [0, 2]).square().mean().backward()
    learned = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert all(".attn1." in name or name.endswith("_role") for name in learned)
    assert {name for name, weight in model.named_parameters() if weight.grad is not None} == learned
    assert model.source_role.grad.abs().max() > 0 and model.cue_role.grad.abs().max() > 0
    assert model.base is not pipe.transformer.base and not pipe.transformer.base.blocks[0].attn1.to_q.weight.grad


@torch.no_grad()
@pytest.mark.parametrize("name", ["reference", "add", "paired"])
def test_a_variant_starts_as_the_base_with_its_hints(pipe, name):
    model = VARIANTS[name].model(pipe.transformer)
    noisy, timestep, text, source, _ = concat_inputs(pipe)
    control = torch.randn(2, 160, 3, 4, 6, generator=torch.Generator().manual_seed(4))
    with_source = model(noisy, timestep, text, control, source, return_dict=False)[0]
    base = pipe.transformer(noisy, timestep, text, control, return_dict=False)[0]
    assert torch.equal(with_source, base) and not model.is_nova


def test_what_learns_is_what_the_variant_says(pipe):
    counts = {name: trained_parameters(name, pipe) for name in VARIANTS}
    assert counts["reference"] == counts["interval_8"] == counts["no_degradation"] > 2 * counts["add"] - 10_000
    copied = sum(weight.numel() for block in pipe.transformer.base.blocks[:2] for weight in block.parameters())
    assert counts["paired"] == counts["add"] + copied
    attention = sum(w.numel() for block in pipe.transformer.base.blocks for w in block.attn1.parameters())
    assert counts["token_concat"] == attention + 2 * 160
    assert VARIANTS["add"].model(pipe.transformer).config.dense_injection == "add"
    assert VARIANTS["reference"].model(pipe.transformer).config.dense_injection == "query"


@torch.no_grad()
def test_the_shallow_replica_is_read_once_per_edit_and_each_block_serves_four_layers(pipe):
    model = VARIANTS["paired"].model(pipe.transformer).eval()
    for linear in model.dense_branch.output_projections():
        torch.nn.init.normal_(linear.weight, std=0.05)
    noisy, timestep, text, source, _ = concat_inputs(pipe)
    features, _ = model._read_source(source, torch.zeros(2), text)
    assert [feature is features[0] for feature in features] == [True] * 4 + [False] * 4
    anew = model(noisy, timestep, text, source_latents=source, return_dict=False)[0]
    cached = model(noisy, timestep, text, dense_cache=model.encode_source(source, text), return_dict=False)[0]
    assert torch.allclose(anew, cached, atol=1e-5)


def test_training_resumes_finishes_and_loads(pipe, tmp_path):
    home = train_variant("reference", tmp_path, steps=1, progress=False)
    assert json.loads((home / "variant.json").read_text())["steps"] == 1
    train_variant("reference", tmp_path, steps=2, progress=False)
    steps = [json.loads(line)["step"] for line in (home / "log.jsonl").read_text().splitlines()]
    assert steps == [1, 2]
    shipped = pipe.transformer.dense_branch["0"].attn.to_q.weight.clone()
    loaded = load_variant("reference", tmp_path, pipe)
    assert loaded.is_nova and loaded.transformer is not pipe.transformer and loaded.vae is pipe.vae
    assert torch.equal(pipe.transformer.dense_branch["0"].attn.to_q.weight, shipped)
    scene = render_scenes([0], split="val", num_frames=17)
    keyframes = {index: scene.truth[0, :, index] for index in (0, 8, 16)}
    edited = loaded(scene.source, keyframes, num_inference_steps=1, generator=torch.Generator().manual_seed(0))
    assert edited.frames.shape == scene.source.shape and edited.is_nova


def test_a_variant_of_another_base_and_examples_of_another_recipe_are_refused(pipe, tmp_path, monkeypatch):
    home = train_variant("reference", tmp_path, steps=1, progress=False)
    other = NovaEditPipeline.from_preset("nano", device="cpu")
    with torch.no_grad():
        other.transformer.base.vace_blocks[0].proj_out.bias += 0.01
    with pytest.raises(NovaError, match="learned on the base .*Remove .*--variant reference"):
        load_variant("reference", tmp_path, other)
    assert load_variant("reference", tmp_path, pipe).is_nova
    monkeypatch.setattr(variant_data, "CONTROL", replace(variant_data.CONTROL, clean_clip_prob=0.0))
    with pytest.raises(NovaError, match="another VAE or another recipe"):
        train_variant("add", tmp_path, steps=1, progress=False)
    assert home.exists()


def test_add_reads_the_reference_store_and_a_store_is_made_once(tmp_path):
    train_variant("reference", tmp_path, steps=1, progress=False)
    store = tmp_path / "reference" / "store"
    shards = {path: path.stat().st_mtime_ns for path in store.glob("*.safetensors")}
    home = train_variant("add", tmp_path, steps=1, progress=False)
    assert not (home / "store").exists() and len(shards) == 2
    assert shards == {path: path.stat().st_mtime_ns for path in store.glob("*.safetensors")}
    with pytest.raises(NovaError, match="already holds a run"):
        train_variant("add", tmp_path, steps=1, resume=False, progress=False)


@pytest.mark.parametrize("name", ["paired", "token_concat"])
def test_variants_with_a_network_of_their_own_train_and_load(pipe, tmp_path, name):
    train_variant(name, tmp_path, steps=1, progress=False)
    loaded = load_variant(name, tmp_path, pipe).transformer
    fresh = VARIANTS[name].model(pipe.transformer)
    moved = [key for key, weight in fresh.named_parameters() if not torch.equal(weight, loaded.get_parameter(key))]
    learns = (".attn1.", "_role") if name == "token_concat" else ("copied_blocks.", "dense_branch.")
    assert moved and all(any(part in key for part in learns) for key in moved)


def test_a_launcher_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(NovaError, match="run it once, without a launcher"):
        train_variant("reference", tmp_path / "run", steps=1, progress=False)
    assert not (tmp_path / "run").exists()


def test_a_missing_or_unfinished_variant_names_the_command(pipe, tmp_path):
    with pytest.raises(NovaError, match="is not trained.*--stage variant --variant add"):
        load_variant("add", tmp_path, pipe)
    (tmp_path / "add" / "checkpoints").mkdir(parents=True)
    with pytest.raises(NovaError, match="not been trained to its end"):
        load_variant("add", tmp_path, pipe)
    with pytest.raises(NovaError, match="reference, interval_8, add"):
        train_variant("adding", tmp_path)
    with pytest.raises(NovaError, match="threads is 0"):
        train_variant("add", tmp_path, threads=0)
