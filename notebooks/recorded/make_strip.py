"""The picture at the top of the README, made by the kit: `python notebooks/recorded/make_strip.py`."""

import torch

from novakit.degradation import interpolate_keyframes
from novakit.editing.pipeline import NovaEditPipeline
from novakit.paths import data_samples, recorded
from novakit.show import save_strip
from novakit.video import read_clip, read_keyframes

folder = data_samples() / "red_coat_to_blue"
source = read_clip(folder / "source.mp4").frames
keyframes = read_keyframes(folder / "keyframes", 33, (64, 96))
noise = torch.Generator().manual_seed(0)
edit = NovaEditPipeline.from_preset("nano", device="cpu")(source, keyframes, generator=noise).frames
only_keyframes = interpolate_keyframes(source[:, :, [0]] * 0 - 1, [0], 33)
for index, frame in keyframes.items():
    only_keyframes[:, :, index] = frame
save_strip(recorded() / "strip.png", {"source": source, "keyframes": only_keyframes, "edit": edit}, frames=9)
