"""Which pseudo source a training clip of the nano world gets: drawn patches, or objects with their real outline.

Source: eq. 3 of the paper; the mixture is ours.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from novakit.degradation import (
    CutAndPasteConfig,
    cut_and_paste,
    from_elsewhere,
    other_colours,
    paste_matte,
    widen,
)
from novakit.degradation.draws import check_names
from novakit.scenes import ClipsWithCutOuts

#: How often each kind of pseudo source is drawn, and what it teaches.
MIXTURE = {
    "patches": 0.20,  # one to three drawn patches, or none: the paper's cut-and-paste
    "stranger": 0.20,  # an object cut out of somewhere else: the source has what the edit lacks (remove)
    "placed": 0.20,  # the same where the clip's own object is (replace)
    "recolour": 0.20,  # the clip's own object in other colours (recolour)
    "hide": 0.20,  # the clip's own object hidden behind content from elsewhere (add)
}
PATCHES = CutAndPasteConfig(recolour_prob=0.5, area=(0.01, 0.18))


def draw_pseudo_sources(
    clips: ClipsWithCutOuts, generator: torch.Generator, mixture: Mapping[str, float] = MIXTURE
) -> tuple[Tensor, list[str]]:
    """One pseudo source per clip.

    Args:
        clips: B clips of the nano world with their mattes.
        generator: where every random choice comes from.
        mixture: kind -> how often it is drawn, in any unit.

    Returns:
        Pseudo sources (B, 3, T, H, W) in [-1, 1], and B names out of the mixture.

    Raises:
        NovaError: a kind that does not exist.
    """
    check_names("mixture", list(mixture), tuple(MIXTURE))
    target = clips.clip
    kinds = {
        "patches": cut_and_paste(target, target.roll(1, dims=0), generator, PATCHES).pseudo_source,
        "stranger": paste_matte(target, clips.stranger, clips.stranger_matte),
        "placed": paste_matte(target, clips.placed, clips.placed_matte),
        "recolour": paste_matte(target, other_colours(target, generator), clips.matte),
        "hide": paste_matte(target, from_elsewhere(target, generator), widen(clips.matte, 1)),
    }
    names, weights = list(mixture), torch.tensor(list(mixture.values()))
    drawn = torch.multinomial(weights, len(target), replacement=True, generator=generator).tolist()
    chosen = [names[i] for i in drawn]
    return torch.stack([kinds[name][i] for i, name in enumerate(chosen)]), chosen
