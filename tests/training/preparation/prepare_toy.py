"""Small videos, a tiny encoder in place of the shipped VAE, and caches written by hand."""

import contextlib
import json
import os
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from make_clips import make_video
from nova_tiny import tiny_vae

from novakit.files import atomic_write_json
from novakit.training.preparation import cache, command, encoding, work
from novakit.training.preparation.encoding import Encoder
from novakit.training.preparation.manifest import Settings, hash_of
from novakit.training.preparation.shards import ShardWriter, find_shards

SIZE = {"size": (72, 104), "fps": 25}
LOOKS = [(9, 13, 1, (40, 90, 200)), (23, 7, -2, (200, 60, 80)), (15, 31, 3, (80, 200, 60)), (6, 40, 2, (150, 150, 40))]


def scene(kind):
    """A moving pattern of its own look: draw(t, height, width) -> uint8 (H, W, 3)."""

    def draw(t, height, width):
        a, b, speed, colour = LOOKS[kind]
        y, x = np.mgrid[:height, :width].astype(np.float32)
        waves = [
            np.sin((x * (c + 1) + speed * 5 * t) / a) + np.cos((y * (3 - c) - 4 * t + kind * 20) / b) for c in range(3)
        ]
        return np.clip(np.stack(waves, -1) * 45 + np.array(colour), 0, 255).astype(np.uint8)

    return draw


def two_scenes(t, height, width):
    return scene(0 if t < 40 else 1)(t, height, width)


def make_folder(root):
    make_video(root / "two.mp4", frames=80, draw=two_scenes, **SIZE)
    make_video(root / "one.mp4", frames=40, draw=scene(2), **SIZE)
    shutil.copy(root / "one.mp4", root / "one copy.mp4")
    make_video(root / "still.mp4", frames=40, draw=lambda t, h, w: scene(3)(0, h, w), **SIZE)
    data = (root / "one.mp4").read_bytes()
    (root / "cut.mp4").write_bytes(data[: len(data) // 2])
    (root / "text.mp4").write_text("no video at all")
    return root


@contextlib.contextmanager
def tiny_encoder(seed=0):
    """Let `prepare` and `LatentCache` use a tiny random VAE; gives the keys of clips as they are encoded."""
    vae, encoded = tiny_vae(seed).requires_grad_(False), []
    given = Encoder(vae, encoding.fingerprint_of(vae))
    plain = encoding.encode_item

    def counted(encoder, item, *rest, **options):
        encoded.append(item.key)
        return plain(encoder, item, *rest, **options)

    with (
        mock.patch.object(command, "load_encoder", lambda *_: given),
        mock.patch.object(cache, "load_encoder", lambda *_: given),
        mock.patch.object(work, "encode_item", counted),
    ):
        yield encoded


def toy_prepare(videos, out, **options):
    """`prepare` at nano size, quickly: no child process, two variants."""
    given = {"preset": "nano", "variants": 2, "isolate": False, "device": "cpu", "progress": False, **options}
    return command.prepare(videos, out, **given)


def in_child(function, output):
    """Call a function in a forked process; its exit status as a shell shows it, negative = killed by that signal."""
    child = os.fork()
    if not child:
        code = 1
        try:
            stream = Path(output).open("w", buffering=1)  # noqa: SIM115 - the process's output until its end
            os.dup2(stream.fileno(), 1), os.dup2(stream.fileno(), 2)
            sys.stdout = sys.stderr = stream
            torch.set_num_threads(1)
            function()
            code = 0
        except SystemExit as ending:
            code = ending.code
        except BaseException as error:
            print(f"{type(error).__name__}: {error}")
            code = 2
        finally:
            sys.stdout.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def manifest(folder):
    """The manifest of a finished cache."""
    return json.loads((Path(folder) / "manifest.json").read_text())


def contents(folder):
    """Everything in the shards of a cache: {"key/tensor": digest}."""
    return {
        f"{item['key']}/{name}": digest
        for shard in find_shards(Path(folder) / "shards")
        for item in shard.items
        for name, digest in item["sha256"].items()
    }


def fake_cache(folder, clips, variants=2, shard_bytes=4096, encoder="made up"):
    """A cache of 64-byte latents that no VAE made."""
    generator = torch.Generator().manual_seed(0)
    (folder / "shards").mkdir(parents=True)
    settings = asdict(Settings("nano", 64, 96, 33, variants, 8, 0, encoder))
    writer = ShardWriter(folder / "shards", shard_bytes)
    names = ["target", *(f"{part}.{v}" for part in ("source", "control") for v in range(variants))]
    for i in range(clips):
        tensors = {name: torch.randn(4, 1, 2, 4, generator=generator).half() for name in names}
        writer.add(f"{i:016x}", tensors, {"variants": []})
    writer.flush()
    records = {item["key"]: {**item, "shard": s.name} for s in find_shards(folder / "shards") for item in s.items}
    sizes = {shard.name: shard.bytes for shard in find_shards(folder / "shards")}
    grey = torch.zeros(4, 1, 2, 4).half()
    writer.add("constants", {"grey": grey}, {})
    writer.flush()
    shared = next(s.name for s in find_shards(folder / "shards") if s.name not in sizes)
    constants = {"key": "constants", "shard": shared, "sha256": {"grey": hash_of(grey)}}
    items = [{**records[key], "name": f"clip {key}, frame 0"} for key in sorted(records)]
    manifest = {"settings": settings, "constants": constants, "shards": sizes, "items": items}
    atomic_write_json(folder / "settings.json", settings)
    atomic_write_json(folder / "manifest.json", manifest)
    return folder
