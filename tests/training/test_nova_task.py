"""NOVA's task: only the dense cross-attention learns, the loss repeats from (seed, step), resume is exact."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from novakit.errors import NovaError
from novakit.models.nova_transformer import NovaTransformer3DModel
from novakit.training import NovaBatch, NovaTask, NovaTaskConfig, TrainConfig, Trainer, step_generator

BASE = {
    "patch_size": (1, 1, 1),
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "in_channels": 4,
    "out_channels": 4,
    "text_dim": 8,
    "freq_dim": 16,
    "ffn_dim": 32,
    "num_layers": 2,
    "vace_layers": [0],
    "vace_in_channels": 12,
    "rope_max_seq_len": 16,
    "cross_attn_norm": True,
    "qk_norm": "rms_norm_across_heads",
}
CONFIG = TrainConfig(steps=6, lr=1e-2, warmup=1, checkpoint_every=3, validate_every=3, log_every=1, best_metric="loss")


def make_batch(step):
    target, source = torch.randn(2, 2, 4, 3, 4, 4, generator=step_generator(0, step, "batch"))
    return NovaBatch(target, source, torch.cat([target, source, source], 1))


def make_task(batch_fn=make_batch, **changes):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = NovaTransformer3DModel(base_config=BASE)
    return NovaTask(model, batch_fn, NovaTaskConfig(**changes), validation=[make_batch(10_000)])


def test_only_the_dense_branch_learns(tmp_path):
    task = make_task()
    before = {name: value.clone() for name, value in task.module.state_dict().items()}
    Trainer(task, CONFIG, tmp_path).fit(progress=False)
    changed = {name for name, value in task.module.state_dict().items() if not torch.equal(value, before[name])}
    assert changed and all(name.startswith("dense_branch.") for name in changed)
    assert set(load_file(tmp_path / "last.safetensors")) == {n for n in before if n.startswith("dense_branch.")}


def test_interrupted_run_gives_the_same_losses_and_weights(tmp_path):
    def stop_at_five(step):
        if step == 5:
            raise RuntimeError("power cut")
        return make_batch(step)

    whole = Trainer(make_task(), CONFIG, tmp_path / "whole").fit(progress=False)
    with pytest.raises(RuntimeError):
        Trainer(make_task(stop_at_five), CONFIG, tmp_path / "cut").fit(progress=False)
    cut = Trainer(make_task(), CONFIG, tmp_path / "cut").fit(progress=False)
    assert whole == cut
    first, second = (load_file(tmp_path / name / "last.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    with pytest.raises(NovaError, match="'shift' was 3.0 in the checkpoint and is now 1.0"):
        Trainer(make_task(shift=1.0), replace(CONFIG, minutes=1.0), tmp_path / "cut").fit(progress=False)


def test_loss_repeats_and_depends_on_step_and_seed():
    task = make_task()
    values = [task.loss(3)[0].item(), task.loss(3)[0].item(), task.loss(4)[0].item()]
    assert values[0] == values[1] != values[2]
    assert make_task(seed=1).loss(3)[0].item() != values[0]
    assert task.validate(0) == task.validate(1) and len(task.validate(0)) == 5


def test_zero_velocity_loss_is_known():
    """With a network that says 0, the loss is E(noise - latents)^2 = 2; the epsilon weighting lowers it."""
    task, weighted = make_task(), make_task(weighting="epsilon")
    for item in (task, weighted):
        item.module.forward = lambda hidden_states, **_: (torch.zeros_like(hidden_states),)
    losses = torch.tensor([task.loss(step)[0].item() for step in range(40)])
    assert losses.mean() == pytest.approx(2, abs=0.15)
    assert weighted.loss(0)[0] < losses[0]


def test_the_network_is_told_a_thousand_sigma():
    task, seen = make_task(), {}

    def forward(hidden_states, timestep, **rest):
        seen.update(rest, noisy=hidden_states, timestep=timestep)
        return (torch.zeros_like(hidden_states),)

    task.module.forward = forward
    _, numbers = task.loss(0)
    batch = make_batch(0)
    assert seen["timestep"].mean().item() == pytest.approx(1000 * numbers["sigma"])
    assert seen["encoder_hidden_states"].shape == (2, 1, 8) and not seen["encoder_hidden_states"].any()
    assert torch.equal(seen["source_latents"], batch.source_latents)
    assert torch.equal(seen["control_hidden_states"], batch.control)
    sigma = (seen["timestep"] / 1000).reshape(-1, 1, 1, 1, 1)
    noise = (seen["noisy"] - (1 - sigma) * batch.target_latents) / sigma
    assert noise.std() == pytest.approx(1, abs=0.1)


def test_bad_settings():
    for changes in ({"weighting": "x0"}, {"scheme": "cosmap"}, {"shift": -1.0}):
        with pytest.raises(NovaError):
            NovaTaskConfig(**changes)
