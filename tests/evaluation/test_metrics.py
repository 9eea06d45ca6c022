"""Scores in regions: equal to the plain definitions, and blind to what lies outside the region."""

import pytest
import torch

from novakit.errors import NovaError
from novakit.evaluation.metrics import flicker, region_psnr, region_ssim, ssim_map, trace_of


def clips(seed=0):
    generator = torch.Generator().manual_seed(seed)
    truth = torch.rand(2, 3, 3, 24, 32, generator=generator) * 2 - 1
    region = torch.zeros(2, 1, 3, 24, 32)
    region[..., 4:12, 6:20] = 1
    return truth, region


def test_psnr_of_a_known_error():
    truth, region = clips()
    output = truth + 0.2 * region  # an error of 0.1 in [0, 1] inside: 20 dB
    assert region_psnr(output, truth, region).tolist() == pytest.approx([20.0, 20.0], abs=1e-3)
    assert region_psnr(output, truth, 1 - region).tolist() == pytest.approx([100.0, 100.0])


def test_psnr_of_everything_equals_torchmetrics():
    from torchmetrics.functional.image import peak_signal_noise_ratio

    truth, region = clips()
    output = (truth + 0.1 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(1))).clamp(-1, 1)
    expected = [peak_signal_noise_ratio(output[i], truth[i], data_range=(-1.0, 1.0)).item() for i in range(2)]
    assert region_psnr(output, truth, torch.ones_like(region)).tolist() == pytest.approx(expected, abs=1e-3)


def test_ssim_sees_only_the_region_and_is_not_inflated():
    truth, region = clips()
    far = torch.zeros_like(region)
    far[..., 20:, 28:] = 1  # more than a window away from the damage
    output = torch.where(region.bool(), -truth, truth)
    assert region_ssim(output, truth, far).min() > 0.999
    assert region_ssim(output, truth, region).max() < 0.2
    assert ssim_map(truth, truth).min() > 0.999


def test_empty_region_is_nan_and_bad_shapes_are_refused():
    truth, region = clips()
    assert region_psnr(truth, truth, 0 * region).isnan().all()
    with pytest.raises(NovaError, match="do not fit"):
        region_ssim(truth, truth[:, :, :2], region)


def test_trace_is_the_share_of_the_other_clip():
    truth, region = clips()
    source = torch.where(region.bool(), -truth, truth)
    noise = 0.01 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(1))
    output = truth + 0.3 * (source - truth) + noise
    assert trace_of(source, output, truth, region).tolist() == pytest.approx([0.3, 0.3], abs=0.02)
    assert trace_of(source, source, truth, region).tolist() == pytest.approx([1.0, 1.0])
    assert trace_of(source, truth, truth, region).tolist() == [0.0, 0.0]
    assert trace_of(source, output, truth, 1 - region).isnan().all()  # the source equals the truth there


def test_flicker_is_one_for_the_truth_and_grows_with_noise():
    truth, region = clips()
    smooth = truth[:, :, :1] + torch.linspace(0, 0.1, 3)[:, None, None]  # a clip that only brightens
    noise = 0.2 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(1))
    assert flicker(smooth, smooth, region).tolist() == pytest.approx([1.0, 1.0])
    assert flicker(smooth + noise, smooth, region).min() > 2
    assert flicker(smooth, truth * 0, region).isnan().all()
