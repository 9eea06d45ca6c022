"""`prepare` goes on after anything: kill -9, signals, a full disk, damage, NaN; two processes write what one writes."""

import errno
import os
import resource
import signal
import threading
import types
from unittest import mock

import pytest
import torch
from full_size_toy import Ranks
from prepare_toy import contents, in_child, manifest, tiny_encoder, toy_prepare

from novakit.errors import NovaError
from novakit.training.preparation import encoding, shards, work
from novakit.training.preparation.cache import LatentCache

ONE_BY_ONE = {"shard_bytes": 1}  # every clip is a shard of its own


@pytest.mark.parametrize("kill_at", [0, 1, 2])
def test_a_killed_run_goes_on_and_makes_each_clip_once(prepared, videos, tmp_path, tiny, kill_at):
    journal, plain = tmp_path / "journal", work.encode_item

    def journalled(encoder, item, *rest, **options):
        with journal.open("a") as stream:
            stream.write(f"{item.key}\n")
        if len(journal.read_text().split()) == kill_at + 1 and not (tmp_path / "killed").exists():
            (tmp_path / "killed").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return plain(encoder, item, *rest, **options)

    with mock.patch.object(work, "encode_item", journalled):
        run = lambda: toy_prepare(videos, tmp_path / "cache", **ONE_BY_ONE)  # noqa: E731
        assert in_child(run, tmp_path / "output") == -signal.SIGKILL
        with pytest.raises(NovaError, match="not finished"):
            LatentCache(tmp_path / "cache")
        run()
    keys = journal.read_text().split()
    assert len(keys) == 3 + 1 and len(set(keys)) == 3  # the one in flight was begun twice
    assert contents(tmp_path / "cache") == contents(prepared[0])
    assert LatentCache(tmp_path / "cache").fingerprint == LatentCache(prepared[0]).fingerprint


def test_two_processes_write_what_one_writes(prepared, videos, tmp_path):
    def run():
        torch.set_num_threads(1)
        with tiny_encoder() as encoded:
            toy_prepare(videos, tmp_path / "cache", progress=True)
        print("encoded", len(encoded))

    ranks = Ranks(run, tmp_path).wait()
    assert ranks.codes == [0, 0], ranks.text()
    assert "encoded 2" in ranks.text(0) and "encoded 1" in ranks.text(1) and "3 clips kept" in ranks.text(0)
    assert contents(tmp_path / "cache") == contents(prepared[0])


