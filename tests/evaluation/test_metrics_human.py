"""Ratings by people: written at once, read back as SR, continued after a break, and blind."""

import json

import pytest
import torch

from novakit.errors import NovaError
from novakit.evaluation.metrics import human_success, human_success_rate, read_ratings
from novakit.evaluation.metrics.human import RatingForm

CLIPS = {f"{row}/{i}": torch.full((1, 3, 3, 16, 16), 0.3 * i) for row in ("NOVA", "AnyV2V") for i in range(2)}


def click(form, word):
    buttons = {button.description: button for button in form.children[1].children}
    buttons[word].click()
    return buttons


def test_answers_become_success_rates_by_row(tmp_path):
    path = tmp_path / "ratings.json"
    form = human_success(CLIPS, path, source=torch.zeros(1, 3, 3, 16, 16), asked="a red coat")
    for _ in CLIPS:
        click(form, "yes" if form.form.current.startswith("NOVA") else "no")
    assert human_success_rate(path) == {"NOVA": 1.0, "AnyV2V": 0.0}
    assert "All 4 clips are rated" in form.children[0].value
    assert click(form, "yes")["yes"].disabled and len(read_ratings(path)) == 4


def test_every_answer_is_on_disk_at_once_and_a_new_form_goes_on(tmp_path):
    path = tmp_path / "ratings.json"
    form = human_success(CLIPS, path)
    first = form.form.current
    click(form, "no")
    assert read_ratings(path) == {first: False}
    again = human_success(CLIPS, path)
    assert again.form.current == form.form.current != first
    assert "Clip 2 of 4" in again.children[0].value
    click(again, "back")
    assert read_ratings(path) == {} and again.form.current == first
    assert [file.name for file in tmp_path.iterdir()] == ["ratings.json"]  # no half-written files


def test_the_rater_sees_source_and_edit_but_not_the_row(tmp_path):
    form = human_success(CLIPS, tmp_path / "r.json", source={"NOVA/0": torch.zeros(1, 3, 3, 16, 16)}, asked="<b>")
    for _ in CLIPS:
        page = form.children[0].value
        assert "NOVA" not in page and "AnyV2V" not in page and "&lt;b&gt;" in page
        assert page.count("<video") == 1 + (form.form.current == "NOVA/0")
        click(form, "yes")


def test_order_is_drawn_by_the_seed(tmp_path):
    orders = [RatingForm(CLIPS, tmp_path / "none.json", None, seed).order for seed in (0, 0, 1, 2, 3)]
    assert orders[0] == orders[1] and len({tuple(order) for order in orders}) > 1
    assert all(sorted(order) == sorted(CLIPS) for order in orders)


def test_several_raters_are_pooled(tmp_path):
    for name, answers in {"a": (True, True), "b": (True, False)}.items():
        ratings = {f"NOVA/{i}": {"success": answer} for i, answer in enumerate(answers)}
        (tmp_path / name).write_text(json.dumps({"ratings": ratings}))
    assert human_success_rate(tmp_path / "a", tmp_path / "b") == {"NOVA": 0.75}


def test_bad_files_and_clips_are_refused(tmp_path):
    path = tmp_path / "r.json"
    with pytest.raises(NovaError, match="no ratings yet"):
        human_success_rate(path)
    with pytest.raises(NovaError, match="no clips to rate"):
        human_success({}, path)
    with pytest.raises(NovaError, match="2 clips under one name"):
        human_success({"NOVA": torch.zeros(2, 3, 3, 16, 16)}, path)
    for text in ("{", "[]", '{"ratings": {"NOVA/0": {"success": "maybe"}}}'):
        path.write_text(text)
        with pytest.raises(NovaError, match="Repair it|repair it"):
            human_success(CLIPS, path)
