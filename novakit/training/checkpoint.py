"""Checkpoints that survive a kill at any moment: safetensors and JSON, no pickle.

    RUN/checkpoints/step-000200/  weights, ema, optimizer, rng (.safetensors), state.json, manifest.json

A checkpoint is written to a hidden sibling folder, every file is flushed to disk, then the folder gets its
name in one rename: a reader sees the old set or the new one, never a mix. The manifest holds each file's
SHA-256, so a flipped bit or a missing file is noticed, and the previous checkpoint is used instead.
"""

import json
import os
import shutil
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from novakit.errors import NovaError, NovaNotice
from novakit.files import atomic_path, give_usual_permissions, sha256, size_text
from novakit.training.state import TrainingState

TENSOR_FILES = ("weights", "ema", "optimizer", "rng")
SPARE = 1.2  # free disk space wanted before a checkpoint is begun, in units of its size


def write_checkpoint(folder: Path, state: TrainingState, keep: int = 2) -> Path:
    """Write `state` as `folder/step-NNNNNN` atomically, then delete all but the `keep` newest.

    Args:
        folder: the run's checkpoint folder, created when missing.
        state: what to remember.
        keep: checkpoints kept, >= 2, so that one valid checkpoint exists at every instant.

    Returns:
        The new checkpoint's folder.

    Raises:
        NovaError: the disk refuses the write; earlier checkpoints are untouched.
    """
    final = folder / f"step-{state.step:06d}"
    partial = folder / f".partial-{final.name}-{os.getpid()}"
    try:
        partial.mkdir(parents=True)
        _check_space(partial, state)
        _write_files(partial, state)
        if final.exists():
            _discard(final)
        os.rename(partial, final)
        _flush(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise NovaError(
            f"checkpoint {final} could not be written ({error}); earlier checkpoints are untouched. "
            "Free disk space or choose a writable folder, then resume."
        ) from error
    for old in list_checkpoints(folder)[:-keep]:
        _discard(old)
    return final


def _check_space(folder: Path, state: TrainingState) -> None:
    """Refuse to begin what the disk cannot hold."""
    size = sum(tensor.nbytes for name in TENSOR_FILES for tensor in getattr(state, name).values())
    free = shutil.disk_usage(folder).free
    if free < SPARE * size:
        raise OSError(f"{size_text(SPARE * size)} wanted, {size_text(free)} free")


def write_weights(path: Path, weights: dict[str, Tensor], step: int) -> Path:
    """Write weights for use as one safetensors file, atomically.

    Raises:
        NovaError: the disk refuses the write; an earlier file is untouched.
    """
    with atomic_path(path) as partial:
        try:
            save_file(weights, partial, metadata={"step": str(step)})
        except (OSError, SafetensorError) as error:
            raise NovaError(f"{path} could not be written ({error}); free disk space, then resume.") from error
    return Path(path)


class CheckpointWriter:
    """Calls write functions one after the other, in a thread when `background`.

    What a thread could not write is raised by the next `submit` or by `wait`, and `failed` tells before that.
    """

    def __init__(self, background: bool) -> None:
        self.background = background
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    @property
    def failed(self) -> bool:
        """True when a write failed and nobody has been told yet."""
        return self._error is not None

    def submit(self, write: Callable[[], None]) -> None:
        """Call `write` now, or start it in a thread once the one before it has ended."""
        self.wait()
        if not self.background:
            write()
            return
        self._thread = threading.Thread(target=self._run, args=(write,), name="checkpoint")
        self._thread.start()

    def _run(self, write: Callable[[], None]) -> None:
        try:
            write()
        except BaseException as error:  # told to the training thread, whatever it is
            self._error = error

    def wait(self) -> None:
        """Wait until everything is on disk; raises what a write in the background raised."""
        self.finish()
        error, self._error = self._error, None
        if error is not None:
            raise error

    def finish(self) -> None:
        """Wait without raising: for a run that ends with another error."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None


def _write_files(folder: Path, state: TrainingState) -> None:
    for name in TENSOR_FILES:
        save_file(getattr(state, name), folder / f"{name}.safetensors")
        give_usual_permissions(folder / f"{name}.safetensors")
    (folder / "state.json").write_text(json.dumps({"step": state.step, **state.scalars}))
    hashes = {path.name: sha256(path) for path in sorted(folder.iterdir())}
    (folder / "manifest.json").write_text(json.dumps(hashes, indent=1))
    for path in (*folder.iterdir(), folder):
        _flush(path)


def _flush(path: Path) -> None:
    """Force a file's or folder's content to disk (some file systems cannot flush folders)."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        if path.is_file():
            raise
    finally:
        os.close(descriptor)


def _discard(path: Path) -> None:
    """Delete a checkpoint; it loses its name first, so a half-deleted one is never found."""
    trash = path.with_name(f".old-{path.name}-{os.getpid()}")
    os.rename(path, trash)
    shutil.rmtree(trash, ignore_errors=True)


def list_checkpoints(folder: Path) -> list[Path]:
    """The finished checkpoints in `folder`, oldest first."""
    steps = {path: path.name.removeprefix("step-") for path in folder.glob("step-*")}
    return sorted((path for path, step in steps.items() if step.isdigit()), key=lambda path: int(steps[path]))


def read_checkpoint(path: Path) -> TrainingState:
    """Read one checkpoint and prove that it is whole.

    Raises:
        NovaError: a file is missing, damaged or does not match the manifest.
    """
    try:
        hashes = json.loads((path / "manifest.json").read_text())
        for name in (*(f"{name}.safetensors" for name in TENSOR_FILES), "state.json"):
            if sha256(path / name) != hashes.get(name):
                raise NovaError(f"{name} does not match its SHA-256")
        scalars = json.loads((path / "state.json").read_text())
        tensors = {name: load_file(path / f"{name}.safetensors") for name in TENSOR_FILES}
        return TrainingState(step=scalars.pop("step"), scalars=scalars, **tensors)
    except Exception as error:
        raise NovaError(f"checkpoint {path} is damaged: {error}.") from error


def latest_checkpoint(folder: Path) -> TrainingState | None:
    """The newest valid checkpoint, or None when there has never been one.

    A damaged newer one is reported, set aside as `.damaged-…`, and the next older is tried.

    Raises:
        NovaError: there are checkpoints, and none is valid: a run never restarts from 0 silently.
    """
    for stray in [*folder.glob(".partial-*"), *folder.glob(".old-*")]:
        shutil.rmtree(stray, ignore_errors=True)
    found = list_checkpoints(folder)
    problems = []
    for path in reversed(found):
        try:
            state = read_checkpoint(path)
        except NovaError as error:
            problems.append((path, error))
            continue
        _set_aside(problems)
        return state
    if found or any(folder.glob(".damaged-*")):
        details = " ".join(str(error) for _, error in problems) or "All were set aside as damaged."
        raise NovaError(
            f"no checkpoint in {folder} is valid. {details} "
            "Restore a copy, or choose a new folder to start from step 0."
        )
    return None


def _set_aside(problems: list[tuple[Path, NovaError]]) -> None:
    for path, error in problems:
        warnings.warn(f"{error} Going back to the checkpoint before it.", NovaNotice, stacklevel=4)
        aside = path.with_name(f".damaged-{path.name}")
        shutil.rmtree(aside, ignore_errors=True)
        os.rename(path, aside)
