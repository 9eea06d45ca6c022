"""A toy NOVA and toy metrics on tiny clips, so that a suite runs in a second; no weights, no encoder."""

from types import SimpleNamespace

import torch
from torch import nn

from novakit.degradation import interpolate_keyframes
from novakit.evaluation.metrics import METRICS, region_psnr
from novakit.evaluation.suites.running import Bench
from novakit.evaluation.suites.scores import Judge
from novakit.scenes import EDITS, SceneBatch, render_scenes

FRAMES, SIZE = 9, (32, 48)


def render(ids, num_frames=FRAMES):
    """Tiny held-out scenes; the five kinds of edit take turns."""
    kind = {"split": "test", "size": SIZE, "num_frames": min(num_frames, FRAMES)}
    parts = [render_scenes([i], edit=EDITS[i % 5], **kind) for i in ids]
    names = ("source", "truth", "mask", "moving", "still_camera", "seeds")
    joined = {name: torch.cat([getattr(part, name) for part in parts]) for name in names}
    return SceneBatch(edits=[part.edits[0] for part in parts], **joined)


class ToyTransformer(nn.Module):
    """Has a dense branch with 12 parameters and a window, and a precision."""

    def __init__(self):
        super().__init__()
        self.dense_branch = nn.Linear(3, 3)
        self.config = SimpleNamespace(dense_window=None)

    def register_to_config(self, **options):
        self.config = SimpleNamespace(**options)

    @property
    def dtype(self):
        return torch.float32


class ToyNova:
    """Lays the interpolated keyframes over the source where they clearly differ; without "dense" it adds noise."""

    def __init__(self):
        torch.manual_seed(0)
        self.device, self.vae, self.transformer = torch.device("cpu"), nn.Linear(2, 2), ToyTransformer()
        self.calls = []

    def __call__(self, source, given, num_inference_steps, latents, dense_scale=1.0):
        self.calls.append({"source": source, "steps": num_inference_steps, "dense_scale": dense_scale})
        self.calls[-1]["window"] = self.transformer.config.dense_window
        stacks = [torch.stack([keys[k] for k in sorted(keys)], dim=1) for keys in given]
        controls = [interpolate_keyframes(s[None], sorted(g), source.shape[2])[0] for s, g in zip(stacks, given)]
        control = torch.stack(controls)
        edited = (control - source).abs().amax(1, keepdim=True) > 0.4
        rest = source if dense_scale else (control + 0.3 * latents.mean()).clamp(-1, 1)
        return SimpleNamespace(frames=torch.where(edited, control, rest))


def noise(pipe, scenes, seed):
    """Starting noise on a toy grid, one per scene and seed."""
    seeds = [1000 * seed + int(scene) for scene in scenes.seeds]
    grid = (2, 1 + (FRAMES - 1) // 4, 4, 6)
    return torch.stack([torch.randn(grid, generator=torch.Generator().manual_seed(s)) for s in seeds])


def measure(output, source, mask, encoder, truth=None):
    """Six toy numbers: success = the truth is nearer than the source, the rest a PSNR of the background."""
    inside_truth, inside_source = (region_psnr(output, other, mask) for other in (truth, source))
    background = region_psnr(output, source, 1 - mask) / 100
    numbers = dict.fromkeys(METRICS, background)
    return numbers | {"SR": (inside_truth > inside_source).float()}


def no_variants(name, pipe=None):
    """Training variants are not there."""
    from novakit.errors import NovaError

    raise NovaError(f"variant {name!r} is not trained. Run: novakit pretrain --stage variant --variant {name}")


def toy_bench(pipe=None, **changes):
    """A bench of toys."""
    judge = Judge(measure, SimpleNamespace(name="toy"), {metric: f"{metric}[toy]" for metric in METRICS})
    options = {"steps": 2, "load_variant": no_variants, "render": render, "noise": noise} | changes
    return Bench(pipe or ToyNova(), judge, **options)


def config():
    """What a toy store is opened with."""
    return {"version": "1", "weights": "abc", "encoder": "toy", "steps": 2}
