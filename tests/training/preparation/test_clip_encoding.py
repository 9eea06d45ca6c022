"""Pixels of variants, and their latents: what is stored is what the network would have been given."""

import hashlib
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from nova_tiny import VAE, tiny_vae

from novakit.degradation import interpolate_keyframes
from novakit.errors import NovaError, NovaNotice
from novakit.models.latents import encode_clip
from novakit.models.sparse_branch import prepare_control
from novakit.presets import NANO, WAN_1_3B
from novakit.training.preparation import encoding
from novakit.training.preparation.cutting import Candidate
from novakit.training.preparation.encoding import (
    VARIANTS,
    Encoder,
    context_of,
    encode_constants,
    encode_item,
    fingerprint_of,
    lent,
    load_encoder,
    unhealthy,
)
from novakit.training.preparation.examples import FOREIGN, SHARES, draw_kind, given_control, pseudo_source
from novakit.training.preparation.listing import Video
from novakit.training.preparation.plan import Elsewhere, Item

SHAPE = (1, 3, 9, 32, 48)
OPTIONS = {"variants": 3, "interval": 4, "seed": 0}


def item(number, video=None):
    key = hashlib.sha256(f"clip {number}".encode()).hexdigest()[:16]
    path = f"/{video if video is not None else number}.mp4"
    return Item(Video(path[1:], path), Candidate(key, 0, 1, 9, (32, 48), 1.0, 9.0, "0" * 48, ""))


