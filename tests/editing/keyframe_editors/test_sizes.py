"""From a frame to a model's size and back: nothing thin is lost, nothing outside the mask changes."""

import pytest
import torch
from tiny_editors import box_mask, photograph, to_tensor
from torch.nn.functional import adaptive_avg_pool2d, pad

from novakit.editing.keyframe_editors.sizes import bring_back, cover, feathered, keep_unmasked, to_picture
from novakit.video.geometry import resize


def test_a_picture_is_the_frame_to_a_step_of_8_bits():
    frame = photograph("coffee", (77, 101))
    assert (to_tensor(to_picture(frame, (77, 101))) - frame).abs().max() <= 1.01 / 255
    assert to_picture(frame, (48, 64)).size == (64, 48)


@pytest.mark.parametrize("size", [(64, 96), (752, 1392), (32, 32), (1104, 944)])
def test_a_thin_mask_survives_every_size(size):
    mask = torch.zeros(1, 77, 101)
    mask[0, 40, 3], mask[0, :, 70] = 1, 1
    cells = cover(mask, size, cell=16)
    assert cells.shape == (1, *size) and set(cells.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(cells[:, ::16, ::16], cells[:, 15::16, 15::16])  # whole cells
    touched = adaptive_avg_pool2d(mask, size) > 0
    assert (cells[touched] == 1).all()
    assert cells.mean() < 0.8  # and not everything


def test_the_seam_lies_inside_the_mask():
    mask = box_mask((200, 300))
    share = feathered(mask)
    assert (share[mask == 0] == 0).all() and (share[mask == 1] > 0).all()
    assert share[0, 100, 60:64].tolist() == pytest.approx([1 / 3, 2 / 3, 1, 1])  # 1 % of 200 pixels
    assert share.max() == 1


def test_a_thin_mask_is_not_faded_away_and_the_rim_of_the_frame_is_no_seam():
    line = torch.zeros(1, 200, 300)
    line[0, 50] = 1
    assert torch.equal(feathered(line), line)
    for mask in (torch.ones(1, 20, 30), torch.zeros(1, 20, 30)):
        assert torch.equal(feathered(mask), mask)
    half = torch.zeros(1, 200, 300)
    half[..., :150] = 1
    assert feathered(half)[0, :, :140].min() == 1


def test_outside_the_mask_is_the_frame_bit_for_bit():
    frame, mask = photograph("chelsea", (77, 101)), box_mask((77, 101))
    kept = keep_unmasked(torch.full_like(frame, torch.nan), frame, mask)
    assert torch.equal(kept[:, mask[0] == 0], frame[:, mask[0] == 0]) and kept[:, mask[0] == 1].isnan().all()
    assert torch.equal(keep_unmasked(-frame, frame, None), -frame)


@pytest.mark.parametrize("model_size", [(64, 96), (240, 320)])
def test_the_frame_itself_comes_back(model_size):
    """Down to the model and back only sharpness is lost, in any odd size and with no shift."""
    frame = photograph("astronaut", (117, 155))
    edited, found = bring_back(resize(frame, model_size), frame)
    assert edited.shape == frame.shape and found.measured and found.corner((117, 155)) < 0.3
    assert (edited - frame).abs().mean() < 0.08  # the photograph's grain


@pytest.mark.parametrize("frame_size, model_size", [((117, 155), (240, 320)), ((240, 320), (117, 155))])
def test_a_slip_of_the_model_is_undone_in_the_pixels_of_the_frame(frame_size, model_size):
    frame, mask = photograph("coffee", frame_size), box_mask(frame_size)
    slipped = pad(resize(frame, model_size), (6, 0, 4, 0), mode="replicate")[:, : model_size[0], : model_size[1]]
    edited, found = bring_back(slipped, frame, None)
    scale = [own / other for own, other in zip(frame_size, model_size)]
    assert found.shift == pytest.approx((4 * scale[0], 6 * scale[1]), abs=0.15) and abs(found.zoom - 1) < 0.003
    assert (edited - frame)[:, 10:-10, 10:-10].abs().mean() < 0.06 < (resize(slipped, frame_size) - frame).abs().mean()
    pasted, _ = bring_back(slipped, frame, mask)
    assert torch.equal(pasted[:, mask[0] == 0], frame[:, mask[0] == 0])
