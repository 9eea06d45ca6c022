"""The dense cross-attention itself: it is Wan's attention, windows are masks, maps are what it reads."""

import pytest
import torch
from diffusers.models.transformers.transformer_wan import WanAttention, WanAttnProcessor
from nova_tiny import tiny_inputs, tiny_nova

from novakit.errors import NovaError
from novakit.models import AttentionRequest, DenseCrossAttention, token_at
from novakit.models.dense_branch import DenseAddition, attend

GRID = (3, 4, 4)


def rotary():
    model = tiny_nova()
    return model.base.rope(torch.zeros(1, 4, *GRID))


def test_reading_its_own_tokens_it_is_wan_self_attention():
    """Same weights, same input on both sides: the cross-attention computes what Wan's own processor does."""
    torch.manual_seed(0)
    cross = DenseCrossAttention(24, 2)
    wan = WanAttention(24, 2, 12, 1e-6, processor=WanAttnProcessor())
    cross.attn.load_state_dict(wan.state_dict())
    tokens, turn = torch.randn(2, 48, 24), rotary()
    expected = wan(cross.norm_query(tokens), None, None, turn)
    torch.testing.assert_close(cross(tokens, cross.project(tokens, turn), turn, GRID), expected)


def windowed_by_mask(query, key, value, window):
    frame = torch.arange(48) // 16
    near = (frame[:, None] - frame[None]).abs() <= window  # (N, N)
    q, k, v = (part.transpose(1, 2) for part in (query, key, value))
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=near).transpose(1, 2)


@pytest.mark.parametrize("window", [0, 1, 2, 50])
def test_a_window_equals_the_same_attention_with_a_mask(window):
    query, key, value = torch.randn(3, 2, 48, 2, 12, generator=torch.Generator().manual_seed(3))
    expected = windowed_by_mask(query, key, value, window)
    torch.testing.assert_close(attend(query, key, value, GRID, window), expected)


@torch.no_grad()
def test_adding_overrides_what_the_main_tokens_say_and_querying_asks_them():
    """Main tokens moved by 7 places say that the edit moved something: querying follows, adding cannot."""
    torch.manual_seed(1)
    dim, dense, plain = 24, torch.randn(1, 48, 24), (torch.ones(24), torch.zeros(24))  # RoPE that turns nothing
    moved = dense.roll(7, dims=1)
    query, add = DenseCrossAttention(dim, 1), DenseAddition(dim, 1)
    for linear in (query.attn.to_q, query.attn.to_k, query.attn.to_v, query.attn.to_out[0], add.to_v, add.to_out):
        torch.nn.init.eye_(linear.weight), torch.nn.init.zeros_(linear.bias)
    for part in (query.attn.norm_q, query.attn.norm_k):
        torch.nn.init.constant_(part.weight, 3.0)  # sharp attention
    value = query.norm_dense(dense)

    def told(part, tokens):
        return part(tokens, part.project(dense, plain), plain, GRID)

    assert torch.equal(told(add, moved), told(add, dense))
    torch.testing.assert_close(told(add, moved), value)  # the source of the same place, whatever the main token says
    torch.testing.assert_close(told(query, moved), value.roll(7, dims=1), atol=0.3, rtol=0.0)
    assert (told(query, moved) - value).abs().mean() > 0.5


@pytest.mark.parametrize("window", [None, 0, 1])
def test_attention_maps_are_the_weights_of_what_is_read(window):
    """Rebuild the output of the asked tokens from map x V; a map of another layer would not give it."""
    model, inputs = tiny_nova(dense_window=window), tiny_inputs()
    request = AttentionRequest([0, 17, 40], layers=(1, 3), per_head=True)
    read = {}
    cross = model.dense_branch["1"]
    cross.attn.to_out[0].register_forward_pre_hook(lambda _, args: read.update(out=args[0]))
    with torch.no_grad():
        model(**inputs, attention_request=request)
        cache = model.encode_source(inputs["source_latents"], inputs["encoder_hidden_states"])
    assert set(request.maps) == {1, 3}
    weights = request.maps[1]  # (B, heads, Q, t, h, w)
    assert weights.shape == (2, 2, 3, *GRID)
    torch.testing.assert_close(weights.sum(dim=(3, 4, 5)), torch.ones(2, 2, 3))
    value = cache.layers[1][1]  # (B, N, heads, d)
    rebuilt = torch.einsum("bhqn,bnhd->bqhd", weights.flatten(3), value).flatten(2)
    torch.testing.assert_close(rebuilt, read["out"][:, [0, 17, 40]])
    if window == 0:
        assert weights[:, :, 0, 1:].abs().max() == 0  # token 0 lies in latent frame 0


def test_maps_average_the_heads_unless_asked():
    model, inputs = tiny_nova(), tiny_inputs()
    requests = AttentionRequest([5]), AttentionRequest([5], per_head=True)
    with torch.no_grad():
        for request in requests:
            model(**inputs, attention_request=request)
    assert set(requests[0].maps) == {0, 1, 2, 3}
    torch.testing.assert_close(requests[0].maps[2], requests[1].maps[2].mean(dim=1))


def test_a_token_outside_the_clip_is_refused():
    model, inputs = tiny_nova(), tiny_inputs()
    for queries in ([48], [-1], []):
        with pytest.raises(NovaError, match=r"tokens 0\.\.47"):
            model(**inputs, attention_request=AttentionRequest(queries))


@pytest.mark.parametrize("frame, row, column, token", [(0, 0, 0, 0), (1, 0, 8, 17), (4, 31, 31, 31), (5, 0, 0, 32)])
def test_pixels_to_tokens(frame, row, column, token):
    assert token_at(frame, row, column, GRID) == token


def test_pixels_outside_are_refused():
    with pytest.raises(NovaError, match="outside"):
        token_at(9, 0, 0, GRID)


def test_a_cache_moves_and_knows_its_size():
    model, inputs = tiny_nova(), tiny_inputs()
    with torch.no_grad():
        cache = model.encode_source(inputs["source_latents"], inputs["encoder_hidden_states"])
    assert cache.num_bytes == 4 * 2 * 2 * 48 * 24 * 4  # layers x (K, V) x batch x tokens x width x bytes
    half = cache.to(torch.bfloat16)
    assert half.num_bytes == cache.num_bytes // 2 and half.grid == cache.grid
