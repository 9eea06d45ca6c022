"""Lets the tests of this folder import their helpers, and gives them one prepared cache to share."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1] / "models"), str(HERE.parents[1] / "video")]

import prepare_toy  # noqa: E402


@pytest.fixture(scope="session")
def videos(tmp_path_factory):
    """A folder of small videos: two scenes, one scene, its copy, a static one, a cut-off one, a text."""
    return prepare_toy.make_folder(tmp_path_factory.mktemp("videos"))


@pytest.fixture(scope="session")
def prepared(videos, tmp_path_factory):
    """The cache of that folder, and how many clips were encoded for it; to be read only."""
    folder = tmp_path_factory.mktemp("prepared") / "cache"
    with prepare_toy.tiny_encoder() as encoded:
        prepare_toy.toy_prepare(videos, folder)
    return folder, len(encoded)


@pytest.fixture
def tiny():
    """The tiny encoder in place of the shipped VAE; gives the keys of the clips that are encoded."""
    with prepare_toy.tiny_encoder() as encoded:
        yield encoded
