"""Going on from finished weights: a pipeline folder taken apart into the runs that `novakit pretrain` left it in.

The inverse of the stage `export`. A part that is trained again starts from `PART/start.safetensors`; a part that is
left alone serves the later ones as `PART/last.safetensors`, as if its run were here. Only weights come back: the
optimiser starts anew.

Source: ours.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from safetensors.torch import save_file
from torch import nn

from novakit.errors import NovaError
from novakit.files import atomic_path, atomic_write_json
from novakit.models import learn_only
from novakit.training.ema import trainable_parameters
from novakit.training.model_card import HISTORY

FLOW_PARTS = {"base": "base", "nova": "dense"}  # part of the recipe -> part of the model


def unpack(pipeline_folder: str | Path, root: str | Path) -> Path:
    """Take a pipeline folder apart, in float32.

    Args:
        pipeline_folder: folder of a nano pipeline: VAE, transformer, scheduler.
        root: the new folder of runs (`novakit pretrain --folder`).

    Returns:
        `root`.

    Raises:
        NovaError: `root` already holds runs, or the pipeline folder is missing or damaged.
    """
    from novakit.editing.loading import load_folder
    from novakit.editing.pipeline import NovaEditPipeline

    pipeline_folder, root = Path(pipeline_folder), Path(root)
    runs = [part for part in ("vae", "vae_whole", *FLOW_PARTS) if (root / part).exists()]
    if runs:
        raise NovaError(f"{root} already holds {', '.join(runs)}; unpack into an empty folder.")
    pipe = load_folder(NovaEditPipeline, pipeline_folder, "cpu")
    vae, model = pipe.vae.float(), pipe.transformer.float()
    for path in ("vae/last", "vae_whole/start"):
        save_learning(vae, root / f"{path}.safetensors")
    statistics = {name: list(vae.config[name]) for name in ("latents_mean", "latents_std")}
    atomic_write_json(root / "vae" / "latents.json", statistics)
    for part, learns in FLOW_PARTS.items():
        learn_only(model, learns)
        for name in ("start", "last"):
            save_learning(model, root / part / f"{name}.safetensors")
    if (pipeline_folder / HISTORY).exists():
        shutil.copyfile(pipeline_folder / HISTORY, root / HISTORY)
    return root


def save_learning(module: nn.Module, path: Path) -> None:
    """The weights of a module that learn, in float32."""
    weights = {name: weight.detach().float().contiguous() for name, weight in trainable_parameters(module).items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as partial:
        save_file(weights, partial)
