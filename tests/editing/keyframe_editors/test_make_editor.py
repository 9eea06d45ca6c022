"""`make_editor` knows five names, says which when asked for another, and loads nothing heavy before it must."""

import subprocess
import sys

import pytest

from novakit.editing import keyframe_editors
from novakit.editing.keyframe_editors import EDITOR_NAMES, KeyframeEditor, NanoEditor, make_editor
from novakit.errors import NovaError


def test_names_and_classes(tmp_path):
    (tmp_path / "000.png").write_bytes(b"")
    assert EDITOR_NAMES == ("nano", "poster", "hand", "flux", "qwen")
    nano, poster = make_editor("nano", edit="add", colour="teal"), make_editor("poster", edit="restyle")
    hand = make_editor("hand", folder=tmp_path)
    assert isinstance(nano, NanoEditor) and isinstance(poster, NanoEditor)
    assert [editor.name for editor in (nano, poster, hand)] == ["nano", "poster", "hand"]
    assert all(isinstance(editor, KeyframeEditor) for editor in (nano, poster, hand))
    assert not any(editor.needs_prompt for editor in (nano, poster, hand))


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("flex", {}, "editor 'flex' is unknown; choose from nano, poster, hand, flux, qwen"),
        ("nano", {"prompt": "x"}, "editor nano has no option 'prompt'; it takes edit, style, colour, faults"),
        ("poster", {"style": "plain"}, "editor poster has no option 'style'; it takes edit, colour, faults"),
        ("hand", {}, "editor hand: missing a required argument: 'folder'"),
        ("nano", {"edit": "paint"}, "edit 'paint' is unknown.*recolour, replace, remove, add, restyle"),
        ("nano", {"style": "oil"}, "style 'oil' is unknown.*plain, poster"),
        ("nano", {"colour": "bleu"}, "colour 'bleu' is unknown; wanted a CSS name such as teal, or #rrggbb"),
        ("nano", {"edit": "remove", "colour": "red"}, "remove, which paints nothing new"),
    ],
)
def test_what_cannot_be_made(name, options, message):
    with pytest.raises(NovaError, match=message):
        make_editor(name, **options)


def test_every_export_is_there_and_others_are_not():
    assert all(getattr(keyframe_editors, name) is not None for name in keyframe_editors.__all__)
    assert set(keyframe_editors.__all__) <= set(dir(keyframe_editors))
    with pytest.raises(AttributeError, match="no attribute 'SdxlEditor'"):
        _ = keyframe_editors.SdxlEditor


def test_the_nano_editor_needs_no_diffusers_of_its_own():
    code = (
        "import sys, types; package = types.ModuleType('novakit.editing'); import novakit;"
        "package.__path__ = [novakit.__path__[0] + '/editing']; sys.modules['novakit.editing'] = package;"
        "from novakit.editing.keyframe_editors import make_editor; make_editor('nano');"
        "print({'diffusers', 'transformers', 'cv2'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
