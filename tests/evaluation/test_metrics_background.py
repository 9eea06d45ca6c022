"""BG-SSIM: blind to the mask's inside, honest about what is no background; and how the zeroed form flatters."""

import pytest
import torch

from novakit.errors import NovaError
from novakit.evaluation.metrics import background_region, background_ssim, background_ssim_zeroed, ssim_map
from novakit.scenes import render_scenes


@pytest.fixture(scope="module")
def scenes():
    return render_scenes([3, 4], split="val", num_frames=5, edit="replace")


def noise(clip, strength=0.1, seed=0):
    return (clip + strength * torch.randn(clip.shape, generator=torch.Generator().manual_seed(seed))).clamp(-1, 1)


def test_the_region_is_the_complement_of_the_mask_grown_by_a_square(scenes):
    from kornia.morphology import dilation

    frames = scenes.mask[:, :, 2]
    grown = dilation(frames, torch.ones(7, 7), border_type="geodesic")
    assert torch.equal(background_region(scenes.mask, 3)[:, :, 2], 1 - grown)
    assert torch.equal(background_region(scenes.mask, 0), 1 - scenes.mask)


def test_nothing_inside_the_mask_can_change_it(scenes):
    output = noise(scenes.source)
    broken = torch.where(scenes.mask.bool(), -output, output)
    kept = background_ssim(output, scenes.source, scenes.mask)
    assert torch.allclose(background_ssim(broken, scenes.source, scenes.mask), kept, atol=1e-6)
    touched = background_ssim(broken, scenes.source, scenes.mask, dilation=0)  # windows reach into the mask
    assert (touched < background_ssim(output, scenes.source, scenes.mask, dilation=0) - 0.005).all()


def test_the_truth_and_a_copy_keep_the_background_exactly(scenes):
    for output in (scenes.truth, scenes.source):
        assert background_ssim(output, scenes.source, scenes.mask).tolist() == pytest.approx([1.0, 1.0], abs=1e-5)


def test_it_is_the_mean_of_the_map_of_torchmetrics(scenes):
    output = noise(scenes.source)
    outside = background_region(scenes.mask)[1].bool()
    expected = ssim_map(output, scenes.source)[1][outside].mean()
    assert background_ssim(output, scenes.source, scenes.mask)[1] == pytest.approx(expected.item(), abs=1e-5)


def test_the_zeroed_form_rises_with_the_mask_while_the_background_stays_as_bad(scenes):
    output = noise(scenes.source, 0.3)
    honest, zeroed = [], []
    for side in (16, 48, 80):
        mask = torch.zeros_like(scenes.mask)
        mask[..., 2:62, 4 : 4 + side] = 1
        honest.append(background_ssim(output, scenes.source, mask).mean().item())
        zeroed.append(background_ssim_zeroed(output, scenes.source, mask).mean().item())
    assert zeroed[0] < zeroed[1] < zeroed[2] and zeroed[2] - zeroed[0] > 0.3
    assert max(honest) < 0.3 and zeroed[2] > 0.7  # none of it comes from a background that is kept


def test_a_full_mask_has_no_background_and_an_empty_one_has_only_background(scenes):
    output = noise(scenes.source)
    everything, nothing = torch.ones_like(scenes.mask), torch.zeros_like(scenes.mask)
    assert background_ssim(output, scenes.source, everything).isnan().all()
    assert background_ssim_zeroed(output, scenes.source, everything).tolist() == pytest.approx([1.0, 1.0])
    whole = ssim_map(output, scenes.source).flatten(1).mean(dim=1)
    assert background_ssim(output, scenes.source, nothing).tolist() == pytest.approx(whole.tolist(), abs=1e-5)


def test_constant_clips(scenes):
    grey = torch.zeros_like(scenes.source)
    assert background_ssim(grey, grey, scenes.mask).tolist() == pytest.approx([1.0, 1.0])
    assert background_ssim(grey, scenes.source, scenes.mask).max() < 0.7


def test_bad_masks_are_refused(scenes):
    with pytest.raises(NovaError, match=r"\(mask > 0.5\)"):
        background_ssim(scenes.source, scenes.source, 0.5 * scenes.mask)
    with pytest.raises(NovaError, match="mask has shape"):
        background_ssim(scenes.source, scenes.source, scenes.mask[:, :, :3])
    with pytest.raises(NovaError, match="dilation is -1"):
        background_ssim(scenes.source, scenes.source, scenes.mask, dilation=-1)
