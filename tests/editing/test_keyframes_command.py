"""`novakit keyframes` on real files: what `novakit edit` reads comes out, nothing is lost, a cut run goes on."""

import json

import av
import numpy as np
import pytest
import torch
from PIL import Image

from novakit.editing import contact_sheet, keyframes_command
from novakit.editing.keyframe_editors import EditedKeyframe, make_editor
from novakit.editing.keyframes import edit_keyframes
from novakit.editing.keyframes_command import make_keyframes
from novakit.editing.keyframes_options import Choice
from novakit.errors import NovaError
from novakit.scenes import render_scenes
from novakit.video import iter_frames, probe, read_clip, read_keyframes, read_mask, write_clip

RED = Choice("nano", edit="recolour", colour="red")


@pytest.fixture(scope="module")
def scene():
    return render_scenes([206], split="test", edit="recolour", num_frames=17)


@pytest.fixture(scope="module")
def files(scene, tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    source = write_clip(folder / "source.mp4", scene.source, 8)
    mask = write_clip(folder / "mask.mp4", scene.mask[0], 8)
    return source, mask


def run(source, out, choice=None, interval=8, **options):
    return make_keyframes(source, interval, out, choice, quiet=True, **options)


def pixels(folder):
    return {path.name: np.array(Image.open(path)) for path in sorted(folder.glob("*.png"))}


def bytes_of(source, index):
    """A frame of a file, uint8 (H, W, 3)."""
    return next(picture for t, picture in enumerate(iter_frames(probe(source))) if t == index)


def test_what_is_written_is_what_edit_reads(files, tmp_path, capsys):
    source, mask = files
    result = make_keyframes(source, 8, tmp_path / "k", RED, mask=mask)
    clip, marked = read_clip(source), read_mask(mask, 17, (64, 96))
    read = read_keyframes(tmp_path / "k", 17, (64, 96), geometry=clip.geometry)
    wanted = edit_keyframes(clip, "", 8, make_editor("nano", colour="red"), marked)
    assert list(read) == [key.index for key in wanted] == [0, 8, 16]
    for key in wanted:
        assert (read[key.index] - key.edited).abs().max() <= 1.01 / 127.5
        outside = (key.mask == 0).expand(3, -1, -1)
        assert torch.equal(read[key.index][outside], key.frame[outside]), "the source's own bytes outside the mask"
    printed = capsys.readouterr().out
    assert "3 keyframes 96x64 (frames 0, 8, 16) edited by nano" in printed and "page_001.png" in printed
    assert f"novakit edit {source} --keyframes {tmp_path / 'k'}" in printed and result.kept == 0


def test_the_command_line_hands_everything_over(files, tmp_path, monkeypatch):
    from novakit import cli

    calls = []
    monkeypatch.setattr(keyframes_command, "make_keyframes", lambda *args, **options: calls.append((args, options)))
    words = "keyframes in.mp4 --interval 10 --out keys --editor flux --prompt blue --edit add --colour teal --faults 2 "
    words += "--hand h --mask m.png --mask-index 20 --mask-by sam2 --independent --seed 4 --model a/b "
    words += "--download --steps 3 --device cpu"
    with pytest.raises(SystemExit) as end:
        cli.main(words.split())
    assert end.value.code == 0
    (args, options) = calls[0]
    assert [str(arg) for arg in args[:3]] == ["in.mp4", "10", "keys"]
    assert args[3] == Choice("flux", "blue", "add", "teal", 2.0, args[3].hand, "a/b", True, 3, "cpu")
    assert str(args[3].hand) == "h" and str(options.pop("mask")) == "m.png"
    assert options == {"mask_index": 20, "mask_by": "sam2", "consistent": False, "seed": 4}


def test_extracted_frames_are_the_sources_own(files, tmp_path):
    source, _ = files
    result = run(source, tmp_path / "k", interval=5)
    assert result.indices == (0, 5, 10, 15) and result.editor is None
    for k in result.indices:
        assert np.array_equal(pixels(tmp_path / "k")[f"{k:03d}.png"], bytes_of(source, k))


def test_by_hand_and_back(files, tmp_path):
    source, mask = files
    run(source, tmp_path / "frames")
    for path in (tmp_path / "frames").glob("*.png"):
        picture = np.array(Image.open(path))
        picture[20:40, 30:60] = (250, 240, 10)
        Image.fromarray(picture).save(path)
    result = run(source, tmp_path / "checked", Choice(hand=tmp_path / "frames"))
    assert result.editor == "hand"
    one, other = pixels(tmp_path / "frames"), pixels(tmp_path / "checked")
    assert one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)
    Image.fromarray(255 - one["008.png"]).save(tmp_path / "frames" / "008.png")
    run(source, tmp_path / "checked", Choice(hand=tmp_path / "frames"))
    again = pixels(tmp_path / "checked")["008.png"]
    assert np.array_equal(again, 255 - one["008.png"]), "hand-edited frames are read again"
    with pytest.raises(NovaError, match="is the folder of the hand-edited frames itself"):
        run(source, tmp_path / "frames", Choice("hand", hand=tmp_path / "frames"))
    (tmp_path / "frames" / "008.png").unlink()
    with pytest.raises(NovaError, match="lacks 1 of 3 keyframes: 8"):
        run(source, tmp_path / "new", Choice("hand", hand=tmp_path / "frames"))
    assert not (tmp_path / "new").exists()


