"""The table of scores: means by row, no NaN in the file, and a real run of two scenes."""

import json

import pytest

from novakit.editing.pipeline import NovaEditPipeline
from novakit.evaluation.scoring import ROWS, as_markdown, score_scenes, summarise


def record(row, value, edit="add"):
    regions = ("inside", "between", "outside")
    columns = {f"{region}_{metric}": value for region in regions for metric in ("psnr", "ssim")}
    return {"row": row, "scene": 0, "edit": edit, "moving": True, "still_camera": edit == "remove", **columns}


def test_means_by_row_skip_empty_regions_and_choose_by_edit():
    records = [record(row, 20.0) for row in ROWS] + [record(row, float("nan"), "remove") for row in ROWS]
    assert summarise(records)["nova"]["inside_psnr"] == 20.0
    assert summarise(records, edit="add")["source"]["scenes"] == 1
    assert as_markdown(summarise(records)).count("20.00 dB") == 4 * len(ROWS)


def test_pooled_psnr_is_that_of_the_mean_squared_error_so_one_perfect_scene_does_not_carry_a_row():
    table = summarise([record("nova", 20.0), record("nova", 80.0, "remove")])
    assert table["nova"]["outside_psnr"] == 50.0
    assert table["nova"]["outside_pooled"] == pytest.approx(23.01, abs=0.01)  # -10 log10((0.01 + 1e-8) / 2)
    assert summarise([record("nova", 20.0), record("nova", 80.0, "remove")], still_camera=False)["nova"]["scenes"] == 1


@pytest.fixture(scope="module")
def records():
    return score_scenes(NovaEditPipeline.from_preset("nano", device="cpu"), scenes=2, steps=2, progress=False)


def test_every_row_is_scored_on_every_scene(records):
    assert [(r["row"], r["scene"]) for r in records] == [(row, scene) for row in ROWS for scene in range(2)]
    table = summarise(records)
    assert table["source"]["outside_psnr"] == 100.0  # the truth equals the source there
    assert table["round_trip"]["outside_psnr"] > 25
    json.dumps(table, allow_nan=False)


def test_keyframes_are_the_truth_for_interpolation(records):
    row = next(r for r in records if r["row"] == "interpolation")
    assert row["between_psnr"] < row["inside_psnr"]
