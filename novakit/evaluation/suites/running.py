"""Working through a plan: batches of scenes, row by row; what is on disk is not made again, what fails is written down.

Source: ours.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

from torch import Tensor
from tqdm.auto import tqdm

from novakit.errors import NovaError
from novakit.evaluation.baselines.task import EditTask
from novakit.evaluation.scoring import held_out_scenes, start_noise
from novakit.evaluation.suites.rows import Row
from novakit.evaluation.suites.scores import Judge, score_batch
from novakit.evaluation.suites.store import Store
from novakit.evaluation.suites.weights import fingerprint
from novakit.paths import build
from novakit.scenes import SceneBatch


@dataclass(frozen=True)
class Plan:
    """A row and how much of it: scenes 0 ... scenes-1, seeds 0 ... seeds-1."""

    row: Row
    scenes: int
    seeds: int

    @property
    def used_seeds(self) -> int:
        """1 where the starting noise plays no part."""
        return self.seeds if self.row.seeded else 1


@dataclass
class Bench:
    """What a run works with."""

    pipe: Any  # NovaEditPipeline
    judge: Judge
    steps: int
    load_variant: Callable[..., Any]  # (name, pipe=...) -> NovaEditPipeline with the variant's weights
    render: Callable[[list[int], int], SceneBatch] = held_out_scenes  # (scenes, T)
    noise: Callable[[Any, SceneBatch, int], Tensor] = start_noise
    pipes: dict[str, Any] = field(default_factory=dict)  # loaded variants
    missing: dict[str, str] = field(default_factory=dict)  # variant -> why it cannot be loaded

    def pipe_of(self, row: Row, store: Store) -> Any | None:
        """The pipeline of a row, or None where its weights are missing (the reason is kept)."""
        name = row.weights
        if name is None:
            return self.pipe
        if name not in self.pipes and name not in self.missing:
            try:
                self.pipes[name] = self.load_variant(name, pipe=self.pipe)
            except NovaError as error:
                self.missing[name] = str(error).replace(str(build()), "build")  # no machine's paths in a report
                return None
            store.require_variant(name, fingerprint(self.pipes[name].transformer))
        return self.pipes.get(name)


@dataclass(frozen=True)
class Chunk:
    """One call: a row on a few scenes, with one seed."""

    row: Row
    seed: int
    scenes: tuple[int, ...]


def chunks(plans: list[Plan], store: Store) -> list[Chunk]:
    """What is still to be done, all rows of a batch of scenes together; batches never depend on where a run stopped."""
    return sorted(
        (chunk for plan in plans for chunk in _chunks_of(plan, store)), key=lambda chunk: (chunk.seed, chunk.scenes[0])
    )


def _chunks_of(plan: Plan, store: Store) -> Iterator[Chunk]:
    for seed in range(plan.used_seeds):
        todo = [scene for scene in range(plan.scenes) if not store.has(plan.row.name, scene, seed)]
        for _, block in groupby(todo, key=lambda scene: scene // plan.row.batch):
            yield Chunk(plan.row, seed, tuple(block))


def work(plans: list[Plan], store: Store, bench: Bench, progress: bool = True) -> None:
    """Bring the store to what the plans ask for.

    Rows whose weights are missing are left out; `bench.missing` says why. A scene that fails is recorded with its
    reason, the others go on.

    Raises:
        NovaError: the store holds records of other weights of a variant.
    """
    todo = chunks(plans, store)
    with tqdm(total=sum(len(chunk.scenes) for chunk in todo), desc="clips", disable=not progress) as bar:
        for chunk in todo:
            pipe = bench.pipe_of(chunk.row, store)
            if pipe is not None:
                bar.set_postfix_str(chunk.row.name)
                store.add(_records(pipe, chunk, bench))
            bar.update(len(chunk.scenes))


def _records(pipe: Any, chunk: Chunk, bench: Bench) -> list[dict]:
    """Records of a chunk; when it fails, of each scene alone, and the failing ones get their reason."""
    try:
        return edit_and_score(pipe, chunk, bench)
    except Exception as error:  # whatever an editor or a metric does must not lose the other scenes
        if len(chunk.scenes) == 1:
            lines = str(error).strip().splitlines() or ["no message"]
            about = {"row": chunk.row.name, "scene": chunk.scenes[0], "seed": chunk.seed}
            return [{**about, "error": f"{type(error).__name__}: {lines[0][:300]}"}]
    alone = [replace(chunk, scenes=(scene,)) for scene in chunk.scenes]
    return [record for one in alone for record in _records(pipe, one, bench)]


def edit_and_score(pipe: Any, chunk: Chunk, bench: Bench) -> list[dict]:
    """Render, edit and score one chunk.

    Returns:
        One record per scene: row, scene, seed, edit, moving, still_camera, keyframes, seconds, and the scores.
    """
    row, scenes = chunk.row, bench.render(list(chunk.scenes), chunk.row.num_frames)
    indices = row.places(scenes.truth.shape[2], chunk.scenes[0], chunk.seed)
    given = row.keyframes(scenes, indices, chunk.seed)
    scenes = scenes if given.mask is None else replace(scenes, mask=given.mask)
    device = pipe.device
    seen = given.target if row.reads_truth else scenes.source
    noise = bench.noise(pipe, scenes, chunk.seed)
    tensors = [tensor.to(device) for tensor in (seen, given.keyframes, noise, scenes.mask)]
    task = EditTask(tensors[0], tensors[1], indices, tensors[2], bench.steps, tensors[3])
    started = time.perf_counter()
    output = row.edit(pipe, task).detach().float().cpu()
    seconds = (time.perf_counter() - started) / len(chunk.scenes)
    about = {"row": row.name, "seed": chunk.seed, "keyframes": len(indices), "seconds": round(seconds, 4)}
    flags = [{"moving": bool(m), "still_camera": bool(s)} for m, s in zip(scenes.moving, scenes.still_camera)]
    places = zip(chunk.scenes, scenes.edits, flags, score_batch(output, scenes, given, indices, bench.judge))
    return [{**about, "scene": scene, "edit": edit, **flag, **scores} for scene, edit, flag, scores in places]
