"""The keyframes that a row is given, and the clip that they ask for.

    from_truth   frames of the rendered truth
    faulty       the same, off as a real editor's, edited one by one or with the first one as reference (eq. 5)
    painted      what an offline editor paints; its fault-free work on every frame is then the truth
    degraded     frames of the truth, spoilt in random regions by the operations of eq. 2
    whole_frame_style   the whole picture in another style: the paper says that this is out of its reach

Source: ours.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from novakit.degradation import AnchoredControlConfig, anchored_control
from novakit.editing.keyframe_editors.nano import NanoEditor
from novakit.editing.keyframe_editors.nano_faults import Faults
from novakit.editing.keyframes import edit_keyframes
from novakit.errors import NovaNotice
from novakit.evaluation.suites.faulty_truth import FaultyTruth
from novakit.scenes import SceneBatch

TRAINED_OPERATIONS = ("blur", "affine", "downscale", "elastic", "jpeg")  # what the shipped weights were trained with


@dataclass(frozen=True)
class Given:
    """What a row of a table is handed, and what its result is compared with."""

    keyframes: Tensor  # (B, 3, K, H, W) in [-1, 1]
    target: Tensor  # (B, 3, T, H, W) in [-1, 1]: the edit without any fault
    like_first: Tensor | None = None  # (B, 3, T, H, W): the edit as the first keyframe shows it, where that differs
    mask: Tensor | None = None  # (B, 1, T, H, W), where the edit covers something else than the scene's mask


KeyframeMaker = Callable[[SceneBatch, list[int], int], Given]


def scene_seed(scene: int, seed: int) -> int:
    """Seed of everything random about a scene's keyframes: another one for every pair."""
    return 1_000_003 * seed + scene


def from_truth(scenes: SceneBatch, indices: list[int], seed: int) -> Given:
    """Frames of the truth."""
    return Given(scenes.truth[:, :, indices], scenes.truth)


def faulty(strength: float = 1.0, *, consistent: bool) -> KeyframeMaker:
    """Frames of the truth as a straying editor hands them over.

    Args:
        strength: factor of `Faults()`; 1 = of the size that real editors show.
        consistent: the later keyframes are told the first one (eq. 5), or each is edited for itself.
    """
    faults = Faults().scaled(strength)

    def make(scenes: SceneBatch, indices: list[int], seed: int) -> Given:
        keyframes, looks = [], []
        for i, scene in enumerate(scenes.seeds.tolist()):
            editor, own = FaultyTruth(scenes.truth[i], faults), scene_seed(scene, seed)
            keyframes.append(_edited(scenes, i, indices, editor, consistent, own))
            first = next((k for k in indices if scenes.mask[i, 0, k].any()), indices[0])
            looks.append(editor.like_first(scenes.mask[i], first, own))
        return Given(torch.stack(keyframes), scenes.truth, torch.stack(looks))

    return make


def _edited(scenes: SceneBatch, i: int, indices: list[int], editor: NanoEditor, consistent: bool, seed: int) -> Tensor:
    """Keyframes (3, K, H, W) of one scene; where no keyframe has anything to change they are the source's frames."""
    source, mask = scenes.source[i : i + 1], scenes.mask[i : i + 1]
    if not mask[0, 0, indices].any():
        return source[0][:, indices]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NovaNotice)
        options = {"mask": mask, "consistent": consistent, "seed": seed, "indices": indices}
        edits = edit_keyframes(source, "", None, editor, **options)
    return torch.stack([key.edited for key in edits], dim=1)


def painted(style: str, faults: Faults | None = None) -> KeyframeMaker:
    """The scene's kind of edit as NanoEditor paints it, with the first keyframe as reference.

    Args:
        style: one of NanoEditor's styles, "plain" or "poster".
        faults: of the editor; None = of the size that real editors show.
    """

    def make(scenes: SceneBatch, indices: list[int], seed: int) -> Given:
        keyframes, targets = [], []
        for i, scene in enumerate(scenes.seeds.tolist()):
            edit = scenes.edits[i]
            editor = NanoEditor(edit, style=style, faults=faults or Faults())
            keyframes.append(_edited(scenes, i, indices, editor, True, scene_seed(scene, seed)))
            targets.append(_on_every_frame(scenes, i, NanoEditor(edit, style=style)))
        return Given(torch.stack(keyframes), torch.stack(targets))

    return make


def _on_every_frame(scenes: SceneBatch, i: int, editor: NanoEditor) -> Tensor:
    """The work of a fault-free editor on all frames of a scene, (3, T, H, W)."""
    clip, mask = scenes.source[i].clone(), scenes.mask[i]
    for t in range(clip.shape[1]):
        if mask[:, t].any():
            clip[:, t] = editor.edit(scenes.source[i][:, t], mask=mask[:, t])
    return clip


def whole_frame_style(scenes: SceneBatch, indices: list[int], seed: int) -> Given:
    """Another style for the whole picture, without faults: every keyframe laid on a ramp of three colours."""
    editor = NanoEditor("restyle")
    frames = scenes.source.transpose(1, 2)  # (B, T, 3, H, W)
    target = torch.stack([torch.stack([editor.edit(frame) for frame in clip], dim=1) for clip in frames])
    return Given(target[:, :, indices], target, mask=torch.ones_like(scenes.mask))


def degraded(strength: float) -> KeyframeMaker:
    """Frames of the truth, each spoilt inside a random region by one or two operations of D_aug (eq. 2).

    Args:
        strength: of every operation, 0 to 1.
    """
    config = AnchoredControlConfig(
        ops=TRAINED_OPERATIONS, strength=(strength, strength), clean_clip_prob=0.0, clean_keyframe_prob=0.0
    )

    def make(scenes: SceneBatch, indices: list[int], seed: int) -> Given:
        keyframes = []
        for i, scene in enumerate(scenes.seeds.tolist()):
            generator = torch.Generator().manual_seed(scene_seed(scene, seed))
            keyframes.append(anchored_control(scenes.truth[i : i + 1], indices, generator, config).keyframes)
        return Given(torch.cat(keyframes), scenes.truth)

    return make
