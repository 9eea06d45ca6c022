"""Figures, players and fingerprints: right frames, small outputs, nothing left open."""

import base64
import io
import re
import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from PIL import Image

from novakit.errors import NovaError
from novakit.show import (
    FIGURE_BYTES,
    _as_pictures,
    fingerprint,
    save_strip,
    show_clips,
    show_figure,
    show_pictures,
    to_image,
)
from novakit.show_drawing import TITLE_COLOURS, draw_strips, small_png, title_colour
from novakit.show_player import PLAYER_BYTES, players_html
from novakit.video import read_clip


def _clip(frames=33, size=(64, 96), seed=0) -> torch.Tensor:
    """A textured picture that moves to the right by one pixel per frame, (1, 3, T, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, size[0] // 8, size[1] // 8, generator=generator)
    picture = torch.nn.functional.interpolate(coarse, size=size, mode="bicubic").clamp(0, 1) * 1.8 - 0.9
    return torch.stack([picture.roll(t, -1) for t in range(frames)], 2)


def test_fingerprint_format_and_numbers():
    clip = torch.zeros(1, 3, 3, 4, 4)
    clip[:, :, 1] = 0.5
    assert fingerprint(clip) == "shape 1x3x3x4x4 float32 range [0.00, 0.50] mean 0.167 change 0.5000"
    assert fingerprint(clip[0]).startswith("shape 3x3x4x4 ") and fingerprint(clip[0]).endswith("change 0.5000")
    assert fingerprint(clip.bfloat16()).split(" range")[0] == "shape 1x3x3x4x4 bfloat16"
    assert "-0.00" not in fingerprint(-1e-6 * torch.ones(1, 3, 2, 4, 4))
    clip[0, 0, 0, 0, 0] = float("nan")
    assert fingerprint(clip) == "shape 1x3x3x4x4 float32 NOT FINITE"
    assert fingerprint(torch.zeros(1, 3, 0, 4, 4)).endswith("EMPTY")


def test_fingerprint_ignores_rounding_and_sees_change():
    """Noise of the size by which machines differ does not show; one object moving does."""
    clip = _clip()
    assert fingerprint(clip + 1e-6 * torch.randn(clip.shape)) == fingerprint(clip)
    moved = clip.clone()
    moved[:, :, 10:20, 10:30, 10:30] = 0.9
    assert fingerprint(moved) != fingerprint(clip)


def test_show_prints_and_returns_a_figure_without_ipython(capsys):
    before = plt.get_fignums()
    clip, mask = _clip(), torch.ones(1, 33, 64, 96)
    figure = show_clips({"source": clip, "edit": clip[0], "mask": mask, "one frame": clip[0, :, 0]})
    assert capsys.readouterr().out.splitlines() == [
        f"source: {fingerprint(clip)}",
        f"edit: {fingerprint(clip[0])}",
        f"mask: {fingerprint(mask)}",
        f"one frame: {fingerprint(clip[0, :, 0])}",
    ]
    assert len(figure.axes) == 3 * (6 + 1) + 1, "six frames and one slice each; a still has one picture"
    assert plt.get_fignums() == before, "pyplot holds no figure"


def test_strip_and_slice_hold_the_right_pixels():
    pictures = _as_pictures({"source": _clip()})
    figure = draw_strips(pictures, frames=5, row=0.25)
    shown = [axes.images[0].get_array() for axes in figure.axes]
    for picture, t in zip(shown, (0, 8, 16, 24, 32)):
        assert (picture == pictures["source"][t]).all()
    assert (shown[5] == pictures["source"][:, 16]).all(), "rows of the slice are moments"
    assert not any(axes.axison for axes in figure.axes)


@pytest.mark.parametrize(
    ("title", "word"),
    [
        ("source", "source"),
        ("NOVA edit", "edit"),
        ("edited keyframes", "keyframe"),
        ("keyframe 8", "keyframe"),
        ("Control sequence", "control"),
        ("mask of the edit", "mask"),
        ("truth", "truth"),
    ],
)
def test_titles_have_fixed_colours(title, word):
    assert title_colour(title) == TITLE_COLOURS[word]
    assert title_colour("credit resource") not in TITLE_COLOURS.values()
    assert len(set(TITLE_COLOURS.values())) == 6


@pytest.mark.parametrize("size", [(64, 96), (96, 64), (80, 80), (480, 832)])
def test_outputs_are_small_and_texts_stay_inside(size):
    clip = _clip(17, size)
    noisy = clip + 0.2 * torch.randn(clip.shape)
    figure = draw_strips(_as_pictures({"source": clip, "edit": noisy, "truth": clip}), 6, 0.5)
    data = small_png(figure, FIGURE_BYTES)
    assert len(data) <= FIGURE_BYTES and Image.open(io.BytesIO(data)).width > 300
    width, height = figure.canvas.get_width_height()
    for text in figure.texts:
        box = text.get_window_extent(figure.canvas.get_renderer())
        assert box.x0 >= -1 and box.x1 <= width + 1 and box.y0 >= -1 and box.y1 <= height + 1, text.get_text()


def test_players_play(tmp_path):
    clip = _clip()
    page = players_html(_as_pictures({"source": clip, "<b>edit</b>": clip, "still": clip[:, :, :1]}), 8)
    assert page.count("<video") == 2 and "<b>" not in page and TITLE_COLOURS["source"] in page
    for number, data in enumerate(re.findall(r"base64,([^\"]+)", page)):
        assert len(data) < 20_000 and len(base64.b64decode(data)) <= PLAYER_BYTES
        file = tmp_path / f"{number}.mp4"
        file.write_bytes(base64.b64decode(data))
        back = read_clip(file)
        assert back.info.size == (128, 192) and back.num_frames == 33 and back.info.fps == 8
        assert (back.frames[..., ::2, ::2] - clip).abs().mean() < 0.15


def test_in_a_notebook_everything_is_displayed(monkeypatch):
    shown = []
    monkeypatch.setattr("novakit.show._in_notebook", lambda: True)
    monkeypatch.setattr("IPython.display.display", shown.append)
    assert show_clips({"source": _clip(5)}) is None
    assert [type(thing).__name__ for thing in shown] == ["Image", "HTML"]
    shown.clear()
    show_clips({"source": _clip(5)}, player=False)
    assert [type(thing).__name__ for thing in shown] == ["Image"]


def test_a_table_holds_the_right_pictures_names_and_titles():
    clip, mask = _clip(3)[0], torch.ones(1, 64, 96)
    figure = show_pictures({"source": [clip[:, 0], clip[:, 1]], "mask": [mask]}, ["frame 0", "frame 1"], width=1.0)
    above, below = np.array(figure.axes).reshape(2, 2)
    for axis, picture in zip((*above, below[0]), (clip[:, 0], clip[:, 1], mask)):
        assert (np.asarray(axis.images[0].get_array())[..., :3] == np.asarray(to_image(picture).convert("RGB"))).all()
    assert not below[1].images and not below[1].get_frame_on(), "a short row ends with nothing, not with an empty box"
    assert [axis.get_title() for axis in figure.axes] == ["frame 0", "frame 1", "", ""]
    assert below[0].get_ylabel() == "mask" and below[0].yaxis.label.get_color() == TITLE_COLOURS["mask"]
    titles = show_pictures({"a": [mask], "b": [mask]}, ["of a", "of b"])
    assert [axis.get_title() for axis in titles.axes] == ["of a", "of b"], "titles go on in the next row"


def test_a_figure_is_displayed_once_in_few_bytes_and_pyplot_forgets_it(monkeypatch):
    shown, before = [], plt.get_fignums()
    monkeypatch.setattr("novakit.show._in_notebook", lambda: True)
    monkeypatch.setattr("IPython.display.display", shown.append)
    monkeypatch.setattr("novakit.show.FIGURE_BYTES", 9_000)
    figure, axis = plt.subplots(figsize=(4, 3))
    axis.imshow(np.random.default_rng(0).random((64, 96, 3)))
    assert show_figure(figure) is None and plt.get_fignums() == before
    assert show_pictures({"source": [_clip(1)[0, :, 0]]}, ["frame 0"]) is None
    assert len(shown) == 2 and all(len(image.data) <= 9_000 for image in shown)


def test_a_small_palette_keeps_rare_colours():
    """A red coat in a brown street: few pixels, far from all others; the most frequent colours alone would lose it."""
    brown = np.random.default_rng(0).integers(60, 120, (64, 96, 1)) + np.array([20, 0, -20])
    brown[30:32, 40:42] = (230, 20, 30)
    figure = show_pictures({"": [torch.from_numpy(brown / 127.5 - 1).permute(2, 0, 1).float()]}, [""], width=96 / 72)
    image = Image.open(io.BytesIO(small_png(figure, FIGURE_BYTES, 72, 16))).convert("RGB")
    red = np.abs(np.asarray(image).astype(int) - (230, 20, 30)).max(-1)
    assert red.min() < 40 and len(image.getcolors()) <= 17


def test_to_image_and_save_strip(tmp_path):
    frame = torch.zeros(3, 4, 6)
    frame[0] = 1
    assert to_image(frame).getpixel((0, 0)) == (255, 128, 128) and to_image(frame).size == (6, 4)
    assert to_image(torch.ones(4, 6)).getpixel((0, 0)) == to_image(torch.ones(1, 4, 6)).getpixel((5, 3)) == (255,) * 3
    picture = Image.open(save_strip(tmp_path / "strip.png", {"source": _clip(), "edit": _clip(seed=1)}))
    assert picture.width > 800 and np.asarray(picture.convert("RGB"))[0, 0].tolist() == [255, 255, 255]
    with pytest.raises(NovaError, match="frame has shape"):
        to_image(torch.zeros(2, 3, 4, 5))


def test_refusals():
    with pytest.raises(NovaError, match="no clips"):
        show_clips({})
    for clip in (torch.zeros(2, 3, 5, 8, 8), torch.zeros(1, 48, 9, 8, 12), torch.zeros(8, 8)):
        with pytest.raises(NovaError, match="'source' has shape"):
            show_clips({"source": clip})

    for rows in ({}, {"source": []}):
        with pytest.raises(NovaError, match="no pictures"):
            show_pictures(rows, ["frame 0"])
    with pytest.raises(NovaError, match="frame has shape"):
        show_pictures({"source": [torch.zeros(2, 8, 8)]}, ["frame 0"])


def test_values_that_are_not_finite_are_shown_grey_and_told(capsys):
    clip = torch.full((1, 3, 5, 8, 8), float("nan"))
    show_clips({"edit": clip})
    assert capsys.readouterr().out == "edit: shape 1x3x5x8x8 float32 NOT FINITE\n"


def test_matplotlib_is_loaded_only_when_something_is_drawn():
    code = "import sys, novakit.show; sys.exit('matplotlib' in sys.modules or 'av' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
