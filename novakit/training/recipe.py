"""How the nano weights are trained: every part's settings, and what it reads, on CPU cores and on a GPU.

A CPU is short of arithmetic, so it learns from small cropped batches and few examples. A GPU is short of neither; a
net this small leaves it waiting for the next launch, so batches are large and whole, and examples are made on the
device by several processes. Parts that both train from unpacked weights go on where the earlier sitting stopped.

Source: ours (the paper's own recipe, for the full size, is the default of `TrainConfig`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from novakit.training.config import TrainConfig

_COMMON = TrainConfig(
    optimizer="muon",
    lr=2e-3,
    lr_end=0.02,
    weight_decay=0.0,
    warmup=50,
    ema=0.98,
    log_every=20,
    checkpoint_every=100,
    checkpoint_seconds=60.0,  # a hundred updates take a CPU one to three minutes
    validate_every=200,
    seed=1,
)
_VAE = replace(_COMMON, warmup=20, best_metric="psnr")
_FLOW = replace(_COMMON, best_metric="loss", best_direction="min")
#: Every part on a CPU. Two processes on two cores took 8, 35, 110 and 21 minutes for "vae_codes", "vae", "base" (behind
#: `carry`, as two schedules of 2,000 and 2,600) and "nova" (begun anew), and 12 for their examples; a script let each
#: make half of Muon's updates, which saves base and NOVA a quarter of that. "main" and "sparse" were last run behind an
#: earlier VAE.
RECIPE = {
    "vae_codes": replace(_VAE, steps=900, accumulate=2),
    "vae": replace(_VAE, steps=3000, accumulate=2, seed=2),
    "vae_whole": replace(_VAE, steps=368, lr=8e-4, ema=0.99, seed=4, checkpoint_every=200),
    "main": replace(_FLOW, steps=1300),
    "sparse": replace(_FLOW, steps=1100),
    "base": replace(_FLOW, steps=4600, accumulate=2, ema=0.995, validate_every=400, seed=21),
    "nova": replace(_FLOW, steps=700, accumulate=2, ema=0.995, validate_every=400, seed=31),
}
_LONG = {"ema": 0.995, "checkpoint_every": 200, "validate_every": 200}
_FAST = {"background_checkpoints": True, "cuda_graphs": True}
#: The same on a GPU, where they differ: going on from unpacked weights, 6.3 minutes of one H200 and 1.2 more for the
#: examples (with which it shares the card from "main" on). "base", "vae_codes" and "vae" have not been run on a GPU
#: yet; the last two have the CPU's size.
CUDA_RECIPE = RECIPE | {
    "vae_whole": replace(RECIPE["vae_whole"], **_FAST),
    "main": replace(_FLOW, steps=213, **_LONG, **_FAST),
    "sparse": replace(_FLOW, steps=369, **_LONG, **_FAST),
    "base": replace(_FLOW, steps=400, **_LONG),
    "nova": replace(_FLOW, steps=325, **_LONG, **_FAST),
}


@dataclass(frozen=True)
class VaeClips:
    """What one part of the VAE's training sees in a pass."""

    batch: int  # clips
    num_frames: int  # 4k+1
    crop: tuple[int, int] = (32, 48)  # pixels (H, W) cut from every frame


#: Wan's causal VAE works in chunks of four frames, the first two of which are special: a VAE that only ever saw nine
#: frames falls from 26 to 19 dB at frame ten (measured). Seventeen are enough for thirty-three.
VAE_CLIPS = {
    "vae_codes": VaeClips(2, 17),
    "vae": VaeClips(3, 17),
    "vae_whole": VaeClips(48, 33, (64, 96)),
}


@dataclass(frozen=True)
class Feed:
    """What the base and NOVA read: encoded examples in shards (`training.data`), and batches of them."""

    shards: dict[str, int]  # by what learns: "main", "sparse", "dense"
    clips: int = 8  # of 17 frames per shard; half as many of 33
    frame_counts: tuple[int, ...] = (17, 17, 17, 33)  # shard i holds clips of frame_counts[i % len] frames
    batch: int = 8  # clips of 17 frames per step; half as many of 33
    long_share: float = 0.3  # share of batches with 33 frames
    crop_share: float = 0.8  # share of batches cut to half their tokens


FEED = Feed({"main": 240, "sparse": 720, "dense": 480})
CUDA_FEED = Feed({"main": 512, "sparse": 384, "dense": 384}, 64, (17, 33, 33), 128, long_share=0.75, crop_share=0.0)
VAL_SHARDS = 4  # of the CPU's size, on both
#: Share of the batches of "base" that come without control: the replica of the dense branch walks the DiT so.
FREE_SHARE = 0.25


def recipe(device: str) -> dict[str, TrainConfig]:
    """Settings of every part on a device: "cpu", "cuda" or "cuda:N"."""
    return CUDA_RECIPE if device.startswith("cuda") else RECIPE


def feed(device: str) -> Feed:
    """What base and NOVA read on a device, as `recipe`."""
    return CUDA_FEED if device.startswith("cuda") else FEED
