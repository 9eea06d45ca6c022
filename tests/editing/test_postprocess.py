"""A colour drift that is known is taken out, with a mask and without; pasted pixels are the source's, bit for bit."""

import pytest
import torch
from nova_tiny import tiny_clip

from novakit.editing.postprocess import feather, match_colour, paste_back

SOURCE = tiny_clip(frames=33, height=32, width=48)[0]  # (3, T, H, W)
GAIN = torch.tensor([0.8, 1.1, 0.9]).view(3, 1, 1, 1)
OFFSET = torch.tensor([0.1, -0.05, 0.2]).view(3, 1, 1, 1)


def object_mask(share=0.25):
    mask = torch.zeros(1, 33, 32, 48)
    mask[..., : int(32 * share**0.5), : int(48 * share**0.5)] = 1
    return mask


def edited(mask):
    """The source with another object inside the mask."""
    return torch.lerp(SOURCE, torch.tensor([0.9, -0.8, -0.7]).view(3, 1, 1, 1).expand_as(SOURCE), mask)


@pytest.mark.parametrize("share", [0.05, 0.25, 0.6])
def test_a_constant_drift_is_undone_everywhere(share):
    mask = object_mask(share)
    matched = match_colour(GAIN * edited(mask) + OFFSET, SOURCE, 1 - mask)
    assert (matched - edited(mask)).abs().max() < 0.01, "inside the mask too"


@pytest.mark.parametrize("share", [0.0, 0.05, 0.25, 0.4])
def test_without_a_mask_the_edited_part_is_left_out_by_itself(share):
    mask = object_mask(share)
    drifted = GAIN * edited(mask) + OFFSET
    matched = match_colour(drifted, SOURCE)
    wrong = (drifted - edited(mask)).abs().mean()
    assert (matched - edited(mask)).abs().mean() < 0.15 * wrong


def test_noise_does_not_cost_contrast():
    noisy = SOURCE + 0.15 * torch.randn(SOURCE.shape, generator=torch.Generator().manual_seed(0))
    matched = match_colour(noisy, SOURCE, torch.ones(1, 33, 32, 48))
    assert matched.std().item() == pytest.approx(SOURCE.std().item(), rel=0.03)


def test_the_map_is_smooth_in_time():
    flicker = 0.1 * torch.randn(1, 33, 1, 1, generator=torch.Generator().manual_seed(1))
    change = match_colour(SOURCE + flicker, SOURCE, torch.ones(1, 33, 32, 48)) - (SOURCE + flicker)
    assert change.mean((0, 2, 3)).diff().abs().max() < 0.3 * flicker.flatten().diff().abs().max()


def test_frames_without_a_pixel_outside_borrow_and_none_at_all_changes_nothing():
    mask = object_mask()
    mask[:, 10:] = 1
    matched = match_colour(GAIN * edited(mask) + OFFSET, SOURCE, 1 - mask)
    assert (matched[:, 25:] - edited(mask)[:, 25:]).abs().max() < 0.05
    everywhere = torch.ones_like(mask)
    drifted = GAIN * SOURCE + OFFSET
    assert torch.equal(match_colour(drifted, SOURCE, 1 - everywhere), drifted)


def test_a_grey_or_wild_edit_is_not_blown_up():
    grey = torch.zeros_like(SOURCE)
    assert match_colour(grey, SOURCE, torch.ones(1, 33, 32, 48)).abs().max() <= 1
    assert match_colour(SOURCE * 0.01, SOURCE, torch.ones(1, 33, 32, 48)).isfinite().all()


def test_outside_the_mask_not_a_bit_changes():
    mask = torch.zeros(1, 200, 300)
    mask[:, 50:150, 100:250] = 1
    source, edit = torch.rand(2, 3, 200, 300)
    pasted = paste_back(edit, source, mask)
    outside, deep = mask[0] == 0, feather(mask)[0] == 1
    assert torch.equal(pasted[:, outside], source[:, outside])
    torch.testing.assert_close(pasted[:, deep], edit[:, deep])
    assert deep.sum() == (100 - 4) * (150 - 4)  # 1 % of 200 is a ramp of two pixels


def test_the_edge_is_a_ramp_and_thin_parts_keep_a_share():
    mask = torch.zeros(1, 300, 300)
    mask[:, 100:200, 100:200] = 1
    mask[:, 20, :] = 1
    soft = feather(mask)[0]
    torch.testing.assert_close(soft[150, 98:105], torch.tensor([0, 0, 0.25, 0.5, 0.75, 1, 1]))
    assert soft[20, 150] == 0.25
    assert feather(torch.ones(1, 64, 96)).min() == 1, "the border of the picture is no edge"
