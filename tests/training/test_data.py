"""The stores of encoded examples: the same whatever the order of building, and true to their stage."""

import pytest
import torch

from novakit.errors import NovaError
from novakit.models import build_vae
from novakit.training.data import LatentStore
from novakit.training.makers import BASE_TASKS, random_indices
from novakit.training.muon import orthogonalise
from novakit.training.objective import step_generator


@pytest.fixture(scope="module")
def vae():
    torch.manual_seed(0)
    return build_vae("nano").eval().requires_grad_(False)


@pytest.mark.parametrize("learn", ["main", "sparse", "dense"])
def test_a_shard_is_a_function_of_its_number(vae, learn, tmp_path):
    one = LatentStore(tmp_path / "a", learn, 1, clips=2)
    two = LatentStore(tmp_path / "b", learn, 1, clips=2)
    one.build(vae), two.build(vae)
    a, b = one.load().batch(7, 2), two.load().batch(7, 2)
    assert torch.equal(a.target_latents, b.target_latents)
    assert (a.source_latents is not None) == (learn == "dense")
    assert (a.control is not None) == (learn != "main")
    if a.control is not None:
        assert a.control.shape[1] == 160 and a.control.shape[2:] == a.target_latents.shape[2:]
        assert torch.equal(a.control, b.control)


def test_build_goes_on_where_it_stopped_and_load_names_what_is_missing(vae, tmp_path):
    store = LatentStore(tmp_path, "main", 2, clips=1)
    store.build(vae, range(1))
    with pytest.raises(NovaError, match="1 of 2 shards are missing"):
        store.load()
    first = store.path(0).stat().st_mtime_ns
    store.build(vae)
    assert store.path(0).stat().st_mtime_ns == first
    assert list(store.load().groups) == [5]


def test_crops_are_cut_from_the_same_place_of_every_tensor(vae, tmp_path):
    store = LatentStore(tmp_path, "dense", 1, clips=2)
    store.build(vae)
    loaded = store.load()
    batch = loaded.batch(0, 2, crop_share=1.0)
    assert batch.target_latents.shape[-2:] == batch.source_latents.shape[-2:] == batch.control.shape[-2:] == (6, 8)
    assert loaded.batch(0, 2, crop_share=0.0).target_latents.shape[-2:] == (8, 12)


def test_keyframe_indices_vary_and_stay_inside():
    drawn = {random_indices(33, step_generator(0, i)) for i in range(40)}
    assert (0, 8, 16, 24, 32) in drawn and len(drawn) > 10
    assert all(min(indices) >= 0 and max(indices) < 33 for indices in drawn)


def test_conditioning_tasks_are_a_distribution():
    assert sum(BASE_TASKS.values()) == pytest.approx(1.0)


def test_unknown_stage_is_refused(tmp_path):
    with pytest.raises(NovaError, match="main, sparse, dense"):
        LatentStore(tmp_path, "text", 1)


@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (12, 12)])
def test_orthogonalise_makes_singular_values_about_one(shape):
    values = torch.linalg.svdvals(orthogonalise(torch.randn(shape, generator=torch.Generator().manual_seed(0))))
    assert values.min() > 0.3 and values.max() < 1.3
