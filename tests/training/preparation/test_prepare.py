"""`prepare` end to end on small videos: what it keeps and why, what it refuses, and that a second run does nothing."""

import shutil
from pathlib import Path
from unittest import mock

import pytest
from make_clips import make_video
from nova_tiny import tiny_nova
from prepare_toy import SIZE, manifest, scene, tiny_encoder, toy_prepare

from novakit.editing import loading
from novakit.errors import NovaError, NovaNotice
from novakit.training.full_size.train import train
from novakit.training.preparation import work
from novakit.training.preparation.cache import LatentCache


def reasons(folder):
    return {entry["name"]: entry["reason"].partition(":")[0] for entry in manifest(folder)["dropped"]}


def shapes_of(folder):
    return {path.name: path.stat().st_mtime_ns for path in (Path(folder) / "shards").iterdir()}


def test_what_is_kept_and_why_the_rest_is_not(prepared):
    folder, encoded = prepared
    data = manifest(folder)
    assert [item["name"] for item in data["items"]] == [
        "one copy.mp4, frame 3",
        "two.mp4, frame 2",
        "two.mp4, frame 44",
    ]
    assert encoded == 3 and data["settings"]["interval"] == 8
    wanted = {"one.mp4": "near-duplicate", "still.mp4": "static", "cut.mp4": "bad file", "text.mp4": "bad file"}
    assert reasons(folder) == wanted
    lenders = {v["foreign"] for item in data["items"] for v in item["variants"] if "foreign" in v}
    assert lenders <= {item["key"] for item in data["items"]}
    assert all(v.get("foreign") != item["key"] for item in data["items"] for v in item["variants"])


def test_the_report_shows_pictures_and_reasons(prepared):
    text = (prepared[0] / "report.html").read_text()
    assert text.count("data:image/jpeg;base64,/9j/") == 5  # three kept, the copy and the static one
    for words in (
        "Dropped: 4",
        "Kept: 3",
        "near-duplicate: looks like one copy.mp4",
        "text.mp4",
        "grey levels a frame",
    ):
        assert words in text


def test_two_steps_of_training_read_the_cache(prepared, tmp_path, tiny):
    trainer = train(
        "nano",
        LatentCache(prepared[0]),
        tmp_path / "run",
        model=tiny_nova(),
        steps=2,
        batch=2,
        precision="fp32",
        device="cpu",
        validate_every=0,
        progress=False,
    )
    assert trainer.step == 2
    assert (tmp_path / "run" / "dense.safetensors").exists()


def test_a_second_run_does_nothing(prepared, videos, tiny):
    folder, _ = prepared
    before = shapes_of(folder)
    with mock.patch.object(work, "survey", lambda *_: pytest.fail("a video was looked at again")):
        toy_prepare(videos, folder)
    assert tiny == [] and shapes_of(folder) == before


def test_another_video_costs_only_itself(videos, tmp_path, tiny):
    some = shutil.copytree(videos, tmp_path / "videos")
    (some / "one.mp4").unlink(), (some / "one copy.mp4").unlink()
    toy_prepare(some, tmp_path / "cache")
    assert len(tiny) == 2
    shutil.copy(videos / "one.mp4", some / "new.mp4")
    toy_prepare(some, tmp_path / "cache")
    assert len(tiny) == 3 and len(LatentCache(tmp_path / "cache")) == 3


def test_other_settings_need_another_folder(prepared, videos, tiny):
    with pytest.raises(NovaError, match="variants 2, now 3; seed 0, now 5. Use the same, or another folder"):
        toy_prepare(videos, prepared[0], variants=3, seed=5)
    with tiny_encoder(seed=1), pytest.raises(NovaError, match="encoder "):
        toy_prepare(videos, prepared[0])


@pytest.mark.parametrize(
    "options, said",
    [
        ({"size": (10, 10)}, "size 10x10"),
        ({"variants": 0}, "variants is 0"),
        ({"interval": -1}, "interval is -1"),
        ({"limits": ["loudness=1"]}, "no limit loudness"),
        ({"limits": ["motion"]}, "not of the form"),
        ({"limits": ["motion=nan"]}, "'motion=nan' is not of the form name=number"),
        ({"interval": 33}, "interval is 33: a clip of 33 frames has no second keyframe then. Pass at most 32"),
        ({"deadline": -5.0}, "deadline is -5 s; pass more than 0"),
        ({"deadline": 0.0}, "deadline is 0 s; pass more than 0"),
        ({"deadline": float("nan")}, "deadline is nan s"),
        ({"deadline": float("inf")}, "deadline is inf s; .*at most 172800"),
        ({"preset": "giant"}, "does not exist"),
    ],
)
def test_senseless_options_are_refused_first(videos, tmp_path, options, said):
    with pytest.raises(NovaError, match=said):
        toy_prepare(videos, tmp_path / "cache", **options)
    assert not (tmp_path / "cache").exists()


