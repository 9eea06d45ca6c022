"""The nano pipeline and a small task of two scenes, shared by the tests of all baselines."""

import pytest
import torch

from novakit.editing.pipeline import NovaEditPipeline
from novakit.evaluation.baselines.task import EditTask
from novakit.scenes import render_scenes

STEPS = 4


@pytest.fixture(scope="session")
def pipe():
    return NovaEditPipeline.from_preset("nano", device="cpu")


def make_task(frames, indices):
    """Two validation scenes, the edited object recoloured; keyframes are frames of the truth."""
    scenes = render_scenes([0, 1], split="val", num_frames=frames, edit="recolour")
    grid = (48, 1 + (frames - 1) // 4, 8, 12)
    noise = torch.stack([torch.randn(grid, generator=torch.Generator().manual_seed(i)) for i in range(2)])
    return EditTask(scenes.source, scenes.truth[:, :, indices], indices, noise, STEPS, scenes.mask)


@pytest.fixture(scope="session")
def task():
    return make_task(17, [0, 8, 16])


@pytest.fixture(scope="session")
def short_task():
    """Nine frames: for tests that ask what a row reads, not how well it edits."""
    return make_task(9, [0, 4, 8])
