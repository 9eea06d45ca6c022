"""`novakit keyframes`: a video goes in, its keyframes come out, edited or to be edited by hand. Source: ours.

    novakit keyframes clip.mp4 --interval 10 --out keys --editor nano --edit recolour --mask mask.mp4
    novakit edit clip.mp4 --keyframes keys --out edit.mp4

By hand: without an editor the frames are extracted; edit the images (in place or as copies in another folder, same
names), and `--editor hand --hand THAT_FOLDER` checks them and puts them in order.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from novakit.editing.command_checks import check_numbers
from novakit.editing.keyframes_options import Choice, build_editor, check_choice, record
from novakit.editing.keyframes_report import KeyframeFiles
from novakit.errors import NovaError, printed_notices

if TYPE_CHECKING:
    from torch import Tensor

    from novakit.editing.keyframe_editors import EditedKeyframe, KeyframeEditor
    from novakit.editing.keyframe_folder import KeyframeFolder
    from novakit.editing.keyframe_masks import KeyframeMasks
    from novakit.video import ClipInfo


def make_keyframes(
    source: str | Path,
    interval: int,
    out: str | Path,
    choice: Choice | None = None,
    *,
    mask: str | Path | None = None,
    mask_index: int = 0,
    mask_by: str = "flow",
    consistent: bool = True,
    seed: int = 0,
    editor: KeyframeEditor | None = None,
    quiet: bool = False,
) -> KeyframeFiles:
    """Extract the keyframes of a video file, edit them, and write the folder that `novakit edit` reads.

    Frame by frame, at the source's own size: memory does not grow with the clip. A run that was cut short (full disk,
    Ctrl-C) goes on when it is started again; keyframes that exist are kept, the first one as the reference.

    Args:
        source: video file.
        interval: keyframe interval K: frames 0, K, 2K, ...
        out: folder: 000.png, ..., keyframes.json (how they were made) and contact_sheet/page_001.png, ...; new,
            empty, or of an earlier run with the same arguments.
        choice: editor and its settings; None = extract the frames only, to be edited by hand.
        mask: white where content changes: a video, a folder with an image for every keyframe, or one image, which
            is carried from frame `mask_index` to the others; then out/mask.mp4 holds it for every frame.
        mask_index: the frame that a single mask image was drawn on.
        mask_by: what carries a single image: "flow" (optical flow), "sam2", or a folder or hub id of SAM 2's weights.
        consistent: later keyframes see the first one (eq. 5); False: every one for itself.
        seed: keyframe k gets `keyframe_seed(seed, k)`.
        editor: a ready-made editor instead of the one that `choice` names.
        quiet: print nothing.

    Returns:
        KeyframeFiles, which prints as a summary.

    Raises:
        NovaError: bad input, before anything is written where possible; or a fault of the editor.
    """
    started = time.perf_counter()
    choice = choice or Choice()
    check_numbers(seed, interval)
    check_choice(choice, mask, mask_index, mask_by, editor is not None, out)
    with printed_notices(quiet):
        job = _prepare(Path(source), interval, Path(out), choice, mask, mask_index, mask_by, consistent, seed, editor)
        kept = _write_all(job)
        pages = job.sheet.finish()
        masks = _write_masks(job)
    name = job.editor.name if job.editor else None
    trust = job.masks.confidence if job.masks else {}
    seconds = time.perf_counter() - started
    result = KeyframeFiles(job.folder.folder, job.info, job.indices, name, kept, tuple(pages), masks, trust, seconds)
    if not quiet:
        print(result)
    return result


@dataclass(frozen=True)
class _Job:
    """What is to be done, checked."""

    info: ClipInfo
    indices: tuple[int, ...]
    editor: KeyframeEditor | None
    prompt: str
    masks: KeyframeMasks | None
    consistent: bool
    seed: int
    folder: KeyframeFolder
    sheet: Any  # ContactSheet


def _prepare(
    source: Path,
    interval: int,
    out: Path,
    choice: Choice,
    mask: str | Path | None,
    mask_index: int,
    mask_by: str,
    consistent: bool,
    seed: int,
    editor: KeyframeEditor | None,
) -> _Job:
    """Everything that can be refused before anything is written."""
    from novakit.editing.contact_sheet import ContactSheet
    from novakit.editing.keyframe_folder import KeyframeFolder
    from novakit.editing.keyframe_masks import KeyframeMasks
    from novakit.editing.keyframes import check_start, keyframe_indices
    from novakit.video import probe

    info = probe(source)
    indices = keyframe_indices(info.num_frames, interval)
    editor = editor or build_editor(choice)
    if editor is not None:
        check_start(editor, choice.prompt or "", indices)
    request = record(info, interval, choice, editor, mask, mask_index, mask_by, consistent, seed)
    folder = KeyframeFolder(out, request, info.num_frames, keep=editor is None or editor.name != "hand")
    masks = None if mask is None else KeyframeMasks.of(mask, info, indices, mask_index, mask_by)
    sheet = ContactSheet(folder.sheets, edited=editor is not None)
    return _Job(info, indices, editor, choice.prompt or "", masks, consistent, seed, folder, sheet)


def _write_all(job: _Job) -> int:
    """Edit and write keyframe by keyframe; returns how many an earlier run had done."""
    from tqdm import tqdm

    from novakit.editing.keyframe_editors.checks import check_any_changed, is_changed
    from novakit.editing.keyframes import first_of

    kept, changed, reference = 0, False, None
    with tqdm(total=len(job.indices), unit="keyframe", disable=None) as bar, _what_is_kept(job):
        for index, frame, mask in _frames(job):
            kept += job.folder.has(index)
            keyframe = _one(job, index, frame, mask, reference)
            if job.consistent and reference is None and first_of(keyframe):
                # in 8 bits, as a run that goes on sees it
                reference = replace(keyframe, edited=job.folder.read(index, job.info.size))
            changed = changed or is_changed(keyframe.edited, frame)
            registration = getattr(job.editor, "registrations", {}).get(index)
            job.sheet.add(keyframe, job.masks.remark(index) if job.masks else "", str(registration or ""))
            bar.update()
    if job.editor is not None:
        check_any_changed(changed, job.editor, len(job.indices))
    return kept


@contextmanager
def _what_is_kept(job: _Job) -> Iterator[None]:
    """An error in the middle says how many keyframes are done and that the next run goes on from there."""
    try:
        yield
    except NovaError as error:
        done = sum(job.folder.has(index) for index in job.indices)
        if not done:
            raise
        raise NovaError(
            f"{error} {done} of {len(job.indices)} keyframes are in {job.folder.folder} and are kept; the same "
            "command goes on from there."
        ) from error


def _frames(job: _Job) -> Iterator[tuple[int, Tensor, Tensor | None]]:
    """(index, frame (3, H, W), mask (1, H, W) or None) of every keyframe, decoded as they are asked for."""
    from novakit.editing.keyframe_masks import READER
    from novakit.video import frame_to_tensor, iter_frames, resize

    masks = None if job.masks is None else iter(job.masks)
    wanted = set(job.indices)
    for t, picture in enumerate(iter_frames(job.info, job.indices[-1] + 1, READER)):
        if t in wanted:
            frame = resize(frame_to_tensor(picture), job.info.size).contiguous()  # square pixels
            yield t, frame, None if masks is None else next(masks)
    for _ in masks or ():  # at its end it tells what it resized
        pass


def _one(job: _Job, index: int, frame: Tensor, mask: Tensor | None, reference: EditedKeyframe | None) -> EditedKeyframe:
    """One keyframe as it is on the disk: kept from an earlier run, or made and written now."""
    from novakit.editing.keyframe_editors import EditedKeyframe
    from novakit.editing.keyframes import edit_keyframe

    if job.folder.has(index):
        return EditedKeyframe(index, frame, job.folder.read(index, job.info.size), mask)
    keyframe = EditedKeyframe(index, frame, frame, mask)
    if job.editor is not None:
        keyframe = edit_keyframe(index, frame, mask, job.prompt, job.editor, reference=reference, seed=job.seed)
    job.folder.write(index, keyframe.edited)
    return keyframe


def _write_masks(job: _Job) -> Path | None:
    """A video with a mask for every frame, for `novakit edit`: out/mask.mp4 when it was propagated."""
    from novakit.video import write_clip

    if job.masks is None or job.masks.path.is_dir():
        return None
    if job.masks.propagated is None:
        return job.masks.path
    masks = job.masks.propagated.masks
    frames = ((masks[t] * 2 - 1).expand(3, -1, -1) for t in range(job.info.num_frames))
    return write_clip(job.folder.folder / "mask.mp4", frames, job.info.fps)
