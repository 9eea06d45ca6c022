"""The small players of ``show_clips``: mp4 inside the HTML, so that a notebook needs no other file.
Source: ours."""

from __future__ import annotations

import base64
import html
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch

from novakit.errors import NovaNotice
from novakit.show_drawing import title_colour
from novakit.video.encode import write_clip
from novakit.video.geometry import resize

PLAYER_BYTES = 14_000
"""A player is encoded more coarsely until its mp4 is below this (19 kB as base64 text)."""
_WIDTH = 192  # pixels, at least
_WIDEST = 384


def players_html(pictures: dict[str, np.ndarray], fps: float) -> str:
    """Players side by side, looping, each under its coloured title.

    Args:
        pictures: {title: uint8 (T, H, W, 3)}; clips of one frame have no player.
        fps: frames per second.
    """
    moving = {title: clip for title, clip in pictures.items() if len(clip) > 1}
    players = "".join(_player(title, clip, fps) for title, clip in moving.items())
    return f'<div style="display:flex;flex-wrap:wrap;gap:8px">{players}</div>'


def _player(title: str, pictures: np.ndarray, fps: float) -> str:
    clip = _at_player_size(pictures)
    data = base64.b64encode(small_mp4(clip, fps)).decode()
    caption = f'<figcaption style="color:{title_colour(title)};font-weight:bold">{html.escape(title)}</figcaption>'
    video = (
        f'<video width="{clip.shape[-1]}" controls loop muted autoplay playsinline '
        f'src="data:video/mp4;base64,{data}"></video>'
    )
    return f'<figure style="margin:0">{caption}{video}</figure>'


def _at_player_size(pictures: np.ndarray) -> torch.Tensor:
    """(1, 3, T, H', W') in [-1, 1]: small clips enlarged pixel by pixel, large ones shrunk."""
    clip = torch.from_numpy(pictures).permute(3, 0, 1, 2)[None]  # (1, 3, T, H, W)
    height, width = clip.shape[-2:]
    if width > _WIDEST:
        clip = resize(clip.float(), (max(2, round(height * _WIDEST / width)), _WIDEST))
    factor = -(-_WIDTH // width)
    clip = clip.repeat_interleave(factor, -1).repeat_interleave(factor, -2)
    return clip.float() / 127.5 - 1.0


def small_mp4(clip: torch.Tensor, fps: float) -> bytes:
    """H.264 mp4 bytes of a clip (1, 3, T, H, W), coarser and coarser until they are at most PLAYER_BYTES."""
    data = b""
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", NovaNotice)  # a row more does not matter here
        for crf in (24, 29, 34, 39, 45):
            data = write_clip(Path(folder) / "player.mp4", clip, fps, crf=crf).read_bytes()
            if len(data) <= PLAYER_BYTES:
                break
    return data
