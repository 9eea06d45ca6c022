"""Training examples of the nano world as latents: what each stage of training reads.

The VAE is the costly part of a training step on a CPU, so examples are rendered, degraded and encoded once, kept in
small shards on disk, and drawn from there. A shard is a function of (seed, shard number): an interrupted build goes
on where it stopped, several processes can build side by side, and a batch is a function of (seed, step).

Source: ours; degradations are the paper's (eq. 2, eq. 3), conditioning tasks are VACE's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from novakit.degradation import (
    AnchoredControlConfig,
    anchored_control,
    interpolate_keyframes,
    random_regions,
    sample_keyframe_indices,
)
from novakit.errors import NovaError
from novakit.files import atomic_path
from novakit.models.latents import encode_clip
from novakit.models.sparse_branch import prepare_control
from novakit.scenes import ClipsWithCutOuts, render_clips, render_cut_outs
from novakit.training.nova_task import NovaBatch
from novakit.training.objective import step_generator
from novakit.training.pseudo_sources import draw_pseudo_sources

#: Conditioning tasks of the base and how often each is drawn.
BASE_TASKS = {
    "keyframes": 0.45,  # interpolated keyframes in the reactive channels: NOVA's control sequence
    "keyframes_inactive": 0.10,  # the same in the inactive channels
    "keyframes_grey": 0.15,  # keyframes kept, grey elsewhere: VACE multi-frame
    "first_frame": 0.05,  # only frame 0 kept
    "masked_source": 0.15,  # keyframes whole, a moving region hidden elsewhere
    "control_video": 0.10,  # a blurred grey version of the clip in the reactive channels
}
FRAME_COUNTS = (17, 17, 17, 33)  # shard i holds clips of FRAME_COUNTS[i % 4] frames
LONG_SHARE = 0.3  # share of batches with 33 frames
CROP = (6, 8)  # latents (h, w) of a cropped batch; a whole frame has 8 x 12
#: No colour shift among the operations: it would teach that the source is right where the two disagree in colour.
CONTROL = AnchoredControlConfig(
    ops=("blur", "affine", "downscale", "elastic", "jpeg"), clean_clip_prob=0.4, strength=(0.05, 0.6)
)


def random_indices(num_frames: int, generator: torch.Generator) -> tuple[int, ...]:
    """Keyframe indices of one batch: half of the time every 8 frames, else intervals of 2 to 16, some irregular."""
    draw = torch.rand(3, generator=generator)
    if draw[0] < 0.5:
        return tuple(sample_keyframe_indices(num_frames, 8, generator))
    first = bool(draw[2] > 0.15)
    return tuple(
        sample_keyframe_indices(num_frames, (2, 16), generator, irregular=bool(draw[1] < 0.4), include_first=first)
    )


def encode_examples(vae: nn.Module, clips: Tensor) -> Tensor:
    """Latents of clips; bfloat16 convolutions halve the time and cost less than the VAE's own error."""
    with torch.autocast(clips.device.type, torch.bfloat16):
        return encode_clip(vae, clips)


def encode_context(vae: nn.Module, clips: Tensor, mask: Tensor | None = None, mode: str = "reactive") -> Tensor:
    """The VACE context of a control sequence, encoded as in `encode_examples`."""
    with torch.autocast(clips.device.type, torch.bfloat16):
        return prepare_control(vae, clips, mask, mode)


def main_batch(vae: nn.Module, clips: Tensor, generator: torch.Generator) -> NovaBatch:
    """For the plain DiT: clean clips `(B, 3, T, H, W)`, no condition."""
    return NovaBatch(encode_examples(vae, clips), None, None)


def sparse_batch(vae: nn.Module, clips: Tensor, generator: torch.Generator) -> NovaBatch:
    """For the VACE blocks: one of BASE_TASKS per batch, on clean clips `(B, 3, T, H, W)`."""
    names, weights = list(BASE_TASKS), torch.tensor(list(BASE_TASKS.values()))
    name = names[int(torch.multinomial(weights, 1, generator=generator))]
    indices = [0] if name == "first_frame" else list(random_indices(clips.shape[2], generator))
    return NovaBatch(encode_examples(vae, clips), None, _base_control(vae, clips, name, indices, generator))


def _base_control(vae: nn.Module, clips: Tensor, name: str, indices: list[int], generator: torch.Generator) -> Tensor:
    """The VACE context of one conditioning task."""
    if name in ("keyframes", "keyframes_inactive"):
        control = interpolate_keyframes(clips[:, :, indices], indices, clips.shape[2])
        return encode_context(vae, control, mode="reactive" if name == "keyframes" else "inactive")
    if name == "control_video":
        grey = clips.mean(dim=1, keepdim=True)
        small = torch.nn.functional.avg_pool3d(grey, (1, 4, 4))
        return encode_context(vae, small.repeat_interleave(4, 3).repeat_interleave(4, 4).expand_as(clips))
    mask = torch.ones_like(clips[:, :1])
    if name == "masked_source":
        batch, _, frames, height, width = clips.shape
        regions = random_regions(batch, frames, height, width, generator, device=clips.device)
        mask = regions.masks.reshape(batch, frames, 1, height, width).transpose(1, 2).contiguous()
    mask[:, :, indices] = 0.0
    return encode_context(vae, clips * (1.0 - mask), mask)


