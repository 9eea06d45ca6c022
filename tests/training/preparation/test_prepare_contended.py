"""X8: two `prepare` runs from a barrier into one folder. One works, the other is told or finds all done."""

import multiprocessing
import os
import socket
from unittest import mock

import pytest
import torch
from full_size_toy import Ranks
from prepare_toy import contents, tiny_encoder, toy_prepare

from novakit.errors import NovaError
from novakit.training.preparation import work
from novakit.training.preparation.cache import LatentCache
from novakit.training.preparation.shards import faults, find_shards

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
ROUNDS = 3  # each takes a second or two


def contend(videos, folder, logs, wait):
    """Two runs; with `wait` the owner encodes nothing before the other one has ended. Returns them, and the journal."""
    fork = multiprocessing.get_context("fork")
    barrier, refused, plain, journal = fork.Barrier(2), fork.Event(), work.encode_item, logs / f"{folder.name}.txt"

    def encode(encoder, item, *rest, **options):
        assert not wait or refused.wait(60)
        with journal.open("a") as stream:
            stream.write(f"{item.key}\n")
        return plain(encoder, item, *rest, **options)

    def run():
        torch.set_num_threads(1)
        barrier.wait(60)
        try:
            with tiny_encoder(), mock.patch.object(work, "encode_item", encode):
                toy_prepare(videos, folder, shard_bytes=1)
        except NovaError:
            refused.set()
            raise

    runs = [Ranks(run, logs, count=1) for _ in range(2)]
    return sorted((each.wait(120) for each in runs), key=lambda each: each.codes), journal.read_text().split()


def assert_whole(folder, wanted, encoded):
    """Each clip was encoded once, what lies there is what one run alone writes, and nothing is half-written."""
    assert len(encoded) == len(set(encoded)) == 3
    assert contents(folder) == contents(wanted) and len(LatentCache(folder)) == 3
    shards = folder / "shards"
    assert not [fault for shard in find_shards(shards) for fault in faults(shards, shard.name, shard.items)]
    assert not list(folder.rglob(".*"))


def test_the_second_of_two_is_told_who_is_at_work(prepared, videos, tmp_path, tiny):
    for number in range(ROUNDS):
        (owner, other), encoded = contend(videos, tmp_path / str(number), tmp_path, wait=True)
        assert (owner.codes, other.codes) == ([0], [2]), owner.text() + other.text()
        assert f"in use by process {owner.children[0]} on {socket.gethostname()};" in other.text()
        assert_whole(tmp_path / str(number), prepared[0], encoded)


def test_a_free_race_does_each_clip_once(prepared, videos, tmp_path, tiny):
    """Nobody waits: the second is refused while the first works, or comes when all is done and has nothing to do."""
    for number in range(ROUNDS):
        runs, encoded = contend(videos, tmp_path / str(number), tmp_path, wait=False)
        codes, said = [each.codes[0] for each in runs], "".join(each.text() for each in runs)
        assert codes == [0, 0] or (codes == [0, 2] and "in use by process" in said), said
        assert_whole(tmp_path / str(number), prepared[0], encoded)