def pixels(seed):
    return torch.rand(SHAPE, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.fixture(scope="module")
def encoder():
    return Encoder(tiny_vae().requires_grad_(False), "tiny")


def encode(encoder, one, **changes):
    options = {**OPTIONS, **changes}
    others = {v: ("other", pixels(100 + v)) for v in lent(one, options["variants"], options["seed"])}
    return encode_item(encoder, one, {"target": pixels(0)}, others, **options)


def test_the_number_of_variants_follows_from_the_papers_run():
    sightings = 8000 * 8 / 5000
    assert (VARIANTS - 1) ** 2 < sightings <= VARIANTS**2 and VARIANTS == 4


def test_a_stored_control_becomes_the_context_that_vace_reads(encoder):
    control = pixels(1)
    grey = encode_constants(encoder, SHAPE[2:])["grey"]
    stored = encode_clip(encoder.vae, control)
    assert torch.allclose(context_of(grey.float(), stored, 8), prepare_control(encoder.vae, control), atol=1e-3)
    exact = context_of(encode_clip(encoder.vae, torch.zeros(SHAPE))[0], stored, 8)
    assert torch.equal(exact, prepare_control(encoder.vae, control))


def test_a_clip_is_a_function_of_seed_and_key(encoder):
    first, again = encode(encoder, item(0)), encode(encoder, item(0))
    assert first.variants == again.variants
    assert all(torch.equal(first.tensors[name], again.tensors[name]) for name in first.tensors)
    assert set(first.tensors) == {"target", *(f"{part}.{v}" for part in ("source", "control") for v in range(3))}
    for changed in (encode(encoder, item(0), seed=1), encode(encoder, item(1))):
        assert torch.equal(changed.tensors["target"], first.tensors["target"])
        assert not torch.equal(changed.tensors["control.0"], first.tensors["control.0"])
    fewer = encode(encoder, item(0), variants=2)
    assert all(torch.equal(fewer.tensors[name], first.tensors[name]) for name in fewer.tensors)
    assert not torch.equal(first.tensors["control.0"], first.tensors["control.1"])


def test_given_files_take_the_place_of_what_is_drawn(encoder):
    clips = {"target": pixels(0), "source": pixels(1), "control": pixels(2)}
    one = replace(item(0), video=Video("v", "/v", source="/s", control="/c"))
    made = encode_item(encoder, one, clips, {}, **OPTIONS)
    assert set(made.tensors) == {"target", "source.0", "control.0"} and made.variants == [{"kind": "given"}]
    keyframes = interpolate_keyframes(clips["control"][:, :, [0, 4, 8]], [0, 4, 8], 9)
    assert torch.equal(given_control(clips["control"], 4), keyframes)
    assert torch.equal(made.tensors["source.0"], encode_clip(encoder.vae, clips["source"])[0].half())


@pytest.mark.parametrize("kind", SHARES)
def test_every_kind_of_source_spoils_a_part_of_the_target(kind):
    target, other = pixels(0), pixels(1)
    changed = 0
    for seed in range(4):
        source = pseudo_source(kind, target, other, torch.Generator().manual_seed(seed))
        share = (source != target).any(1).float().mean().item()
        assert source.shape == target.shape and source.abs().max() <= 1 and share < 0.7
        changed += share > 0
    assert changed >= 3
    if kind not in FOREIGN:
        alone = pseudo_source(kind, target, None, torch.Generator().manual_seed(3))
        assert torch.equal(alone, source)


def test_the_shares_are_those_of_the_mixture():
    generator = torch.Generator().manual_seed(0)
    drawn = [draw_kind(generator) for _ in range(2000)]
    assert sum(SHARES.values()) == pytest.approx(1.0)
    assert all(abs(drawn.count(kind) / 2000 - share) < 0.04 for kind, share in SHARES.items())


@pytest.mark.parametrize("fault, said", [(float("nan"), "NaN"), (float("inf"), "NaN or infinite"), (None, "constant")])
def test_unhealthy_latents_are_refused(encoder, fault, said, monkeypatch):
    def broken(vae, clip):
        latents = torch.randn(1, 4, 3, 4, 6)
        if fault is None:
            return torch.zeros_like(latents)
        latents[0, 1, 2, 3, 4] = fault
        return latents

    monkeypatch.setattr(encoding, "encode_clip", broken)
    with pytest.raises(NovaError, match=f"target latents are {said}"):
        encode(encoder, item(0))
    assert unhealthy(torch.randn(4, 3, 4, 6)) is None


def test_a_clip_is_never_its_own_foreign_content():
    items = [item(i, video=i // 2) for i in range(40)]  # two clips of each video
    elsewhere = Elsewhere(items)
    lenders = {(one.key, v): elsewhere.of(one, v, 0) for one in items for v in range(4)}
    assert all(lender.video != next(i for i in items if i.key == key).video for (key, _), lender in lenders.items())
    assert len({lender.key for lender in lenders.values()}) > 25
    more = Elsewhere([*items, item(99)])
    moved = sum(more.of(one, v, 0).key != lenders[one.key, v].key for one in items for v in range(4))
    assert 0 < moved < 40  # about 160 / 41 expected; a new draw would move nearly all


def test_foreign_content_where_there_is_little_choice():
    assert Elsewhere([item(0)]).of(item(0), 0, 0) is None
    same_video = [item(0, video=7), item(1, video=7)]
    assert Elsewhere(same_video).of(same_video[0], 0, 0) == same_video[1]


def test_the_fingerprint_sees_encoder_mean_and_std_only():
    vae = tiny_vae()
    before = fingerprint_of(vae)
    vae.decoder.conv_in.weight.data += 1
    assert fingerprint_of(vae) == before == fingerprint_of(tiny_vae()) != fingerprint_of(tiny_vae(1))
    vae.encoder.conv_in.weight.data[0, 0, 0, 0, 0] += 1e-3
    assert fingerprint_of(vae) != before
    other = tiny_vae()
    other.register_to_config(latents_std=[1.0, 1.0, 1.0, 1.0])
    assert fingerprint_of(other) != before


def test_the_encoded_empty_prompt_is_kept_as_it_is(encoder):
    text = torch.randn(1, 3, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    kept = encode_constants(Encoder(encoder.vae, "tiny", lambda: text), SHAPE[2:])["text"]
    assert kept.dtype == torch.float32 and torch.equal(kept, text.float())
    assert "text" not in encode_constants(encoder, SHAPE[2:])


def test_the_encoder_of_a_base_folder(tmp_path, monkeypatch):
    vae = tiny_vae()
    vae.save_pretrained(tmp_path / "vae")
    preset = replace(WAN_1_3B, vae=VAE)
    with pytest.warns(NovaNotice, match="text_encoder"):
        found = load_encoder(preset, tmp_path, torch.device("cpu"))
        assert found.text() is None
    assert found.fingerprint == fingerprint_of(vae)
    assert torch.equal(encode_clip(found.vae, pixels(0)), encode_clip(vae, pixels(0)))
    reader = SimpleNamespace(read=lambda prompts, device: torch.full((len(prompts), 512, 8), 2.0))
    monkeypatch.setattr(encoding, "find_prompts", lambda *_: reader)
    assert load_encoder(preset, tmp_path, torch.device("cpu")).text().shape == (1, 512, 8)


def test_a_base_for_a_preset_with_shipped_weights_is_refused(tmp_path):
    with pytest.raises(NovaError, match="belong to wan-1.3b"):
        load_encoder(NANO, tmp_path, torch.device("cpu"))
