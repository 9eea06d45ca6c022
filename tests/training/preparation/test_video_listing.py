"""Which videos are listed, and what is refused by its name."""

import os

import pytest

from novakit.errors import NovaError
from novakit.training.preparation.listing import inside, list_videos


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def test_a_folder_is_listed_in_order_with_its_subfolders(tmp_path):
    for name in (
        "b.mp4",
        "a/z.MOV",
        "notes.txt",
        ".hidden.mp4",
        ".git/x.mp4",
        "-rf.mp4",
        "{x.__class__}.mkv",
        "n\nl.avi",
    ):
        touch(tmp_path / name)
    videos, dropped = list_videos(tmp_path)
    assert [video.name for video in videos] == ["-rf.mp4", "a/z.MOV", "b.mp4", "n\nl.avi", "{x.__class__}.mkv"]
    assert not dropped


@pytest.mark.parametrize(
    "name",
    [
        "../outside.mp4",
        "a/../../outside.mp4",
        "/etc/passwd",
        "../root2/clip.mp4",
        "http://example.org/x.mp4",
        "subfile:,,start,0,end,9,,:clip.mp4",
        "x" * 300 + ".mp4",
        "nul\0byte.mp4",
        ".",
        "",
        "link.mp4",
        "loop.mp4",
        "%03d.mp4",
    ],
)
def test_names_in_a_csv_that_lead_out_or_nowhere_are_dropped(tmp_path, name):
    root = tmp_path / "root"
    touch(root / "clip.mp4"), touch(tmp_path / "outside.mp4"), touch(tmp_path / "root2" / "clip.mp4")
    (root / "link.mp4").symlink_to(tmp_path / "outside.mp4")
    (root / "loop.mp4").symlink_to(root / "loop.mp4")
    with (root / "m.csv").open("w", newline="") as stream:
        stream.write(f'video,prompt,vace_video,src_video\nclip.mp4,"a, b",,\n"{name}",,,\nclip.mp4,,"{name}",\n')
    videos, dropped = list_videos(root / "m.csv")
    assert [(video.name, video.prompt) for video in videos][0] == ("clip.mp4", "a, b")
    assert len(videos) + len(dropped) == 3 and len(dropped) == (1 if name == "" else 2)  # an empty companion is none
    assert all(entry.reason for entry in dropped)


def test_links_that_leave_a_folder_and_names_that_are_no_text(tmp_path):
    root = tmp_path / "root"
    touch(root / "clip.mp4"), touch(tmp_path / "outside.mp4")
    (root / "link.mp4").symlink_to(tmp_path / "outside.mp4")
    touch(root / os.fsdecode(b"\xff.mp4"))
    videos, dropped = list_videos(root)
    assert [video.name for video in videos] == ["clip.mp4"]
    assert {entry.reason for entry in dropped} == {
        "'link.mp4' leads out of the folder; put the file inside it",
        "its name is not UTF-8 text; rename it",
    }
    assert inside(root, "clip.mp4") == str((root / "clip.mp4").resolve())


def test_the_official_csv(tmp_path):
    for name in ("v.mp4", "masked/v.mp4", "edited/v.mp4"):
        touch(tmp_path / name)
    text = "\ufeffprompt,vace_video,src_video,video,extra\n,./edited/v.mp4,./masked/v.mp4,v.mp4,1\n"
    (tmp_path / "metadata.csv").write_text(text)
    (video,), dropped = list_videos(tmp_path / "metadata.csv")
    assert not dropped and [os.path.relpath(path, tmp_path.resolve()) for path in video.files] == [
        "v.mp4",
        "masked/v.mp4",
        "edited/v.mp4",
    ]


@pytest.mark.parametrize(
    "content, said",
    [
        ("prompt,src_video\nx,y\n", "`video`"),
        ("", "`video`"),
        (b"video\n\xff\n", "UTF-8"),
        ("video\nnone.mp4\n", "no videos"),
    ],
)
def test_a_useless_csv_is_refused(tmp_path, content, said):
    path = tmp_path / "m.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(NovaError, match=said):
        list_videos(path)


def test_a_missing_or_empty_place_is_refused(tmp_path):
    with pytest.raises(NovaError, match="neither a folder nor"):
        list_videos(tmp_path / "none")
    with pytest.raises(NovaError, match="no videos"):
        list_videos(tmp_path)
