"""SR by people: a small form that shows one edit after the other, and a file of their answers.

The rater sees source and edit, never which method made it, in an order drawn by a seed. Every answer is written at
once, atomically, so a closed notebook loses nothing and the form goes on where it was left.

Source: ours; the question is that of user studies in general.
"""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from torch import Tensor

from novakit.errors import NovaError
from novakit.evaluation.metrics.clip_checks import check_clip
from novakit.files import atomic_write_json

QUESTION = "Does the second clip show the edit that was asked for, with everything else kept?"


def read_ratings(path: str | Path) -> dict[str, bool]:
    """The answers in a file: {"row/clip": succeeded}; empty when there is no file yet.

    Raises:
        NovaError: the file is no file of ratings.
    """
    path = Path(path)
    if not path.exists():
        return {}
    try:
        ratings = json.loads(path.read_text(encoding="utf-8"))["ratings"]
        answers = {key: rating["success"] for key, rating in ratings.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise NovaError(f"{path} is no readable file of ratings. Choose another name, or repair it.") from error
    if not all(isinstance(answer, bool) for answer in answers.values()):
        raise NovaError(f"{path} holds answers other than true and false. Repair it by hand, or rate again.")
    return answers


def human_success_rate(*paths: str | Path) -> dict[str, float]:
    """SR by people, by row: the share of yes among all answers, files of several raters pooled.

    Args:
        paths: files written by `human_success`.

    Returns:
        {row: share in [0, 1]}; the row is what stands before the first "/" of a clip's name.

    Raises:
        NovaError: no answer in any file.
    """
    answers = [pair for path in paths for pair in read_ratings(path).items()]
    if not answers:
        raise NovaError("there are no ratings yet. Show the form with human_success(clips, path) and answer it.")
    rows = {key.partition("/")[0]: [] for key, _ in answers}
    for key, answer in answers:
        rows[key.partition("/")[0]].append(answer)
    return {row: sum(given) / len(given) for row, given in rows.items()}


class RatingForm:
    """The widget's logic: which clip comes next, and the file. `human_success` makes one; Args as there."""

    def __init__(self, clips: dict[str, Tensor], path: Path, source: Tensor | dict[str, Tensor] | None, seed: int):
        for name, clip in clips.items():
            check_clip(clip, f"clip {name!r}")
            if len(clip) != 1:
                raise NovaError(
                    f"{name!r} holds {len(clip)} clips under one name; pass them one by one: clip[i : i + 1]."
                )
        self.clips, self.path, self.source = clips, path, source
        self.answers = read_ratings(path)
        self.order = sorted(clips)
        random.Random(seed).shuffle(self.order)

    @property
    def current(self) -> str | None:
        """Name of the next clip without an answer, or None."""
        return next((name for name in self.order if name not in self.answers), None)

    def source_of(self, name: str) -> Tensor | None:
        """The source of a clip."""
        return self.source.get(name) if isinstance(self.source, dict) else self.source

    def answer(self, success: bool) -> None:
        """Write the answer for the current clip."""
        if self.current is not None:
            self._write({**read_ratings(self.path), self.current: success})

    def take_back(self) -> None:
        """Forget the last answer of this form's order."""
        given = [name for name in self.order if name in self.answers]
        if given:
            self._write({name: value for name, value in self.answers.items() if name != given[-1]})

    def _write(self, answers: dict[str, bool]) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        ratings = {name: {"success": success} for name, success in sorted(answers.items())}
        atomic_write_json(self.path, {"question": QUESTION, "written": now, "ratings": ratings})
        self.answers = answers


def human_success(
    clips: dict[str, Tensor],
    path: str | Path,
    source: Tensor | dict[str, Tensor] | None = None,
    *,
    asked: str = "",
    seed: int = 0,
    fps: float = 12,
) -> Any:
    """A form for a notebook: did the edit succeed? Read the result with `human_success_rate(path)`.

    Args:
        clips: {"row/clip": edit `(1, 3, T, H, W)` in [-1, 1]}; the names are not shown.
        path: JSON file of the answers, one per rater; an existing one is continued.
        source: the source clip of all, or one per name, or None.
        asked: the edit that was asked for, in words.
        seed: of the order of the clips.
        fps: frames per second of the players.

    Returns:
        An `ipywidgets.VBox`; its attribute `form` is the `RatingForm`.

    Raises:
        NovaError: no clips, no clip `(1, 3, T, H, W)`, or `path` is no file of ratings.
    """
    import ipywidgets

    if not clips:
        raise NovaError("there are no clips to rate; pass {'row/clip': clip}.")
    form = RatingForm(clips, Path(path), source, seed)
    screen = ipywidgets.HTML()
    yes, no, back = (ipywidgets.Button(description=text) for text in ("yes", "no", "back"))

    def show() -> None:
        screen.value = _page(form, asked, fps)
        yes.disabled = no.disabled = form.current is None
        back.disabled = not form.answers

    def when_clicked(button: ipywidgets.Button, action: Any) -> None:
        button.on_click(lambda _: (action(), show()))

    when_clicked(yes, lambda: form.answer(True))
    when_clicked(no, lambda: form.answer(False))
    when_clicked(back, form.take_back)
    show()
    box = ipywidgets.VBox([screen, ipywidgets.HBox([yes, no, back])])
    box.form = form
    return box


def _page(form: RatingForm, asked: str, fps: float) -> str:
    """What the rater sees: how far they are, the question, source and edit."""
    from html import escape

    from novakit.show_player import players_html

    done = sum(name in form.answers for name in form.order)
    if form.current is None:
        return f"<p>All {len(form.order)} clips are rated; the answers are in {escape(form.path.name)}.</p>"
    pair = {"source": form.source_of(form.current), "edit": form.clips[form.current]}
    pictures = {title: _as_pixels(clip) for title, clip in pair.items() if clip is not None}
    request = f"<p>Asked for: {escape(asked)}</p>" if asked else ""
    return f"<p>Clip {done + 1} of {len(form.order)}. {QUESTION}</p>{request}{players_html(pictures, fps)}"


def _as_pixels(clip: Tensor) -> Any:
    """A clip `(1, 3, T, H, W)` as uint8 `(T, H, W, 3)`."""
    return ((clip[0].clamp(-1.0, 1.0) + 1.0) * 127.5).round().byte().permute(1, 2, 3, 0).cpu().numpy()
