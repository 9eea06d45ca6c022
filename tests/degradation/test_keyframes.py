"""Anchored control (eq. 2): what may change, what may not, and two roads to the same interpolation."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from novakit.degradation import (
    OPERATIONS,
    AnchoredControlConfig,
    anchored_control,
    augment,
    interpolate_keyframes,
    sample_keyframe_indices,
)
from novakit.errors import NovaError

INDICES = [1, 3, 7]
ALWAYS = AnchoredControlConfig(clean_clip_prob=0.0, clean_keyframe_prob=0.0, strength=(0.6, 1.0))


def assert_only_regions_changed(result, target):
    """The fact of eq. 2: outside b_k a keyframe is the target's own frame, inside it is not."""
    outside = (result.regions == 0).expand_as(result.keyframes)
    truth = target[:, :, list(result.indices)]
    assert torch.equal(result.keyframes[outside], truth[outside])
    assert (result.keyframes != truth)[~outside].float().mean() > 0.5


def test_outside_the_regions_keyframes_are_the_target(target, generator):
    result = anchored_control(target, INDICES, generator, ALWAYS)
    assert_only_regions_changed(result, target)
    assert torch.equal(result.clean_keyframes, target[:, :, INDICES])
    assert result.control.shape == target.shape
    assert result.control.abs().max() <= 1


def test_swapped_masks_are_caught(target, generator):
    result = anchored_control(target, INDICES, generator, ALWAYS)
    with pytest.raises(AssertionError):
        assert_only_regions_changed(replace(result, regions=1 - result.regions), target)


def test_control_holds_the_degraded_keyframes(target, generator):
    result = anchored_control(target, INDICES, generator)
    assert torch.equal(result.control[:, :, INDICES], result.keyframes)
    again = interpolate_keyframes(result.keyframes, INDICES, target.shape[2])
    assert torch.equal(result.control, again)


def test_interpolation_agrees_with_a_naive_loop(target):
    keyframes = target[:, :, INDICES]
    fast = interpolate_keyframes(keyframes, INDICES, 9)
    for t in range(9):
        if t <= INDICES[0]:
            expected = keyframes[:, :, 0]  # nearest before the first
        elif t >= INDICES[-1]:
            expected = keyframes[:, :, -1]  # nearest after the last
        else:
            right = [i for i in range(3) if INDICES[i] > t][0]
            gap = INDICES[right] - INDICES[right - 1]
            share = (t - INDICES[right - 1]) / gap
            expected = keyframes[:, :, right - 1] * (1 - share) + keyframes[:, :, right] * share
        torch.testing.assert_close(fast[:, :, t], expected)
    assert torch.equal(fast[:, :, INDICES], keyframes)


def test_interpolation_of_a_linear_clip_gives_it_back():
    ramp = torch.linspace(-1, 1, 17).view(1, 1, 17, 1, 1).expand(2, 3, 17, 4, 4)
    torch.testing.assert_close(interpolate_keyframes(ramp[:, :, [0, 5, 16]], [0, 5, 16], 17), ramp)


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_changes_pixels_and_more_so_when_stronger(name, target):
    images = (target[:, :, 0] + 1) / 2
    change = []
    for strength in (0.05, 1.0):
        runs = [
            augment(images, name, torch.full((3,), strength), torch.Generator().manual_seed(seed)).images
            for seed in range(4)
        ]
        assert all(run.shape == images.shape and run.min() >= 0 and run.max() <= 1 for run in runs)
        change.append(sum((run - images).abs().mean().item() for run in runs) / 4)
    assert change[1] > 0.01
    assert change[1] > 1.5 * change[0] > 0


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_choice_is_reported(name, target, generator):
    config = replace(ALWAYS, ops=(name,), second_op_prob=0.0)
    result = anchored_control(target, INDICES, generator, config)
    places = {(choice.clip, choice.keyframe, choice.frame) for choice in result.choices}
    assert places == {(b, k, INDICES[k]) for b in range(3) for k in range(3)}
    assert all(choice.op == name and 0.6 <= choice.strength <= 1 for choice in result.choices)
    assert all(name in str(choice) and choice.parameters for choice in result.choices)


