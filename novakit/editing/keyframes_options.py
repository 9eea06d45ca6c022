"""The options of `novakit keyframes`: which go together, the editor they make, and the record of them. Source: ours."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from novakit.errors import NovaError

if TYPE_CHECKING:
    from novakit.editing.keyframe_editors import KeyframeEditor
    from novakit.video import ClipInfo

PAINTING = ("edit", "colour", "faults")
MODEL = ("model", "download", "steps", "device")
OPTIONS = {"nano": PAINTING, "poster": PAINTING, "hand": ("hand",), "flux": MODEL, "qwen": MODEL}
"""Which of the options belong to which editor."""


@dataclass(frozen=True)
class Choice:
    """An editor by name and its settings, as they were typed; None = not given."""

    editor: str | None = None  # one of EDITOR_NAMES
    prompt: str | None = None  # flux, qwen: what to change
    edit: str | None = None  # nano, poster: recolour, replace, remove, add, restyle
    colour: str | None = None  # nano, poster: a CSS name or #rrggbb
    faults: float | None = None  # nano, poster: how much of a real editor's faults; 1 = typical, 0 = none
    hand: str | Path | None = None  # hand: folder of the edited frames
    model: str | None = None  # flux, qwen: hub id or folder
    download: bool | None = None  # flux, qwen: allow the download
    steps: int | None = None  # flux, qwen: denoising steps
    device: str | None = None  # flux, qwen: auto, cpu or cuda

    @property
    def name(self) -> str | None:
        """The editor; a folder of hand-edited frames says it too."""
        return "hand" if self.editor is None and self.hand is not None else self.editor

    def given(self) -> dict[str, Any]:
        """Settings that were typed, without the editor's name and the prompt."""
        return {k: v for k, v in asdict(self).items() if v is not None and k not in ("editor", "prompt")}


def check_choice(choice: Choice, mask: Any, mask_index: int, mask_by: str, ready_made: bool, out: str | Path) -> None:
    """Refuse options that would do nothing, or that do not go together.

    Args:
        choice: what was typed.
        mask: path or None.
        mask_index: frame of a single mask image.
        mask_by: what carries a single mask image.
        ready_made: True when an editor object came instead of a name.
        out: folder to be written.

    Raises:
        NovaError: a prompt, mask or setting without an editor, or with one that has no use for it.
    """
    if mask is None and mask_index != 0:
        raise NovaError(
            f"mask index {mask_index} (--mask-index) came without a mask. Pass --mask IMAGE, or leave it out."
        )
    if mask is None and mask_by != "flow":
        raise NovaError(f"{mask_by} (--mask-by) came without a mask. Pass --mask IMAGE, or leave it out.")
    if ready_made:
        return
    if choice.name is None:
        _check_no_editor(choice, mask)
        return
    if choice.name not in OPTIONS:
        raise NovaError(f"editor {choice.name!r} (--editor) is unknown; choose from {', '.join(OPTIONS)}.")
    for option in choice.given():
        if option not in OPTIONS[choice.name]:
            owners = " and ".join(name for name, options in OPTIONS.items() if option in options)
            raise NovaError(f"--{option} does nothing with editor {choice.name}; it belongs to {owners}. Leave it out.")
    if choice.name == "hand":
        _check_hand(choice, out)


def _check_no_editor(choice: Choice, mask: Any) -> None:
    idle = [f"--{option}" for option in choice.given()] + ["--mask"] * (mask is not None)
    if choice.prompt is not None:
        raise NovaError(
            f"a prompt came without an editor: nobody would read {choice.prompt!r}. Pass --editor flux or qwen, or "
            "leave the prompt out to extract the frames only."
        )
    if idle:
        raise NovaError(
            f"{', '.join(idle)} came without an editor, which would do nothing. Pass --editor nano (or "
            f"{', '.join(name for name in OPTIONS if name != 'nano')}), or leave it out to extract the frames only."
        )


def _check_hand(choice: Choice, out: str | Path) -> None:
    if choice.hand is None:
        raise NovaError("editor hand reads frames that you edited; no folder came. Pass --hand FOLDER.")
    if Path(choice.hand).resolve() == Path(out).resolve():
        raise NovaError(
            f"out {out} is the folder of the hand-edited frames itself; they are not written over. Choose another "
            "folder (--out). `novakit edit --keyframes` reads yours as it is, too."
        )


def build_editor(choice: Choice) -> KeyframeEditor | None:
    """The editor of a choice, ready to work; None for extracting only.

    Raises:
        NovaError: settings that the editor refuses, or weights that are missing.
    """
    from novakit.editing.keyframe_editors import Faults, make_editor

    if choice.name is None:
        return None
    options = choice.given()
    if "faults" in options:
        if not options["faults"] >= 0:
            raise NovaError(f"faults (--faults) is {options['faults']}; wanted 0 (none), 1 (typical) or more.")
        options["faults"] = Faults().scaled(options["faults"]) if options["faults"] else None
    if "hand" in options:
        options["folder"] = options.pop("hand")
    return make_editor(choice.name, **options)


def record(
    info: ClipInfo,
    interval: int,
    choice: Choice,
    editor: KeyframeEditor | None,
    mask: str | Path | None,
    mask_index: int,
    mask_by: str,
    consistent: bool,
    seed: int,
) -> dict[str, Any]:
    """All that decides what the keyframes look like, as JSON; no absolute path, so that a folder may move."""
    settings = {k: v for k, v in choice.given().items() if k not in ("hand", "download", "device")}
    return {
        "source": _file(info.path),
        "num_frames": info.num_frames,
        "size": list(info.size),
        "interval": interval,
        "editor": editor.name if editor is not None else None,
        "settings": settings,
        "prompt": choice.prompt or "",
        "mask": None if mask is None else _file(Path(mask)),
        "mask_index": mask_index,
        "mask_by": Path(mask_by).name,
        "consistent": consistent,
        "seed": seed,
    }


def _file(path: Path) -> str:
    """Name and size of a file, or of the files in a folder: enough to tell another one."""
    files = sorted(path.glob("[!.]*")) if path.is_dir() else [path]
    if not path.exists():
        raise NovaError(f"{path} does not exist. Check the path.")
    return f"{path.name}, {sum(file.stat().st_size for file in files)} bytes"
