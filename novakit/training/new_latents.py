"""A transformer moved to the latents of another VAE: what it has learned is kept, up to a linear map.

Two VAEs of one geometry describe the same blocks in other numbers. Least squares on training clips gives the affine
map from new latents to old ones and back; put into the layers that read and write latents, it lets the transformer go
on where it stood, with a loss that a few hundred updates bring down again (from nothing it takes thousands).

Source: ours; swapping the VAE under a trained DiT and training on is what PixArt-Sigma (arXiv 2403.04692) does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from novakit.errors import NovaError
from novakit.models import learn_only
from novakit.models.latents import encode_clip
from novakit.scenes import render_clips
from novakit.training.unpack import FLOW_PARTS, save_learning


@dataclass(frozen=True)
class Affine:
    """y = matrix x + offset, channel by channel at every place."""

    matrix: Tensor  # (Y, X)
    offset: Tensor  # (Y,)


def carry(pipeline_folder: str | Path, root: str | Path, vae: nn.Module) -> Path:
    """Put base and dense branch of a pipeline folder into `root` as the start of their stages, for another VAE.

    Args:
        pipeline_folder: folder of a nano pipeline.
        root: folder of runs, with a trained VAE and neither base nor dense branch.
        vae: the VAE of `root`, with its measured statistics.

    Returns:
        `root`.

    Raises:
        NovaError: `root` already holds a run of a later stage, or the VAEs differ in their geometry.
    """
    from novakit.editing.loading import load_folder
    from novakit.editing.pipeline import NovaEditPipeline

    root = Path(root)
    if runs := [part for part in ("main", "sparse", *FLOW_PARTS) if (root / part).exists()]:
        raise NovaError(f"{root} already holds {', '.join(runs)}; carry into a folder that holds only a VAE.")
    pipe = load_folder(NovaEditPipeline, Path(pipeline_folder), "cpu")
    old, model = pipe.vae.float().eval(), pipe.transformer.float()
    there, back = latent_maps(old, vae, training_clips())
    move_latents(model, there, back)
    for part, learns in FLOW_PARTS.items():
        learn_only(model, learns)
        save_learning(model, root / part / "start.safetensors")
    return root


def training_clips(num_clips: int = 96, batch: int = 8) -> Iterator[Tensor]:
    """Rendered clips (batch, 3, 17, H, W) of the training split."""
    for start in range(91_000, 91_000 + num_clips, batch):
        yield render_clips(range(start, start + batch), num_frames=17)


@torch.no_grad()
def latent_maps(old: nn.Module, new: nn.Module, clips: Iterator[Tensor]) -> tuple[Affine, Affine]:
    """The affine maps from the new VAE's normalised latents to the old one's, and back, by least squares.

    Raises:
        NovaError: latents of other grids.
    """
    pairs = [(encode_clip(old, clip), encode_clip(new, clip)) for clip in clips]
    before, after = pairs[0]
    if before.shape[2:] != after.shape[2:]:
        raise NovaError(
            f"the latents differ in their grid, {list(before.shape[2:])} and {list(after.shape[2:])}: another geometry "
            "cannot be mapped place by place. Train the base from nothing."
        )
    olds, news = (torch.cat([part.movedim(1, -1).flatten(0, -2) for part in side]) for side in zip(*pairs, strict=True))
    return _least_squares(news, olds), _least_squares(olds, news)


def move_latents(model: nn.Module, to_old: Affine, to_new: Affine) -> None:
    """Make a NovaTransformer3DModel read and write the new latents, in place.

    Args:
        model: reads and writes old latents.
        to_old: old latents from new ones; into the two patch embeddings.
        to_new: new latents from old ones; into the output projection. Velocity is noise minus latents, so the offset
            enters with a minus sign.
    """
    base, size = model.base, len(to_old.offset)
    with torch.no_grad():
        _read(base.patch_embedding, to_old, [0])
        _read(base.vace_patch_embedding, to_old, [0, size])  # inactive and reactive latents, then the mask as it is
        out = base.proj_out
        weight = out.weight.unflatten(0, (-1, size))  # (patch, Z, D)
        bias = out.bias.unflatten(0, (-1, size))
        out.weight.copy_((to_new.matrix @ weight).flatten(0, 1))
        out.bias.copy_((bias @ to_new.matrix.T - to_new.offset).flatten())


def _read(embedding: nn.Module, to_old: Affine, starts: list[int]) -> None:
    """Let a patch embedding (D, channels, 1, p, p) see old latents where it is given new ones."""
    size = len(to_old.offset)
    for start in starts:
        part = embedding.weight[:, start : start + size]
        embedding.bias.add_(torch.einsum("dzijk,z->d", part, to_old.offset))
        part.copy_(torch.einsum("dzijk,zx->dxijk", part.clone(), to_old.matrix))


def _least_squares(inputs: Tensor, outputs: Tensor) -> Affine:
    """The affine map with the smallest squared error over rows; a little ridge, since latents may be dependent."""
    ones = torch.ones(len(inputs), 1, dtype=torch.float64)
    wide = torch.cat([inputs.double(), ones], dim=1)
    ridge = 1e-5 * len(wide) * torch.eye(wide.shape[1], dtype=torch.float64)
    solved = torch.linalg.solve(wide.T @ wide + ridge, wide.T @ outputs.double())  # (X + 1, Y)
    return Affine(solved[:-1].T.float().contiguous(), solved[-1].float())
