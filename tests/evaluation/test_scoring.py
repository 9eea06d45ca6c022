"""The table of scores: means by row, no NaN in the file, and a real run of two scenes."""

import json

import pytest
import torch

from novakit.editing.pipeline import NovaEditPipeline
from novakit.evaluation.score_report import (
    as_markdown,
    chosen_scenes,
    contact_sheet,
    make_report,
    report_markdown,
    summarise,
)
from novakit.evaluation.scoring import ROWS, edited_clips, held_out_scenes, score_scenes


def record(row, value, edit="add", scene=0):
    regions = ("inside", "between", "outside")
    columns = {f"{region}_{metric}": value for region in regions for metric in ("psnr", "ssim")}
    columns |= dict.fromkeys(("ghost", "double", "flicker"), value)
    about = {"row": row, "scene": scene, "edit": edit, "interval": 8}
    return {**about, "moving": True, "still_camera": edit == "remove", **columns}


def test_means_by_row_skip_empty_regions_and_choose_by_edit():
    records = [record(row, 20.0) for row in ROWS] + [record(row, float("nan"), "remove") for row in ROWS]
    assert summarise(records)["nova"]["inside_psnr"] == 20.0
    assert summarise(records, edit="add")["source"]["scenes"] == 1
    assert as_markdown(summarise(records)).count("20.00") == 9 * len(ROWS)


def test_a_scene_without_a_value_is_a_dash_in_the_table_and_null_in_the_file():
    table = summarise([record("nova", float("nan"))])
    assert table["nova"]["inside_psnr"] is None
    assert as_markdown(table).count("–") == 9
    json.dumps(table, allow_nan=False)


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


def test_who_is_told_the_truth_gets_it_as_keyframes_and_only_nova_reads_the_source(monkeypatch):
    asked, call = [], NovaEditPipeline.__call__

    def noted(pipe, source, keyframes, **options):
        asked.append(([sorted(given) for given in keyframes], options["dense_scale"]))
        assert all(torch.equal(given[3], scene.truth[0, :, 3]) for given in keyframes if 3 in given)
        return call(pipe, source, keyframes, **options)

    monkeypatch.setattr(NovaEditPipeline, "__call__", noted)
    scene, every = held_out_scenes([1]), list(range(33))
    pipe = NovaEditPipeline.from_preset("nano", device="cpu")
    rows = edited_clips(pipe, scene, [0, 16, 32], 1, 0, rows=("nova", "nova_told", "base_told"))
    assert asked == [([[0, 16, 32]], 1.0), ([every], 1.0), ([every], 0.0)]
    assert not torch.equal(rows["nova_told"], rows["base_told"])


def test_keyframes_are_the_truth_for_interpolation(records):
    row = next(r for r in records if r["row"] == "interpolation")
    assert row["between_psnr"] < row["inside_psnr"]


@pytest.mark.parametrize("still", [True, False])
def test_report_of_any_mix_of_scenes(still):
    edit = "remove" if still else "add"
    rows = [record(row, 20.0 + scene, edit, scene) for row in ROWS for scene in range(3)]
    report = make_report(rows, {4: [record("nova", 19.0, edit, 0)]}, steps=8, seed=0, minutes=1.0)
    json.dumps(report, allow_nan=False)
    assert report["by_interval"][8]["scenes"] == report["by_interval"][4]["scenes"] == 1
    text = report_markdown(json.loads(json.dumps(report)))  # the model card reads it from the file
    assert ("scenes whose camera moves" in text) == (not still)
    assert chosen_scenes(rows) == {"best": 2, "median": 1, "worst": 0}


def test_a_scene_scores_the_same_in_any_batch(records):
    pipe = NovaEditPipeline.from_preset("nano", device="cpu")
    alone = edited_clips(pipe, held_out_scenes([1]), [0, 8, 16, 24, 32], 2, 0, rows=("nova",))["nova"]
    both = edited_clips(pipe, held_out_scenes([0, 1]), [0, 8, 16, 24, 32], 2, 0, rows=("nova",))["nova"]
    assert (alone[0] - both[1]).abs().mean() < 1e-3


def test_contact_sheet_is_a_picture(records, tmp_path):
    pipe = NovaEditPipeline.from_preset("nano", device="cpu")
    sheet = contact_sheet(pipe, records, 1, 0, tmp_path / "sheet.png")
    assert sheet.read_bytes().startswith(b"\x89PNG")