def test_hand_edited_frames_of_another_clip_are_refused(files, tmp_path):
    source, mask = files
    other = render_scenes([103], split="test", edit="recolour", num_frames=17)
    run(write_clip(tmp_path / "other.mp4", other.truth, 8), tmp_path / "frames")
    with pytest.raises(NovaError, match="000.png is not frame 0 of the source"):
        run(source, tmp_path / "k", Choice(hand=tmp_path / "frames"), mask=mask)
    assert not (tmp_path / "k").exists()


def test_nothing_edited_by_hand(files, tmp_path):
    source, _ = files
    run(source, tmp_path / "frames")
    with pytest.raises(NovaError, match="hand: all 3 keyframes are the source's frames, unedited"):
        run(source, tmp_path / "k", Choice(hand=tmp_path / "frames"))


def fail_at(monkeypatch, name):
    """Let the disk be full when a file of this name is written."""
    save = contact_sheet.save_png

    def full(path, image):
        if path.name == name:
            raise NovaError(f"cannot write {path}: No space left on device. Is there room on the disk?")
        return save(path, image)

    monkeypatch.setattr("novakit.editing.keyframe_folder.save_png", full)


def test_after_a_full_disk_the_same_command_goes_on(files, tmp_path, monkeypatch):
    """Two roads, same answer: a run in one go, and one that was cut short."""
    source, mask = files
    choice = Choice("nano", edit="recolour", faults=1.0)
    run(source, tmp_path / "whole", choice, mask=mask, seed=3)
    with monkeypatch.context() as patch:
        fail_at(patch, "016.png")
        with pytest.raises(NovaError, match="No space left.* 2 of 3 keyframes are in .* kept.*goes on from there"):
            run(source, tmp_path / "cut", choice, mask=mask, seed=3)
    assert sorted(path.name for path in (tmp_path / "cut").iterdir()) == ["000.png", "008.png", "keyframes.json"]
    stamp = (tmp_path / "cut" / "000.png").stat().st_mtime_ns
    result = run(source, tmp_path / "cut", choice, mask=mask, seed=3)
    assert result.kept == 2 and (tmp_path / "cut" / "000.png").stat().st_mtime_ns == stamp
    one, other = pixels(tmp_path / "whole"), pixels(tmp_path / "cut")
    assert one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)
    sheets = [pixels(tmp_path / name / "contact_sheet")["page_001.png"].astype(int) for name in ("whole", "cut")]
    assert np.abs(sheets[0] - sheets[1]).mean() < 0.1, "kept keyframes stand on the sheet too"


