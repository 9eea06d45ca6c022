"""The nano world: exact ground truth, scenes that depend on their seed alone, splits with textures of their own."""

import itertools
from dataclasses import fields

import pytest
import torch
import torch.nn.functional as F

from novakit.errors import NovaError
from novakit.scenes import EDITS, render_clips, render_scenes
from novakit.scenes.randomness import SceneRandom
from novakit.scenes.render import affine_points
from novakit.scenes.textures import PATTERNS, PHOTOGRAPHS
from novakit.scenes.walker import STREETS, Street, street_texture

SMALL = {"size": (32, 48), "num_frames": 9}


@pytest.mark.parametrize("edit", EDITS)
def test_truth_equals_source_outside_the_mask_and_differs_inside(edit):
    scenes = render_scenes(range(4), edit=edit, **SMALL)
    difference = (scenes.truth - scenes.source).abs().amax(dim=1, keepdim=True)
    assert difference[scenes.mask == 0].max() == 0
    assert set(scenes.mask.unique().tolist()) <= {0.0, 1.0}
    for clip, mask in zip(difference, scenes.mask, strict=True):
        if mask.any():
            assert clip[mask == 1].mean() > 0.02
    assert scenes.edits == [edit] * 4


def test_shapes_and_range():
    scenes = render_scenes([3, 4], **SMALL)
    assert scenes.source.shape == scenes.truth.shape == (2, 3, 9, 32, 48)
    assert scenes.mask.shape == (2, 1, 9, 32, 48)
    assert scenes.source.min() >= -1 and scenes.source.max() <= 1
    assert scenes.source.std() > 0.1


@pytest.mark.parametrize("walker", [True, False, None])
def test_a_scene_is_the_same_alone_and_in_a_batch(walker):
    batch = render_scenes([11, 12, 13], walker=walker, **SMALL)
    alone = render_scenes([12], walker=walker, **SMALL)
    torch.testing.assert_close(alone.source[0], batch.source[1], atol=1e-5, rtol=0)
    torch.testing.assert_close(alone.truth[0], batch.truth[1], atol=1e-5, rtol=0)
    assert alone.edits[0] == batch.edits[1]


def test_clips_are_the_scenes_before_an_edit():
    scenes = render_scenes(range(6), edit="recolour", **SMALL)
    torch.testing.assert_close(render_clips(range(6), **SMALL), scenes.source, atol=1e-5, rtol=0)


def test_other_seed_or_split_is_another_scene():
    one = render_scenes([5], **SMALL).source
    assert (one - render_scenes([6], **SMALL).source).abs().mean() > 0.05
    assert (one - render_scenes([5], split="test", **SMALL).source).abs().mean() > 0.05


def test_splits_share_no_photograph_and_hold_back_a_pattern():
    names = [set(PHOTOGRAPHS[split]) for split in ("train", "val", "test")]
    assert not (names[0] & names[1] or names[0] & names[2] or names[1] & names[2])
    others = {split: {name for key in PATTERNS if key != split for name in PATTERNS[key]} for split in PATTERNS}
    assert all(set(PATTERNS[split]) - others[split] for split in ("val", "test"))


def test_every_split_has_a_street_of_its_own():
    streets = list(STREETS.values())
    for field in fields(Street):
        assert len({getattr(street, field.name) for street in streets}) == len(streets), field.name
    pictures = [street_texture(SceneRandom(torch.tensor([0])), "street", split, 160) for split in STREETS]
    assert all((a - b).abs().mean() > 0.05 for a, b in itertools.combinations(pictures, 2))


def test_walker_recolour_changes_the_coat_and_not_the_head():
    scenes = render_scenes([2005], split="test", edit="recolour", walker=True)
    rows = torch.nonzero(scenes.mask[0, 0, 0].any(dim=1)).flatten()
    assert 0 < scenes.mask.mean() < 0.1
    assert rows.max() - rows.min() < 30  # the coat, not the whole figure


def test_moving_flag_tells_moving_from_still():
    moving = render_scenes(range(40), edit="remove", walker=False, size=(16, 24), num_frames=17).moving
    assert 0 < moving.float().mean() < 1


def test_before_a_still_camera_only_objects_move():
    scenes = render_scenes(range(24), edit="remove", walker=False, size=(16, 24), num_frames=9)
    change = (scenes.truth[:, :, 8] - scenes.truth[:, :, 0]).abs().amax(dim=1).flatten(1)  # (B, H*W)
    unchanged = (change < 0.25).float().mean(dim=1)  # light may change a little, objects cover a part
    assert 0 < scenes.still_camera.float().mean() < 0.5
    assert unchanged[scenes.still_camera].min() > 0.5
    assert unchanged[scenes.still_camera].mean() > unchanged[~scenes.still_camera].mean()


def test_unknown_names_are_refused():
    with pytest.raises(NovaError, match="train, val, test"):
        render_scenes([0], split="dev", **SMALL)
    with pytest.raises(NovaError, match="recolour"):
        render_scenes([0], edit="paint", **SMALL)


def test_affine_points_equals_torch_affine_grid():
    theta = torch.randn(2, 3, 2, 3)
    expected = F.affine_grid(theta.flatten(0, 1), [6, 1, 8, 12], align_corners=False).reshape(2, 3, 8, 12, 2)
    torch.testing.assert_close(affine_points(theta, (8, 12)), expected)


def test_random_numbers_are_uniform_independent_and_repeatable():
    random = SceneRandom(torch.arange(4000), salt="test")
    x, y = random.uniform("a"), random.uniform("b")
    assert abs(x.mean() - 0.5) < 0.02 and abs(x.var() - 1 / 12) < 0.005
    assert abs(torch.corrcoef(torch.stack([x, y]))[0, 1]) < 0.05
    assert abs(torch.corrcoef(torch.stack([x[1:], x[:-1]]))[0, 1]) < 0.05
    assert torch.equal(x, SceneRandom(torch.arange(4000), salt="test").uniform("a"))
    assert not torch.equal(x, SceneRandom(torch.arange(4000), salt="train").uniform("a"))


@pytest.mark.gpu
def test_scenes_on_cuda_equal_those_on_the_cpu():
    on_cpu, on_gpu = render_scenes(range(4), **SMALL), render_scenes(range(4), device="cuda", **SMALL)
    assert (on_cpu.source - on_gpu.source.cpu()).abs().mean() < 1e-3