def dense_batch(
    vae: nn.Module,
    clips: ClipsWithCutOuts,
    generator: torch.Generator,
    choose_indices: Callable[[int, torch.Generator], tuple[int, ...]] = random_indices,
) -> NovaBatch:
    """For NOVA: pseudo source (eq. 3) and anchored control (eq. 2), drawn independently of each other."""
    indices = choose_indices(clips.clip.shape[2], generator)
    control = anchored_control(clips.clip, indices, generator, CONTROL)
    source, _ = draw_pseudo_sources(clips, generator)
    return NovaBatch(
        encode_examples(vae, clips.clip), encode_examples(vae, source), encode_context(vae, control.control)
    )


#: What to render, and how to make a batch of it.
Maker = tuple[Callable, Callable[..., NovaBatch]]
#: The maker of every stage.
MAKERS: dict[str, Maker] = {
    "main": (render_clips, main_batch),
    "sparse": (render_clips, sparse_batch),
    "dense": (render_cut_outs, dense_batch),
}


@dataclass(frozen=True)
class LatentStore:
    """A folder of encoded examples for one stage.

    Attributes:
        folder: where the shards lie.
        learn: the stage: "main", "sparse" or "dense".
        num_shards: how many shards the store has when complete.
        clips: clips per shard of 17 frames; shards of 33 frames hold half as many.
        seed: of the whole store.
        split: which textures; "val" for a validation store.
        maker: another way of making the examples of this stage, from the same scenes; None = MAKERS[learn].
    """

    folder: Path
    learn: str
    num_shards: int
    clips: int = 8
    seed: int = 0
    split: str = "train"
    maker: Maker | None = None

    def __post_init__(self) -> None:
        if self.learn not in MAKERS:
            raise NovaError(f"There is no stage {self.learn!r}; choose one of {', '.join(MAKERS)}.")

    def path(self, shard: int) -> Path:
        """File of one shard."""
        return Path(self.folder) / f"{self.split}-{self.seed}-{shard:05d}.safetensors"

    @torch.no_grad()
    def make(self, vae: nn.Module, shard: int) -> NovaBatch:
        """Render, degrade and encode one shard; a function of (seed, split, shard)."""
        generator = step_generator(self.seed, shard, f"store/{self.learn}/{self.split}")
        num_frames = FRAME_COUNTS[shard % len(FRAME_COUNTS)]
        count = self.clips if num_frames == 17 else max(1, self.clips // 2)
        seeds = torch.randint(2**31 - 1, (count,), generator=generator)
        device = next(vae.parameters()).device
        render, make_batch = self.maker or MAKERS[self.learn]
        return make_batch(vae, render(seeds, split=self.split, num_frames=num_frames, device=device), generator)

    def build(self, vae: nn.Module, shards: range | None = None, report: Callable[[int], None] | None = None) -> None:
        """Make the shards that are missing; call `report(shard)` after each."""
        Path(self.folder).mkdir(parents=True, exist_ok=True)
        for shard in shards or range(self.num_shards):
            if not self.path(shard).exists():
                batch = self.make(vae, shard)
                tensors = {f.name: getattr(batch, f.name) for f in fields(batch) if getattr(batch, f.name) is not None}
                with atomic_path(self.path(shard)) as partial:
                    save_file({name: t.half().contiguous().cpu() for name, t in tensors.items()}, partial)
            if report:
                report(shard)

    def load(self) -> LoadedStore:
        """All shards in memory.

        Raises:
            NovaError: a shard is missing.
        """
        missing = [i for i in range(self.num_shards) if not self.path(i).exists()]
        if missing:
            raise NovaError(
                f"{len(missing)} of {self.num_shards} shards are missing in {self.folder} (first {missing[0]}); "
                "call build() first."
            )
        groups: dict[int, list[dict[str, Tensor]]] = {}
        for shard in range(self.num_shards):
            tensors = load_file(self.path(shard))
            groups.setdefault(tensors["target_latents"].shape[2], []).append(tensors)
        merged = {
            t: {name: torch.cat([part[name] for part in parts]) for name in parts[0]} for t, parts in groups.items()
        }
        return LoadedStore(merged, self.seed)


@dataclass(frozen=True)
class LoadedStore:
    """Encoded examples in memory, grouped by their number of latent frames."""

    groups: dict[int, dict[str, Tensor]]
    seed: int

    def batch(self, step: int, size: int = 8, crop_share: float = 0.8) -> NovaBatch:
        """Batch `step`: examples of one length, `size` short clips or `size // 2` long ones.

        Args:
            step: batch number; the batch is a function of it.
            size: clips of 17 frames.
            crop_share: share of batches cut to CROP latents at a random place: half the tokens, half the time. RoPE
                is relative, so what is learned on crops holds on whole frames, which the other batches show.
        """
        generator = step_generator(self.seed, step, "pick")
        long_draw, crop_draw, *place = torch.rand(4, generator=generator).tolist()
        lengths = sorted(self.groups)
        long = len(lengths) > 1 and long_draw < LONG_SHARE
        group = self.groups[lengths[-1] if long else lengths[0]]
        rows = torch.randint(len(group["target_latents"]), (max(1, size // 2) if long else size,), generator=generator)
        height, width = group["target_latents"].shape[-2:]
        crop_h, crop_w = CROP if crop_draw < crop_share else (height, width)
        top, left = int(place[0] * (height - crop_h + 1)), int(place[1] * (width - crop_w + 1))
        return NovaBatch(
            *(
                group[f.name][rows][..., top : top + crop_h, left : left + crop_w].float() if f.name in group else None
                for f in fields(NovaBatch)
            )
        )