def test_keyframes_without_a_choice_are_clean(target, generator):
    config = AnchoredControlConfig(clean_keyframe_prob=0.5)
    result = anchored_control(target, INDICES, generator, config)
    touched = {(choice.clip, choice.keyframe) for choice in result.choices}
    assert 0 < len(touched) < 9
    for clip in range(3):
        for k in range(3):
            same = torch.equal(result.keyframes[clip, :, k], result.clean_keyframes[clip, :, k])
            assert same == ((clip, k) not in touched)


def test_clean_clips_only(target, generator):
    result = anchored_control(target, INDICES, generator, AnchoredControlConfig(clean_clip_prob=1.0))
    assert torch.equal(result.keyframes, result.clean_keyframes) and result.choices == ()


def test_same_seed_same_result_and_global_random_state_is_untouched(target):
    before = torch.get_rng_state()
    runs = [anchored_control(target, INDICES, torch.Generator().manual_seed(seed), ALWAYS) for seed in (3, 3, 4)]
    assert torch.equal(runs[0].control, runs[1].control) and runs[0].choices == runs[1].choices
    assert not torch.equal(runs[0].control, runs[2].control)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_keep_their_type(target, generator, dtype):
    result = anchored_control(target.to(dtype), INDICES, generator, ALWAYS)
    assert result.control.dtype == result.regions.dtype == dtype
    assert_only_regions_changed(result, target.to(dtype))


def test_keyframe_sampling(generator):
    assert sample_keyframe_indices(33, 8, generator) == [0, 8, 16, 24, 32]
    assert sample_keyframe_indices(81, 10, generator) == list(range(0, 81, 10))
    assert sample_keyframe_indices(1, 8, generator) == [0]
    seen = set()
    for _ in range(50):
        regular = sample_keyframe_indices(33, (4, 12), generator)
        irregular = sample_keyframe_indices(33, (4, 12), generator, irregular=True)
        late = sample_keyframe_indices(33, (4, 12), generator, include_first=False)
        gaps = {later - earlier for earlier, later in zip(regular, regular[1:])}
        assert len(gaps) == 1 and regular[0] == irregular[0] == 0 and 0 < late[0] <= 12
        assert all(4 <= later - earlier <= 12 for earlier, later in zip(irregular, irregular[1:]))
        assert irregular[-1] > 33 - 1 - 12
        seen |= gaps
    assert seen == set(range(4, 13))


def test_bad_input_says_what_to_do(target, generator):
    with pytest.raises(NovaError, match="sharpen.*blur, affine, colour"):
        AnchoredControlConfig(ops=("sharpen",))
    with pytest.raises(NovaError, match="sharpen.*blur"):
        augment(target[:, :, 0], "sharpen", torch.ones(3), generator)
    with pytest.raises(NovaError, match=r"clip\[None\]"):
        anchored_control(target[0], [0], generator)
    with pytest.raises(NovaError, match="RGB"):
        anchored_control(target[:, :2], [0], generator)
    with pytest.raises(NovaError, match="float"):
        anchored_control(target.to(torch.uint8), [0], generator)
    with pytest.raises(NovaError, match="torch.Generator"):
        anchored_control(target, [0], 7)
    with pytest.raises(NovaError, match="from 0 to 8"):
        anchored_control(target, [0, 9], generator)
    with pytest.raises(NovaError, match="repeat"):
        anchored_control(target, [0, 4, 4], generator)
    with pytest.raises(NovaError, match="at least one"):
        anchored_control(target, [], generator)
    with pytest.raises(NovaError, match="one picture for each index"):
        interpolate_keyframes(target, [0, 4], 9)
    with pytest.raises(NovaError, match="interval"):
        sample_keyframe_indices(33, 0, generator)
    with pytest.raises(NovaError, match="interval"):
        sample_keyframe_indices(33, (8, 4), generator)


@pytest.mark.gpu
def test_a_cpu_generator_gives_the_same_choices_on_cuda(target):
    runs = [
        anchored_control(target.to(device), INDICES, torch.Generator().manual_seed(1), ALWAYS)
        for device in ("cpu", "cuda")
    ]
    assert runs[0].choices == runs[1].choices and runs[1].control.is_cuda
    assert (runs[0].control - runs[1].control.cpu()).abs().mean() < 1e-3