def test_a_full_disk_really_raises(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(NovaError, match="000.png: No space left on device. Is there room on the disk"):
        contact_sheet.save_png(tmp_path / "000.png", Image.new("RGB", (4, 4)))
    assert not list(tmp_path.iterdir())


def test_a_hand_edited_first_keyframe_is_kept_and_followed(files, tmp_path):
    source, mask = files
    run(source, tmp_path / "k", RED, mask=mask)
    first = pixels(tmp_path / "k")
    marked = read_mask(mask, 17, (64, 96))[0, 0, 0].bool().numpy()
    over = first["000.png"].copy()
    over[marked] = over[marked] // 2
    Image.fromarray(over).save(tmp_path / "k" / "000.png")
    (tmp_path / "k" / "008.png").unlink()
    result = run(source, tmp_path / "k", RED, mask=mask)
    again = pixels(tmp_path / "k")
    assert result.kept == 2 and np.array_equal(again["000.png"], over)
    assert again["008.png"].mean() < first["008.png"].mean() - 0.5, "darker, as its reference now is"


def test_independent_and_consistent_and_the_seed(files, tmp_path):
    source, mask = files
    choice = Choice("nano", faults=1.0)
    run(source, tmp_path / "a", choice, mask=mask)
    run(source, tmp_path / "b", choice, mask=mask, consistent=False)
    run(source, tmp_path / "c", choice, mask=mask, seed=1)
    a, b, c = (pixels(tmp_path / name) for name in "abc")
    assert np.array_equal(a["000.png"], b["000.png"]) and not np.array_equal(a["008.png"], b["008.png"])
    assert not np.array_equal(a["000.png"], c["000.png"])


def test_no_keyframes_of_another_run_are_written_over(files, tmp_path):
    source, mask = files
    run(source, tmp_path / "k", RED, mask=mask)
    before = pixels(tmp_path / "k")
    with pytest.raises(NovaError, match="holds the keyframes of another run.*seed: 0 there, 1 now"):
        run(source, tmp_path / "k", RED, mask=mask, seed=1)
    with pytest.raises(NovaError, match="mask: mask.mp4, .* there, None now"):
        run(source, tmp_path / "k", RED)
    with pytest.raises(NovaError, match="interval: 8 there, 4 now"):
        run(source, tmp_path / "k", RED, interval=4, mask=mask)
    assert all(np.array_equal(before[name], picture) for name, picture in pixels(tmp_path / "k").items())


@pytest.mark.parametrize("name", ["008.png", "notes.txt"])
def test_a_folder_with_other_things_in_it_is_refused(files, tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(NovaError, match=f"is not empty .it holds {name}. and was not made by `novakit keyframes`"):
        run(files[0], tmp_path, RED)
    assert [path.name for path in tmp_path.iterdir()] == [name] and (tmp_path / name).read_text() == "mine"


def test_odd_folders(files, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NovaError, match="file is a file; a folder for the keyframes was wanted"):
        run(files[0], tmp_path / "file")
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / ".DS_Store").write_text("")
    assert run(files[0], tmp_path / "hidden" / "deep").folder.is_dir()
    assert run(files[0], tmp_path / "hidden" / "deep").kept == 3
    (tmp_path / "hidden" / "deep" / "keyframes.json").write_text("[1]")
    with pytest.raises(NovaError, match="keyframes.json is no record"):
        run(files[0], tmp_path / "hidden" / "deep")
    (tmp_path / "hidden" / "deep" / "keyframes.json").write_text("{")
    with pytest.raises(NovaError, match="keyframes.json cannot be read"):
        run(files[0], tmp_path / "hidden" / "deep")


def test_a_kept_keyframe_of_another_size(files, tmp_path):
    run(files[0], tmp_path / "k")
    Image.new("RGB", (50, 50)).save(tmp_path / "k" / "008.png")
    with pytest.raises(NovaError, match="008.png is 50x50 pixels, the source 96x64. Delete it"):
        run(files[0], tmp_path / "k")


@pytest.mark.parametrize(
    "choice, options, message",
    [
        (Choice(prompt="blue"), {}, "a prompt came without an editor.*'blue'.*--editor flux or qwen"),
        (Choice(edit="add"), {}, "--edit came without an editor, which would do nothing"),
        (Choice(), {"mask": "m.mp4"}, "--mask came without an editor"),
        (Choice("nano", prompt="blue"), {}, "nano reads no prompt, 'blue' would be ignored"),
        (Choice("nano", model="a/b"), {}, "--model does nothing with editor nano; it belongs to flux and qwen"),
        (Choice("nano", hand="folder"), {}, "--hand does nothing with editor nano; it belongs to hand"),
        (Choice("hand", edit="add", hand="folder"), {}, "--edit does nothing with editor hand"),
        (Choice("hand"), {}, "no folder came. Pass --hand FOLDER"),
        (Choice("flix"), {}, r"editor 'flix' \(--editor\) is unknown; choose from nano, poster, hand, flux, qwen"),
        (Choice("nano", faults=-1.0), {}, r"faults \(--faults\) is -1.0; wanted 0"),
        (Choice("nano", edit="add"), {}, "add must know where; no mask came for keyframe 0"),
        (Choice("nano", colour="bleu"), {}, "colour 'bleu' is unknown"),
        (RED, {"interval": 0}, r"interval \(--interval\) is 0"),
        (RED, {"seed": -1}, r"seed \(--seed\) is -1"),
        (RED, {"mask_index": 8}, r"mask index 8 \(--mask-index\) came without a mask"),
        (RED, {"mask_by": "sam2"}, r"sam2 \(--mask-by\) came without a mask"),
        (RED, {"mask": "nowhere.mp4"}, "nowhere.mp4 does not exist"),
    ],
)
def test_options_that_cannot_work_leave_nothing(files, tmp_path, choice, options, message):
    with pytest.raises(NovaError, match=message):
        run(files[0], tmp_path / "k", choice, **options)
    assert not (tmp_path / "k").exists()


def test_an_editor_that_needs_a_prompt_is_asked_for_one_before_anything(files, tmp_path, monkeypatch):
    class Asking:
        name, needs_prompt = "asking", True

        def edit(self, frame, prompt="", mask=None, reference=None, *, index=0, seed=0):
            assert prompt == "negative"
            return -frame

    with pytest.raises(NovaError, match="asking edits by a prompt and none came"):
        run(files[0], tmp_path / "k", editor=Asking())
    assert not (tmp_path / "k").exists()
    run(files[0], tmp_path / "k", Choice(prompt="negative"), editor=Asking())
    assert json.loads((tmp_path / "k" / "keyframes.json").read_text())["editor"] == "asking"


@pytest.mark.parametrize("kind", ["folder", "lacking", "black", "between", "short", "square"])
def test_masks_of_every_kind(files, scene, tmp_path, kind):
    source, _ = files
    folder, message = tmp_path / "m", None
    if kind in ("folder", "lacking"):
        folder.mkdir()
        for t in range(0, 17, 8 if kind == "folder" else 16):
            Image.fromarray((scene.mask[0, 0, t] * 255).byte().numpy()).save(folder / f"{t:03d}.png")
        message = None if kind == "folder" else "lacks 1 of 3 keyframes .first: 8."
    else:
        mask = torch.zeros(1, 16 if kind == "short" else 17, 64, 64 if kind == "square" else 96)
        mask[:, 4:7] = kind != "black"
        folder = write_clip(tmp_path / "m.mp4", mask, 8)
        message = {"short": "16 frames; the clip has 17", "square": "Another aspect"}.get(
            kind, "black in every keyframe"
        )
    if message is None:
        assert run(source, tmp_path / "k", RED, mask=folder).indices == (0, 8, 16)
        return
    with pytest.raises(NovaError, match=message):
        run(source, tmp_path / "k", RED, mask=folder)
    assert not (tmp_path / "k").exists()


def save_mask(path, mask):
    Image.fromarray((mask[0] * 255).byte().numpy()).save(path)
    return path


def test_one_drawn_mask_is_carried_to_the_others(files, scene, tmp_path, capsys):
    source, _ = files
    drawn = save_mask(tmp_path / "drawn.png", scene.mask[0, :, 8])
    result = make_keyframes(source, 8, tmp_path / "k", RED, mask=drawn, mask_index=8)
    assert list(result.confidence) == [0, 8, 16] and result.confidence[8] == 1
    changed = {
        k: torch.from_numpy((pixels(tmp_path / "k")[f"{k:03d}.png"] != bytes_of(source, k)).any(2)) for k in (0, 8, 16)
    }
    for k in (0, 8, 16):
        true = scene.mask[0, 0, k].bool()
        assert (changed[k] & true).sum() > 0.6 * (changed[k] | true).sum()
    assert result.mask == tmp_path / "k" / "mask.mp4"
    carried = read_mask(result.mask, 17, (64, 96))[0, 0]
    assert (carried[8] - scene.mask[0, 0, 8]).abs().mean() < 0.01
    assert ((carried[0] > 0) & changed[0]).sum() > 0.9 * changed[0].sum()
    printed = capsys.readouterr().out
    assert "confidence of the mask: 0: " in printed and f"--mask {result.mask} --paste-back" in printed
    again = run(source, tmp_path / "k", RED, mask=drawn, mask_index=8)
    assert again.kept == 3


def test_a_mask_that_cannot_be_followed_is_said(files, scene, tmp_path, capsys):
    source, _ = files
    other = render_scenes([103], split="test", edit="recolour", num_frames=8)
    cut = write_clip(tmp_path / "cut.mp4", torch.cat([scene.source[:, :, :9], other.source], 2), 8)
    drawn = save_mask(tmp_path / "drawn.png", scene.mask[0, :, 0])
    make_keyframes(cut, 8, tmp_path / "k", Choice("nano", edit="recolour"), mask=drawn)
    assert "note: the mask could hardly be followed to keyframes 16 (0." in capsys.readouterr().out


@pytest.mark.parametrize(
    "index, value, size, message",
    [
        (17, 1, (64, 96), r"mask index 17 \(--mask-index\) lies outside the clip of 17 frames"),
        (-1, 1, (64, 96), "mask index -1"),
        (0, 0, (64, 96), "black everywhere; white marks where content changes"),
        (0, 1, (64, 64), "mask drawn.png is 64x64.*Another aspect"),
    ],
)
def test_drawn_masks_that_cannot_be(files, tmp_path, index, value, size, message):
    drawn = save_mask(tmp_path / "drawn.png", torch.full((1, *size), float(value)))
    with pytest.raises(NovaError, match=message):
        run(files[0], tmp_path / "k", RED, mask=drawn, mask_index=index)
    assert not (tmp_path / "k").exists()


def test_a_mask_of_another_size_is_resized_and_said(files, scene, tmp_path, capsys):
    source, _ = files
    grown = torch.nn.functional.interpolate(scene.mask[0], scale_factor=2)
    make_keyframes(source, 8, tmp_path / "k", RED, mask=write_clip(tmp_path / "m.mp4", grown, 8))
    assert "note: 3 mask pictures of 192x128 were resized to 96x64" in capsys.readouterr().out


def test_pixels_that_are_not_square_become_square(tmp_path):
    with av.open(str(tmp_path / "s.mp4"), "w") as out:
        stream = out.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 48, 64, "yuv420p"
        stream.codec_context.sample_aspect_ratio = 2
        for t in range(3):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((64, 48, 3), 60 + 40 * t, np.uint8), "rgb24")))
        out.mux(stream.encode())
    result = run(tmp_path / "s.mp4", tmp_path / "k", interval=2)
    assert result.info.size == (64, 96) and pixels(tmp_path / "k")["002.png"].shape == (64, 96, 3)