def test_nothing_is_left_where_nothing_was_begun(videos, tmp_path, monkeypatch):
    """No videos, no base: no folder, no lock."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with tiny_encoder(), pytest.raises(NovaError, match="neither a folder nor a .csv file"):
        toy_prepare(tmp_path / "nowhere", tmp_path / "cache")
    missing = tmp_path / "no base"
    with pytest.warns(NovaNotice, match="takes minutes"), pytest.raises(NovaError, match="hf download .*--base FOLDER"):
        toy_prepare(videos, tmp_path / "cache", preset="wan-1.3b", base=missing)
    assert list(tmp_path.iterdir()) == []


def test_download_is_what_fetches_the_base(videos, tmp_path, monkeypatch):
    """The message about a missing base names --download: it works here too, and never unasked."""

    def fetch(hub_id, *_):
        raise NovaError(f"{hub_id} is being fetched")

    monkeypatch.setattr(loading, "fetch", fetch)
    monkeypatch.setattr(loading, "cached_folder", lambda _: None)
    for download, said in ((False, "--download"), (True, "some/base is being fetched")):
        with pytest.warns(NovaNotice), pytest.raises(NovaError, match=said):
            toy_prepare(videos, tmp_path / "cache", preset="wan-1.3b", base="some/base", download=download)


def test_limits_can_be_changed(videos, tmp_path, tiny):
    toy_prepare(videos, tmp_path / "cache", limits=["motion=0", "alike=-1"])
    assert reasons(tmp_path / "cache") == {
        "one.mp4": "listed twice",  # the same bytes are the same clip, however far looks may differ
        "cut.mp4": "bad file",
        "text.mp4": "bad file",
    }


def test_nothing_worth_keeping_says_why(tmp_path, videos, tiny):
    folder = tmp_path / "videos"
    folder.mkdir()
    shutil.copy(videos / "still.mp4", folder / "<script>.mp4")
    with pytest.raises(
        NovaError, match=r"no clip was kept. Dropped: static \(1\).*report.html\. Add videos or loosen .*--limit"
    ):
        toy_prepare(folder, tmp_path / "cache")
    assert "<script>.mp4" not in (tmp_path / "cache" / "report.html").read_text()
    shutil.copy(videos / "one.mp4", folder / "one.mp4")
    with pytest.raises(NovaError, match="one clip was kept, and it needs content of another.*Add videos or loosen"):
        toy_prepare(folder, tmp_path / "cache")
    (folder / "<script>.mp4").unlink()
    with pytest.raises(NovaError, match=r"Dropped: nothing\. .*Add videos, then run the same again"):
        toy_prepare(folder, tmp_path / "cache")


def test_the_official_csv_end_to_end(tmp_path, tiny):
    for number, name in enumerate(("v", "masked", "edited", "w")):
        make_video(tmp_path / f"{name}.mp4", frames=40, draw=scene(number), **SIZE)
    rows = (
        "video,prompt,vace_video,src_video\nv.mp4,a walk,edited.mp4,masked.mp4\nv.mp4,,,w.mp4\nw.mp4,,,\n../x.mp4,,,\n"
    )
    (tmp_path / "metadata.csv").write_text(rows)
    toy_prepare(tmp_path / "metadata.csv", tmp_path / "cache")
    given, other, drawn = manifest(tmp_path / "cache")["items"]
    assert given["prompt"] == "a walk" and given["start"] == 0 and len(given["sha256"]) == 3
    assert given["variants"] == [{"kind": "given"}] and len(drawn["sha256"]) == 5
    assert other["video"] == "v.mp4" and len(other["sha256"]) == 4  # one given source, two drawn controls
    assert reasons(tmp_path / "cache") == {"../x.mp4": "there is no file '../x.mp4'"}
    assert LatentCache(tmp_path / "cache").batch(0, 2, 0).source_latents.shape == (2, 4, 9, 8, 12)