@pytest.mark.parametrize("name, code", [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_signal_saves_what_is_done(videos, tmp_path, tiny, name, code):
    plain = work.encode_item

    def signalled(encoder, item, *rest, **options):
        if threading.current_thread() is threading.main_thread() and not tiny:
            os.kill(os.getpid(), getattr(signal, name))
        return plain(encoder, item, *rest, **options)

    with (
        mock.patch.object(work, "encode_item", signalled),
        pytest.raises((SystemExit, KeyboardInterrupt)) as ending,
    ):
        toy_prepare(videos, tmp_path / "cache")
    assert code == (ending.value.code if isinstance(ending.value, SystemExit) else 130)
    assert len(tiny) == 1 and len({name.split("/")[0] for name in contents(tmp_path / "cache")} - {"constants"}) == 1
    toy_prepare(videos, tmp_path / "cache")
    assert len(tiny) == len(set(tiny)) == 3 and len(LatentCache(tmp_path / "cache")) == 3


def test_a_signal_to_one_process_ends_both_and_loses_nothing(videos, tmp_path, prepared):
    plain = work.encode_item

    def signalled(encoder, item, *rest, **options):
        if os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGTERM)
        return plain(encoder, item, *rest, **options)

    def run():
        torch.set_num_threads(1)
        with tiny_encoder(), mock.patch.object(work, "encode_item", signalled):
            toy_prepare(videos, tmp_path / "cache")

    ranks = Ranks(run, tmp_path).wait()
    assert ranks.codes == [143, 143], ranks.text()
    with pytest.raises(NovaError, match="not finished"):
        LatentCache(tmp_path / "cache")
    done = {name.split("/")[0] for name in contents(tmp_path / "cache")} - {"constants"}
    assert done  # what was encoded is on the disk
    with tiny_encoder() as encoded:
        toy_prepare(videos, tmp_path / "cache")
    assert len(encoded) == 3 - len(done) and contents(tmp_path / "cache") == contents(prepared[0])


def test_a_clip_whose_latents_are_no_numbers_is_quarantined(videos, tmp_path, tiny):
    plain, calls = encoding.encode_clip, []

    def poisoned(vae, clip):
        calls.append(1)
        return plain(vae, clip) * (float("nan") if len(calls) == 1 else 1.0)

    with mock.patch.object(encoding, "encode_clip", poisoned):
        toy_prepare(videos, tmp_path / "cache")
    assert len(manifest(tmp_path / "cache")["items"]) == 2
    (entry,) = [each for each in manifest(tmp_path / "cache")["dropped"] if "latents" in each["reason"]]
    assert entry == {"name": "one copy.mp4", "start": 3, "reason": "its target latents are NaN or infinite"}
    toy_prepare(videos, tmp_path / "cache")
    assert len(tiny) == 3  # not tried again
    assert len(LatentCache(tmp_path / "cache")) == 2


def test_a_damaged_shard_is_made_again(videos, tmp_path, tiny, prepared):
    folder = tmp_path / "cache"
    toy_prepare(videos, folder, **ONE_BY_ONE)
    item = manifest(folder)["items"][1]
    path = folder / "shards" / f"{item['shard']}.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    (folder / "shards" / ".left-over.safetensors").touch()
    tiny.clear()
    toy_prepare(videos, folder, **ONE_BY_ONE)
    assert tiny == [item["key"]] and contents(folder) == contents(prepared[0])
    assert not (folder / "shards" / ".left-over.safetensors").exists()


def test_a_full_disk_is_named_and_nothing_half_is_left(videos, tmp_path, tiny):
    folder = tmp_path / "cache"

    def run():
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))  # a clip takes 35 kB
        toy_prepare(videos, folder)

    assert in_child(run, tmp_path / "output") == 2
    said = (tmp_path / "output").read_text()
    assert "DiskError" in said and str(folder / "shards") in said and "could not be written" in said
    assert [path for path in (folder / "shards").iterdir() if path.name.startswith(".")] == []
    assert {name.split("/")[0] for name in contents(folder)} == {"constants"}
    toy_prepare(videos, folder)
    assert len(LatentCache(folder)) == 3


def test_too_little_space_is_seen_before_the_first_clip(videos, tmp_path, tiny, monkeypatch):
    monkeypatch.setattr(shards.shutil, "disk_usage", lambda _: types.SimpleNamespace(free=10_000))
    with pytest.raises(NovaError, match=r" has 10\.0 kB free; the clips still to encode take \d+\.\d kB "):
        toy_prepare(videos, tmp_path / "cache")
    assert tiny == []


def test_an_error_while_writing_is_not_the_clips_fault(videos, tmp_path, tiny, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    plain = shards.save_file
    toy = tmp_path / "cache"
    monkeypatch.setattr(
        shards, "save_file", lambda tensors, path: (plain if len(tensors) == 1 else full)(tensors, path)
    )
    with pytest.raises(NovaError, match="No space left"):
        toy_prepare(videos, toy)
    assert list((toy / "quarantine").iterdir()) == []


def test_a_second_run_into_the_same_folder_waits_outside(videos, tmp_path, tiny):
    inside, go_on = threading.Event(), threading.Event()

    def slow(*_):
        inside.set(), go_on.wait(60)
        return []

    first = threading.Thread(target=lambda: pytest.raises(NovaError, toy_prepare, videos, tmp_path / "cache"))
    with mock.patch.object(work, "survey", slow):
        first.start()
        assert inside.wait(60)
        with pytest.raises(NovaError, match=f"in use by process {os.getpid()}"):
            toy_prepare(videos, tmp_path / "cache")
        go_on.set(), first.join()
