"""Source fidelity with mattes: eq. 3 holds, nothing outside the matte changes, other colours are clearly other."""

import pytest
import torch

from novakit.degradation import from_elsewhere, other_colours, paste_matte, widen
from novakit.errors import NovaError


@pytest.fixture
def clips():
    return torch.rand(3, 3, 5, 24, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1


def square(clips, soft=1.0):
    matte = torch.zeros_like(clips[:, :1])
    matte[..., 8:14, 10:20] = soft
    return matte


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("soft", [1.0, 0.3])
def test_equation_3_with_a_soft_mask(clips, soft):
    matte, content = square(clips, soft), clips.flip(0)
    result = paste_matte(clips, content, matte)
    torch.testing.assert_close(result, matte * content + (1 - matte) * clips)
    assert torch.equal(result[(matte == 0).expand_as(clips)], clips[(matte == 0).expand_as(clips)])


def test_shapes_that_do_not_fit_are_refused(clips):
    with pytest.raises(NovaError, match=r"content is .*matte .*wants"):
        paste_matte(clips, clips[:, :, :4], square(clips))
    with pytest.raises(NovaError, match="matte"):
        paste_matte(clips, clips, square(clips)[:1])


def test_widen_grows_by_the_pixels_and_keeps_what_was_there(clips):
    matte = square(clips)
    grown = widen(matte, 2)
    assert grown[0, 0, 0].sum() == (6 + 4) * (10 + 4)
    assert (grown >= matte).all() and torch.equal(widen(matte, 0), matte)


def test_other_colours_are_clearly_other_and_keep_the_structure(clips):
    changed = other_colours(clips, seeded())
    assert changed.min() >= -1 and changed.max() <= 1
    assert ((changed - clips).abs().flatten(1).mean(1) > 0.15).all()
    grey = clips.mean(1, keepdim=True).expand_as(clips)
    recoloured = other_colours(grey, seeded())  # of a grey clip, every channel stays a rising function of the luma
    order = grey[:, 0].flatten(1).argsort(1)
    rising = recoloured.flatten(2).gather(2, order[:, None].expand(-1, 3, -1)).diff(dim=2)
    assert rising.min() > -1e-5


def test_content_from_elsewhere_is_the_clips_own_moved_by_a_quarter_or_more(clips):
    moved = from_elsewhere(clips, seeded())
    assert torch.equal(moved.flatten(1).sort(1).values, clips.flatten(1).sort(1).values)
    assert (moved - clips).abs().mean() > 0.3


@pytest.mark.parametrize("make", [other_colours, from_elsewhere])
def test_the_generator_decides(clips, make):
    assert torch.equal(make(clips, seeded(1)), make(clips, seeded(1)))
    assert not torch.equal(make(clips, seeded(1)), make(clips, seeded(2)))
    with pytest.raises(NovaError, match=r"torch\.Generator"):
        make(clips, 0)
