"""The mixture of pseudo sources: every kind changes what it says, and only that."""

import pytest
import torch

from novakit.errors import NovaError
from novakit.scenes import render_cut_outs
from novakit.training.pseudo_sources import MIXTURE, draw_pseudo_sources


@pytest.fixture(scope="module")
def clips():
    return render_cut_outs(range(8), size=(32, 48), num_frames=9)


def drawn(clips, kind):
    return draw_pseudo_sources(clips, torch.Generator().manual_seed(0), {kind: 1.0})[0]


@pytest.mark.parametrize(
    ("kind", "matte"), [("stranger", "stranger_matte"), ("placed", "placed_matte"), ("recolour", "matte")]
)
def test_only_the_matte_changes(clips, kind, matte):
    source, where = drawn(clips, kind), getattr(clips, matte)
    difference = (source - clips.clip).abs().amax(1, keepdim=True)
    assert difference[where == 0].max() == 0
    assert difference[where > 0.9].mean() > 0.1


def test_hiding_covers_the_whole_object(clips):
    changed = (drawn(clips, "hide") - clips.clip).abs().amax(1, keepdim=True) > 0.01
    assert changed[clips.matte > 0.5].float().mean() > 0.8


def test_every_kind_is_drawn_about_as_often_as_it_should(clips):
    generator, names = torch.Generator().manual_seed(0), []
    for _ in range(40):
        names += draw_pseudo_sources(clips, generator)[1]
    assert abs(sum(MIXTURE.values()) - 1) < 1e-9
    for kind, share in MIXTURE.items():
        assert abs(names.count(kind) / len(names) - share) < 0.08


def test_an_unknown_kind_is_refused(clips):
    with pytest.raises(NovaError, match="mixture.*patches"):
        draw_pseudo_sources(clips, torch.Generator(), {"sticker": 1.0})
