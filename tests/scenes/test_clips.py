"""Training clips, and the cut-outs that go with them."""

import torch

from novakit.scenes import render_clips, render_cut_outs, render_scenes
from novakit.scenes.randomness import SceneRandom
from novakit.scenes.world import build_world

SMALL = {"size": (32, 48), "num_frames": 9}


def test_the_clips_are_the_same_with_and_without_cut_outs():
    assert torch.equal(render_cut_outs(range(6), **SMALL).clip, render_clips(range(6), **SMALL))


def test_the_matte_marks_the_object_and_nothing_else():
    cut, scenes = render_cut_outs(range(12), **SMALL), render_scenes(range(12), edit="remove", **SMALL)
    inside, outside = (cut.matte > 0.5) & (scenes.mask == 0), (cut.matte == 0) & (scenes.mask == 1)
    assert 0.01 < cut.matte.mean() < 0.4
    assert inside.float().mean() < 0.01  # what the matte marks changes when the object is removed
    assert outside.float().mean() < 0.02  # and hardly anything else (the mask counts faint rims too)


def test_a_placed_stranger_covers_the_object_and_a_free_one_does_not():
    cut = render_cut_outs(range(24), **SMALL)
    objects = cut.matte > 0.5
    covered = [(matte[objects] > 0.5).float().mean() for matte in (cut.placed_matte, cut.stranger_matte)]
    assert covered[0] > 0.7 > 0.4 > covered[1]


def test_strangers_have_textures_of_their_split_and_differ_from_scene_to_scene():
    cut = render_cut_outs([1, 2], **SMALL)
    assert (cut.stranger[0] - cut.stranger[1]).abs().mean() > 0.05
    assert cut.stranger.min() >= -1 and cut.stranger.max() <= 1


def test_some_worlds_of_a_batch_are_the_same_worlds():
    random = SceneRandom(torch.arange(5), salt="train")
    rows = torch.tensor([1, 4])
    whole, part = (build_world(r, "train", (32, 48), 9) for r in (random, random.take(rows)))
    torch.testing.assert_close(part.background, whole.background[rows], atol=1e-5, rtol=0)
    assert torch.equal(part.present, whole.present[rows]) and torch.equal(part.chosen, whole.chosen[rows])
    for now, before in zip(part.paths, whole.paths, strict=True):
        torch.testing.assert_close(now.centre, before.take(rows).centre)
