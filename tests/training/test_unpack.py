"""Finished weights taken apart and put together again are the same weights."""

import pytest
import torch

from novakit.errors import NovaError
from novakit.paths import shipped_weights
from novakit.training.pretrain import export, pretrain, trained_transformer, trained_vae
from novakit.training.unpack import FLOW_PARTS, unpack


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return unpack(shipped_weights() / "nano", tmp_path_factory.mktemp("runs"))


def test_unpack_then_export_gives_the_shipped_weights(root, tmp_path):
    from safetensors.torch import load_file

    shipped, again = shipped_weights() / "nano", export(root, tmp_path / "pipeline")
    for part in ("vae", "transformer"):
        name = f"{part}/diffusion_pytorch_model.safetensors"
        old, new = load_file(shipped / name), load_file(again / name)
        assert old.keys() == new.keys() and all(torch.equal(old[key], new[key]) for key in old)
        assert (again / part / "config.json").read_text() == (shipped / part / "config.json").read_text()
    assert (again / "history.json").read_text() == (shipped / "history.json").read_text()


def test_a_part_starts_from_the_unpacked_weights(root):
    model, vae = trained_transformer(root, *FLOW_PARTS), trained_vae(root)
    assert model.is_nova and max(map(abs, vae.config.latents_mean)) > 0


def test_unpacking_over_runs_is_refused(root):
    with pytest.raises(NovaError, match="already holds"):
        pretrain("unpack", root)
