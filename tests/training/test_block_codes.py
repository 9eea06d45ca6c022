"""The linear code of blocks: the best of its size, exact where nothing is dropped, one latent per block."""

import pytest
import torch

from novakit.errors import NovaError
from novakit.models import build_vae
from novakit.models.latents import encode_clip
from novakit.scenes import render_clips
from novakit.training.block_codes import BlockCodes, _cut
from novakit.training.codes_task import CodesTask, zero_residual_branches
from novakit.training.recipe import VaeClips


@pytest.fixture(scope="module")
def clips():
    return render_clips(range(6), num_frames=9)


@pytest.fixture(scope="module")
def codes(clips):
    return BlockCodes.fit([clips[:3], clips[3:]], 48)


def test_codes_lie_where_the_latents_of_a_vae_lie(clips, codes):
    assert codes.encode(clips).shape == encode_clip(build_vae("nano").eval(), clips).shape


def test_what_is_lost_is_the_least_that_any_linear_code_of_the_size_loses(clips, codes):
    back = codes.decode(codes.encode(clips))
    for true, seen in zip(_cut(clips, 8), _cut(back, 8), strict=True):
        rows, found = (part.movedim(1, -1).flatten(0, -2).double() for part in (true, seen))
        dropped = torch.linalg.svdvals(rows - rows.mean(0))[48:].square().sum()
        assert (rows - found).square().sum() == pytest.approx(dropped.item(), rel=1e-3)


def test_with_all_components_the_first_frame_comes_back(clips):
    whole = BlockCodes.fit([render_clips(range(20, 28), num_frames=5)], 192)
    assert torch.allclose(whole.decode(whole.encode(clips))[:, :, 0], clips[:, :, 0], atol=1e-3)


def test_channels_carry_alike_and_components_do_not(clips, codes):
    rows = codes.encode(clips)[:, :, 1:].transpose(0, 1).flatten(1)
    assert rows.mean(1).abs().max() < 1e-3 and rows.square().mean() == pytest.approx(1, rel=1e-3)
    assert rows.std(1).min() > 0.2 and rows.std(1).max() < 3
    spectrum = torch.linalg.eigvalsh(torch.cov(rows))
    assert spectrum[-1] > 5 and spectrum[-1] / spectrum[0] > 10


def test_a_block_has_one_latent(clips, codes):
    changed = clips.clone()
    changed[0, :, 6, 8:16, 16:24] += 0.5
    moved = (codes.encode(changed) - codes.encode(clips)).abs().amax(1) > 1e-4
    assert moved.nonzero().tolist() == [[0, 2, 1, 2]]


def test_what_cannot_be_cut_is_refused(codes):
    for shape in [(1, 3, 8, 64, 96), (1, 3, 9, 60, 96)]:
        with pytest.raises(NovaError, match="4k\\+1 frames"):
            codes.encode(torch.zeros(shape))
    with pytest.raises(NovaError, match="pass 1 to 192"):
        BlockCodes.fit([torch.zeros(1, 3, 5, 16, 16)], 193)
    with pytest.raises(NovaError, match="no clip"):
        BlockCodes.fit([], 48)


def test_encoder_and_decoder_learn_the_codes_side_by_side(codes):
    torch.manual_seed(0)
    task = CodesTask(build_vae("nano"), codes, seed=3, clips=VaeClips(2, 5, (16, 16)))
    optimizer = torch.optim.Adam(task.module.parameters(), 2e-3)
    numbers = []
    for _ in range(12):
        optimizer.zero_grad()
        loss, measured = task.measure(**task.inputs(0))
        loss.backward()
        optimizer.step()
        numbers.append({name: number.item() for name, number in measured.items()})
    assert numbers[-1]["codes"] < 0.8 * numbers[0]["codes"] and numbers[-1]["psnr"] > numbers[0]["psnr"] + 1


def test_the_decoder_reads_true_codes_whatever_the_encoder_says(codes):
    torch.manual_seed(0)
    task = CodesTask(build_vae("nano"), codes, seed=3, clips=VaeClips(1, 5, (16, 16)))
    given = task.inputs(0)

    def decoder_gradient():
        task.module.zero_grad()
        task.measure(**given)[0].backward()
        return task.module.decoder.conv_in.weight.grad.clone()

    before = decoder_gradient()
    with torch.no_grad():
        task.module.quant_conv.bias += 3.0
    assert torch.equal(decoder_gradient(), before)


def test_zeroed_branches_leave_a_net_that_its_shortcuts_are():
    vae = build_vae("nano")
    zero_residual_branches(vae)
    block = vae.encoder.mid_block.resnets[0]
    features = torch.randn(1, 48, 2, 4, 4)
    assert torch.equal(block(features), features)
