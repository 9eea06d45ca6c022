"""Write the ten data samples: `python data_samples/make.py [FOLDER]`.

Each sample is a folder with source.mp4, mask.mp4, keyframes/000.png, 008.png, ... (edited) and truth.mp4, rendered from
the test split of the nano world, which no training ever sees. SHA-256 sums go to SHA256SUMS.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image

from novakit.files import atomic_write_text, sha256
from novakit.presets import get_preset
from novakit.scenes import render_scenes
from novakit.show import to_image
from novakit.video import write_clip

FPS = 8
# name: (seed of the test split, kind of edit, with the walker)
SAMPLES = {
    "red_coat_to_blue": (2005, "recolour", True),
    "walker_recolour": (5187, "recolour", True),
    "recolour_1": (102, "recolour", False),
    "recolour_2": (112, "recolour", False),
    "replace_1": (103, "replace", False),
    "replace_2": (125, "replace", False),
    "remove_1": (106, "remove", False),
    "add_1": (111, "add", False),
    "restyle_1": (104, "restyle", False),
    "restyle_2": (118, "restyle", False),
}


def write_sample(folder: Path, seed: int, edit: str, walker: bool) -> None:
    """Render one scene into `folder`."""
    scene = render_scenes([seed], split="test", edit=edit, walker=walker)
    (folder / "keyframes").mkdir(parents=True, exist_ok=True)
    # crf 6: about 35 dB, which is what 4:2:0 colour leaves of edges one pixel wide; scores use rendered tensors.
    write_clip(folder / "source.mp4", scene.source, FPS, crf=6)
    write_clip(folder / "truth.mp4", scene.truth, FPS, crf=6)
    write_clip(folder / "mask.mp4", scene.mask[0], FPS, crf=6)
    for index in range(0, scene.truth.shape[2], get_preset("nano").interval):
        image: Image.Image = to_image(scene.truth[0, :, index])
        image.save(folder / "keyframes" / f"{index:03d}.png")


def main(root: Path) -> None:
    """Write all samples and their sums."""
    for name, (seed, edit, walker) in SAMPLES.items():
        write_sample(root / name, seed, edit, walker)
    files = sorted(path for name in SAMPLES for path in (root / name).rglob("*") if path.is_file())
    atomic_write_text(
        root / "SHA256SUMS",
        "".join(f"{sha256(path)}  {path.relative_to(root).as_posix()}\n" for path in files),
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
