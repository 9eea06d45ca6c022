"""What only a CUDA card can show: `pytest -m gpu`. Elsewhere these tests are skipped.

`NOVAKIT_GPU_TESTS=cpu pytest -m gpu` rehearses most of them on the CPU at toy size.
"""

import os

import pytest
import torch

from novakit.editing import NovaEditPipeline
from novakit.errors import NovaError
from novakit.models import NovaTransformer3DModel, build_transformer
from novakit.presets import get_preset
from novakit.scenes import render_scenes
from novakit.training import TrainConfig, Trainer
from novakit.training.distributed.processes import Processes
from novakit.training.full_size.options import check_memory
from novakit.training.full_size.train import Recipe, train
from novakit.training.nova_task import NovaBatch, NovaTask

REHEARSED = os.environ.get("NOVAKIT_GPU_TESTS") == "cpu"
DEVICE = "cpu" if REHEARSED else "cuda"
pytestmark = pytest.mark.gpu(rehearsed=REHEARSED)
CLIP = render_scenes([3], split="test", edit="recolour")
KEYFRAMES = {k: CLIP.truth[0, :, k] for k in range(0, 33, 8)}


def edit(device=DEVICE, prepare=None, **options):
    """An edit of one clip with the shipped weights, on the CPU."""
    running = {key: options.pop(key) for key in ("offload", "compile") if key in options}
    pipe = NovaEditPipeline.from_preset("nano", device=device, **running)
    noise = torch.randn(1, 48, 9, 8, 12, generator=torch.Generator().manual_seed(0))
    return pipe(CLIP.source, KEYFRAMES, latents=noise, num_inference_steps=4, **options).frames.float().cpu()


def decibels(one, other):
    return float(10 * torch.log10(4 / (one - other).square().mean().clamp(min=1e-12)))


@pytest.fixture(scope="module")
def plain():
    return edit()


def test_an_edit_on_the_card_is_that_of_the_cpu(plain):
    assert decibels(plain, edit("cpu")) > 38


@pytest.mark.parametrize("offload", ["model", "group"])
def test_offload_changes_where_weights_wait_and_nothing_else(plain, offload):
    if REHEARSED:
        pytest.skip("offload moves weights between a card and main memory")
    assert decibels(edit(offload=offload), plain) > 45


@pytest.mark.parametrize("use_cache", [False, "features"])
def test_caches_give_the_same_edit(plain, use_cache):
    assert decibels(edit(use_cache=use_cache), plain) > 45


def test_compiled_blocks_give_the_same_edit(plain):
    if REHEARSED:
        pytest.skip("inductor on a CPU takes minutes")
    assert decibels(edit(compile=True), plain) > 38


@torch.no_grad()
def test_fresh_nova_is_diffusers_base_bit_for_bit_at_the_real_shape():
    """1.3 B random weights in bfloat16, 81 frames of 832x480."""
    preset = get_preset("nano" if REHEARSED else "wan-1.3b")
    grid = (3, 4, 6) if REHEARSED else (21, 60, 104)
    config, dtype = preset.transformer, torch.bfloat16
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    try:
        with torch.device(DEVICE):
            model = NovaTransformer3DModel(base_config=config, **preset.dense).eval()
    finally:
        torch.set_default_dtype(torch.float32)

    def draw(channels):
        return torch.randn(1, channels, *grid, device=DEVICE, dtype=dtype)

    given = {"hidden_states": draw(config["in_channels"]), "timestep": torch.tensor([700.0], device=DEVICE)}
    given["encoder_hidden_states"] = torch.randn(1, 8, config["text_dim"], device=DEVICE, dtype=dtype)
    given["control_hidden_states"] = draw(config["vace_in_channels"])
    source = draw(config["in_channels"])
    found = model(**given, source_latents=source, return_dict=False)[0]
    assert torch.equal(found, model.base(**given, return_dict=False)[0]) and found.isfinite().all()


def toy_data():
    class Toy:
        fingerprint = "toy"

        def batch(self, step, size, seed):
            generator = torch.Generator().manual_seed(1000 * seed + step)
            latents = [torch.randn(size, c, 3, 4, 6, generator=generator) for c in (48, 48, 160)]
            return NovaBatch(*latents)

    return Toy()


def test_training_in_bfloat16_goes_on_where_it_stopped(tmp_path):
    recipe = {"batch": 2, "device": DEVICE, "validate_every": 0, "log_every": 1, "warmup": 1}
    whole = train("nano", toy_data(), tmp_path / "whole", steps=4, progress=False, **recipe)
    first = train("nano", toy_data(), tmp_path / "parts", steps=4, minutes=1e-6, progress=False, **recipe)
    assert first.step < 4
    parts = train("nano", toy_data(), tmp_path / "parts", steps=4, progress=False, **recipe)
    assert parts.step == whole.step == 4
    for name, weight in whole.parameters.items():
        torch.testing.assert_close(parts.parameters[name], weight, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("learn", ["main", "sparse", "dense"])
def test_recorded_steps_learn_what_plain_steps_learn(tmp_path, learn):
    """The same losses with and without CUDA graphs, for batches of two shapes in turn."""
    if REHEARSED:
        pytest.skip("a CUDA graph is recorded on a card")

    def batch(step):
        generator = torch.Generator().manual_seed(step)
        grid = (3, 4, 6) if step % 2 else (2, 6, 4)
        parts = [torch.randn(4, channels, *grid, generator=generator) for channels in (48, 48, 160)]
        return NovaBatch(parts[0], parts[1] if learn == "dense" else None, parts[2] if learn != "main" else None)

    found = []
    for graphs in (False, True):
        torch.manual_seed(0)
        task = NovaTask(build_transformer("nano").to(DEVICE), batch, learn=learn)
        config = TrainConfig(steps=8, warmup=1, lr=1e-3, log_every=1, precision="fp32", cuda_graphs=graphs)
        log = Trainer(task, config, tmp_path / str(graphs)).fit(progress=False)
        found.append([line["loss"] for line in log if line["group"] == "train"])
    assert found[1] == pytest.approx(found[0], rel=2e-3) and len(set(found[1])) == 8


def test_too_large_a_batch_is_refused_by_what_the_card_has_free():
    free = (lambda: 30 * 10**9) if REHEARSED else None
    team, size = Processes(), {"frames": 81, "height": 480, "width": 832}
    team.device = torch.device(DEVICE)
    with pytest.raises(NovaError, match=r"training needs .* GB on each GPU; there are"):
        check_memory(get_preset("wan-1.3b"), Recipe(batch=512), team, size, free)
