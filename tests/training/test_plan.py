"""The dry run: exact where it counts, honest where it assumes, and nothing is allocated."""

from dataclasses import replace

import pytest

from novakit.errors import NovaError
from novakit.models.cost import Work, step_cost
from novakit.training.full_size.gpus import GPUS, Gpu
from novakit.training.full_size.plan import SHEET_SHARE, plan


def test_the_papers_run_on_one_h200():
    made = plan("wan-1.3b", gpu="h200", price=3.0)
    assert made.fits and made.cost == step_cost(Work())
    assert made.memory < 40e9, "the target for training at batch 1"
    expected = 8000 * step_cost(Work()).flop.model / (SHEET_SHARE * 989.4e12) / 3600
    assert made.hours == pytest.approx(expected) and made.money == pytest.approx(3 * expected)
    assert 10 < made.hours < 14, "the notes say 10 to 13 h on one H100"


@pytest.mark.parametrize("gpus", [1, 8, 64])
def test_more_gpus_see_more_clips_in_the_same_time(gpus):
    one, many = plan(gpus=1, price=2), plan(gpus=gpus, price=2)
    assert many.hours == one.hours and many.clips == gpus and many.money == pytest.approx(gpus * one.money)
    assert (many.exchanged > 0) == (gpus > 1)
    said = str(many)
    assert f"{gpus} x H200" in said and "283.6 M learn" in said
    assert "at 32% of the sheet's rate (32% on one H200; else assumed)" in said
    assert ("same clips" in said) == (gpus > 1)


def test_splitting_saves_the_learning_state_but_not_the_activations():
    ddp, fsdp = plan(gpus=8), plan(gpus=8, sharding="fsdp")
    kept = "kept for the backward pass"
    assert fsdp.cost.memory.parts[kept] == ddp.cost.memory.parts[kept]
    assert fsdp.cost.memory.parts["optimiser"] * 8 == ddp.cost.memory.parts["optimiser"]
    assert fsdp.memory < ddp.memory and fsdp.exchanged > ddp.exchanged


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"gpu": "h100", "checkpointing": False}, r"fits with checkpointing=True \(--gradient-checkpointing\): "),
        ({"gpu": "h100", "batch": 4}, r"fits with batch=1, accumulate=4 \(--accumulation 4\): "),
        ({"gpu": "h100", "batch": 4, "checkpointing": False}, r"checkpointing=True \(.*\) and batch=1, accumulate=4"),
        ({"gpu": "rtx5090", "gpus": 8}, r"fits with sharding='fsdp' \(--fsdp\): "),
        ({"gpu": "rtx4090"}, r"fits with offload=True \(--activation-offload\): .* GB of CPU memory"),
        (
            {"gpu": "h100", "batch": 3, "keep_attention": True},
            r"keep_attention=False \(no --keep-attention\): ",
        ),
        ({"gpu": "rtx4090", "keep_attention": True}, r"keep_attention=False \(.*\) and offload=True"),
        ({"gpu": "rtx3090", "frames": 161}, "fits on h100"),
        ({"gpu": "h200", "frames": 1601}, "fewer frames"),
    ],
)
def test_what_does_not_fit_says_what_would(given, said):
    made = plan(**given)
    assert not made.fits and "DOES NOT FIT" in str(made)
    with pytest.raises(NovaError, match=said):
        made.require_fit()


def test_keeping_what_attention_gave_buys_time_with_memory():
    plain, kept, all_kept = plan(), plan(keep_attention=True), plan(checkpointing=False)
    assert plain.memory < kept.memory < 40e9 < all_kept.memory
    assert plain.hours > kept.hours > all_kept.hours and kept.hours / plain.hours == pytest.approx(0.845, abs=0.001)
    assert "checkpointing of all but attention" in str(kept)


def test_the_advice_is_true():
    assert plan(gpu="rtx4090", offload=True).fits
    assert plan(gpu="h100", batch=1, accumulate=4).fits
    assert plan(gpu="rtx5090", gpus=8, sharding="fsdp").require_fit().fits
    assert plan(gpu="h100", frames=161).fits


def test_averaging_over_gpus_needs_no_memory_of_its_own():
    """DDP's buckets are the gradients themselves (`gradient_as_bucket_view`, see Processes.start)."""
    assert plan(gpus=8).memory == plan(gpus=1).memory


def test_a_gpu_that_is_not_in_the_table():
    card = Gpu("what is free on cuda:0", 100, 24)
    with pytest.raises(NovaError, match=r"needs 33\.3 GB on each GPU; there are 24 GB \(what is free on cuda:0\)"):
        plan(gpu=card).require_fit()
    assert plan(gpu=replace(card, memory=40)).fits


def test_accumulating_costs_time_and_no_memory():
    one, four = plan(), plan(accumulate=4)
    assert four.seconds_per_step == 4 * one.seconds_per_step and four.memory == one.memory and four.clips == 4


def test_frame_local_attention_is_quicker_and_the_official_scheme_slower():
    full, local, official = plan(), plan(window=0), plan(scheme="official")
    assert official.hours / full.hours > 2.1 and official.hours / local.hours > 3.1
    assert official.cost.parameters.learning == pytest.approx(full.cost.parameters.learning, rel=0.01)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"gpu": "h300"}, "h200"),
        ({"gpus": 0}, "at least 1"),
        ({"sheet_share": 40}, "sheet_share between 0 and 1"),
        ({"price": -1}, "not negative"),
        ({"sharding": "zero3"}, "'fsdp'"),
        ({"preset": "wan-14b"}, "wan-1.3b"),
        ({"frames": 80}, r"4k\+1"),
    ],
)
def test_bad_input_is_refused(given, said):
    with pytest.raises(NovaError, match=said):
        plan(**given)


def test_every_gpu_of_the_table_plans_and_nothing_is_allocated(monkeypatch):
    import torch

    def refuse(*_args, **_kwargs):
        raise AssertionError("a module was built")

    monkeypatch.setattr(torch.nn.Module, "__init__", refuse)
    for name, gpu in GPUS.items():
        made = plan(gpu=name)
        assert made.fits == (made.memory <= 1e9 * gpu.memory) and replace(made, sheet_share=1.0).hours < made.hours
