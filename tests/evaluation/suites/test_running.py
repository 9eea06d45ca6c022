"""Working through a plan: everything once, resumable, one failing scene costs no other."""

from dataclasses import replace

import pytest
from toy_bench import ToyNova, config, no_variants, toy_bench

from novakit.errors import NovaError
from novakit.evaluation.suites.rows import INTERPOLATION, NOVA, ROUND_TRIP, SOURCE, Row, edit_with
from novakit.evaluation.suites.running import Bench, Plan, chunks, work
from novakit.evaluation.suites.store import Store

SMALL_NOVA = replace(NOVA, interval=4)


def keys(store, row, scenes=9, seeds=9):
    return [(r["scene"], r["seed"]) for r in store.select(row, scenes, seeds)]


def test_every_row_scene_and_seed_once_and_rows_without_noise_with_one_seed(tmp_path):
    store = Store(tmp_path, config())
    work([Plan(SMALL_NOVA, 6, 2), Plan(SOURCE, 6, 2)], store, toy_bench(), progress=False)
    assert keys(store, "nova") == [(scene, seed) for seed in range(2) for scene in range(6)]
    assert keys(store, "source") == [(scene, 0) for scene in range(6)]
    one = store.select("nova", 1, 1)[0]
    assert one["edit"] == "recolour" and one["keyframes"] == 3 and one["seconds"] >= 0
    assert one["keyframe_psnr"] in (None, 100.0) and one["SR"] in (None, 0.0, 1.0)


def test_a_stopped_run_goes_on_where_it_was_and_gives_the_same_numbers(tmp_path):
    class Stops(ToyNova):
        def __call__(self, *given, **options):
            if len(self.calls) == 2:
                raise KeyboardInterrupt
            return super().__call__(*given, **options)

    plans, whole, parts = [Plan(SMALL_NOVA, 12, 1)], Store(tmp_path / "whole", config()), tmp_path / "parts"
    work(plans, whole, toy_bench(), progress=False)
    with pytest.raises(KeyboardInterrupt):
        work(plans, Store(parts, config()), toy_bench(Stops()), progress=False)
    assert len(keys(Store(parts, config()), "nova", 99)) == 8
    pipe = ToyNova()
    work(plans, again := Store(parts, config()), toy_bench(pipe), progress=False)
    assert len(pipe.calls) == 1
    without = [{k: v for k, v in r.items() if k != "seconds"} for r in again.select("nova", 12, 1)]
    assert without == [{k: v for k, v in r.items() if k != "seconds"} for r in whole.select("nova", 12, 1)]
    work(plans, again, toy_bench(pipe), progress=False)
    assert len(pipe.calls) == 1


def test_a_larger_run_reuses_a_smaller_one(tmp_path):
    store = Store(tmp_path, config())
    work([Plan(SMALL_NOVA, 4, 1)], store, toy_bench(), progress=False)
    todo = chunks([Plan(SMALL_NOVA, 8, 2)], store)
    assert [(chunk.seed, chunk.scenes) for chunk in todo] == [(0, (4, 5, 6, 7)), (1, (0, 1, 2, 3)), (1, (4, 5, 6, 7))]


def test_one_failing_scene_is_recorded_with_its_reason_and_the_others_go_on(tmp_path):
    def moody(pipe, task):
        if any(task.source[:, 0, 0, 0, 0] == bad):
            raise RuntimeError("no memory for this one\nand a second line")
        return edit_with(pipe, task)

    bench = toy_bench()
    bad = bench.render([2]).source[0, 0, 0, 0, 0]
    store = Store(tmp_path, config())
    work([Plan(replace(SMALL_NOVA, edit=moody), 5, 1)], store, bench, progress=False)
    records = store.select("nova", 5, 1)
    assert [("error" in record) for record in records] == [False, False, True, False, False]
    assert records[2]["error"] == "RuntimeError: no memory for this one"
    work([Plan(SMALL_NOVA, 5, 1)], store, bench, progress=False)  # what failed is tried again
    assert not any("error" in record for record in store.select("nova", 5, 1))


def test_rows_without_their_weights_are_left_out_with_the_reason(tmp_path):
    store, bench = Store(tmp_path, config()), toy_bench()
    plans = [Plan(replace(SMALL_NOVA, name="mine", weights="add"), 4, 1), Plan(SMALL_NOVA, 4, 1)]
    work(plans, store, bench, progress=False)
    assert keys(store, "mine") == [] and len(keys(store, "nova")) == 4
    assert "--variant add" in bench.missing["add"]


def test_variants_are_loaded_once_and_their_weights_are_remembered(tmp_path):
    loaded = []

    def load(name, pipe):
        loaded.append(name)
        return ToyNova()

    row = replace(SMALL_NOVA, name="mine", weights="add")
    work([Plan(row, 8, 1)], Store(tmp_path, config()), toy_bench(load_variant=load), progress=False)
    assert loaded == ["add"]

    def other(name, pipe):
        pipe = ToyNova()
        pipe.transformer.dense_branch.weight.data += 1
        return pipe

    with pytest.raises(NovaError, match="were made with weights"):
        work([Plan(row, 12, 1)], Store(tmp_path, config()), toy_bench(load_variant=other), progress=False)


def test_the_ceiling_reads_the_truth_and_the_others_do_not(tmp_path):
    seen = {}

    def watch(name):
        def edit(pipe, task):
            seen[name] = task
            return task.source

        return edit

    bench, store = toy_bench(), Store(tmp_path, config())
    rows = [replace(ROUND_TRIP, edit=watch("round_trip")), replace(SMALL_NOVA, edit=watch("nova"))]
    work([Plan(row, 1, 1) for row in rows], store, bench, progress=False)
    scene = bench.render([0])
    assert (seen["round_trip"].source == scene.truth).all()
    assert (seen["nova"].source == scene.source).all() and seen["nova"].indices == [0, 4, 8]
    assert (seen["nova"].keyframes == scene.truth[:, :, [0, 4, 8]]).all()


def test_rows_that_tune_or_draw_their_places_go_scene_by_scene(tmp_path):
    store = Store(tmp_path, config())
    rows = [replace(NOVA, tunes=True), replace(INTERPOLATION, irregular=True)]
    assert all(len(chunk.scenes) == 1 for row in rows for chunk in chunks([Plan(row, 5, 1)], store))
    places = {tuple(rows[1].places(33, scene, 0)) for scene in range(12)}
    assert len(places) > 6 and all(place[0] == 0 for place in places)
    gaps = [b - a for place in places for a, b in zip(place, place[1:])]
    assert min(gaps) >= 4 and max(gaps) <= 12


def test_a_bench_needs_nothing_but_what_it_is_given():
    assert isinstance(toy_bench(), Bench)
    with pytest.raises(NovaError, match="is not trained"):
        no_variants("add")
    assert Row("x", "y", edit_with).parameters(None) == 0
