"""A drawn mask carried by optical flow, against the exact masks of rendered scenes."""

import pytest
import torch

from novakit.editing.mask_propagation import propagate_mask
from novakit.errors import NovaError, NovaNotice
from novakit.scenes import render_scenes

pytest.importorskip("cv2")


def overlap(one, other):
    """Intersection over union of two masks."""
    return ((one * other).sum() / torch.maximum(one, other).sum()).item()


@pytest.fixture(scope="module")
def scenes():
    """Scenes whose edited object is seen as a whole in the first frame."""
    scenes = render_scenes(range(12), split="test", edit="remove", walker=False, num_frames=17)
    area = scenes.mask.flatten(2).reshape(12, 17, -1).sum(-1)
    keep = (scenes.moving & (area.min(1).values > 0.7 * area.max(1).values)).nonzero()[:, 0]
    return [(scenes.source[i], scenes.mask[i]) for i in keep]


def carried(clip, mask, index=0, **options):
    return propagate_mask(clip.unbind(1), mask[:, index], index, **options)


def test_the_mask_follows_the_object(scenes):
    assert len(scenes) >= 3
    found = [carried(clip, mask) for clip, mask in scenes]
    for t, least in ((8, 0.7), (16, 0.6)):
        overlaps = [overlap(result.masks[t], mask[:, t]) for result, (_, mask) in zip(found, scenes, strict=True)]
        still = [overlap(mask[:, 0], mask[:, t]) for _, mask in scenes]
        assert sum(overlaps) / len(overlaps) > least
        assert sum(overlaps) > sum(still) + 0.5  # better than leaving it where it was drawn
    assert all(torch.equal(result.masks[0], mask[:, 0]) for result, (_, mask) in zip(found, scenes, strict=True))
    assert all(result.confidence[0] == 1.0 for result in found)


def test_backwards_is_forwards_on_the_reversed_clip(scenes):
    clip, mask = scenes[0]
    back, forth = carried(clip, mask, 16), carried(clip.flip(1), mask.flip(1), 0)
    for t in (0, 8, 15):
        assert torch.equal(back.masks[t], forth.masks[16 - t])
        assert back.confidence[t] == pytest.approx(forth.confidence[16 - t])


def test_a_cut_is_noticed_and_nothing_behind_it_is_believed(scenes):
    (first, mask), (second, _) = scenes[:2]
    cut = torch.cat([first[:, :9], second[:, 9:]], dim=1)
    with pytest.warns(NovaNotice, match="two scenes"):
        result = carried(cut, mask)
    assert result.cuts == (9,)
    assert result.confidence[16] < 0.5 < result.confidence[4]


def test_only_the_wanted_frames_come_back(scenes):
    clip, mask = scenes[0]
    result = carried(clip, mask, 8, wanted=[0, 8, 12])
    assert sorted(result.masks) == [0, 8, 12] == sorted(result.confidence)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda mask: mask * 0, "empty"),
        (lambda mask: mask[:, :32], "wanted one size"),
        (lambda mask: mask * 2, "outside 0..1"),
        (lambda mask: mask[0], "wanted a tensor"),
    ],
)
def test_a_bad_mask_is_refused(scenes, change, words):
    clip, mask = scenes[0]
    with pytest.raises(NovaError, match=words):
        propagate_mask(clip.unbind(1), change(mask[:, 0]))


def test_a_drawn_frame_outside_the_clip_is_refused(scenes):
    clip, mask = scenes[0]
    with pytest.raises(NovaError, match="frames"):
        propagate_mask(clip.unbind(1), mask[:, 0], 99)