def test_names_have_as_many_digits_as_the_clip_needs(tmp_path):
    source = write_clip(tmp_path / "s.mp4", torch.zeros(1, 3, 1001, 16, 16), 30)
    run(source, tmp_path / "k", interval=500)
    assert list(pixels(tmp_path / "k")) == ["0000.png", "0500.png", "1000.png"]
    assert list(read_keyframes(tmp_path / "k", 1001, (16, 16))) == [0, 500, 1000]


def test_contact_sheets_come_in_pages_with_the_difference(tmp_path):
    sheet = contact_sheet.ContactSheet(tmp_path / "sheets")
    frame = torch.zeros(3, 64, 96)
    edited = frame.clone()
    edited[0, :, :48] = 0.25
    for k in range(10):
        sheet.add(EditedKeyframe(8 * k, frame, edited), "a remark")
    assert [path.name for path in sheet.finish()] == ["page_001.png", "page_002.png"]
    page = np.array(Image.open(tmp_path / "sheets" / "page_002.png"))
    assert page.shape == (2 * (192 + contact_sheet.HEADER) + contact_sheet.GAP, 3 * (288 + 8) + 8, 3)
    left = 8 + 2 * (288 + 8)  # of the difference
    assert (page[100, left + 10 : left + 140] == (128, 0, 0)).all(), "0.25 of 2, four times brighter"
    assert not page[100, left + 150 : left + 280].any()


def test_a_page_of_large_frames_is_small(tmp_path):
    sheet = contact_sheet.ContactSheet(tmp_path, edited=False)
    sheet.add(EditedKeyframe(0, torch.rand(3, 540, 960), torch.rand(3, 540, 960)))
    assert Image.open(sheet.finish()[0]).size == (8 + 320 + 8, 180 + contact_sheet.HEADER + 8)
