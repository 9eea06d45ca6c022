"""SAM 2 carries a mask as transformers' own road does; its weights are checked, and missing ones are named."""

import json

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file
from sam_tiny import tiny_sam
from transformers import Sam2VideoConfig, Sam2VideoModel
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

from novakit.editing.keyframes_command import make_keyframes
from novakit.editing.keyframes_options import Choice
from novakit.editing.masks import sam as mask_sam
from novakit.editing.masks import sam_weights
from novakit.editing.masks.sam import propagate_mask_sam, to_square
from novakit.editing.masks.sam_weights import SAM_ABOUT, SAM_MODEL, fetch_command
from novakit.errors import NovaError, NovaNotice
from novakit.scenes import render_scenes
from novakit.video import probe, read_mask, write_clip

SCENE = render_scenes([44], split="val", size=(48, 64), num_frames=9, edit="remove", walker=False)
CLIP, DRAWN = SCENE.source, SCENE.mask[0, :, 0]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder as the hub's: config.json and model.safetensors."""
    folder = tmp_path_factory.mktemp("sam")
    tiny_sam().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(saved):
    return Sam2VideoModel.from_pretrained(saved).eval()


def whole_clip_road(model, clip, drawn):
    """Masks (H, W) of all frames by transformers' own loop over a stored clip, pre-processing written out again."""
    unit = ((clip[0] + 1) * 127.5).round().to(torch.uint8).transpose(0, 1)  # (T, 3, H, W)
    unit = F.interpolate(unit, (64, 64), mode="bilinear", antialias=True).float() / 255
    mean, spread = (torch.tensor(v)[:, None, None] for v in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
    session = Sam2VideoInferenceSession((unit - mean) / spread, 48, 64, dtype=torch.float32)
    square = F.interpolate(drawn[None], (64, 64), mode="bilinear", antialias=True) >= 0.5
    session.add_mask_inputs(session.obj_id_to_idx(1), 0, square.float())
    session.obj_with_new_inputs = [1]
    outputs = model.propagate_in_video_iterator(session, start_frame_idx=0)
    return [F.interpolate(out.pred_masks, (48, 64), mode="bilinear")[0, 0] > 0 for out in outputs]


def test_two_roads_same_masks(model, saved, capfd):
    """Frame by frame, forgetting on the way, equals transformers' loop over the whole clip."""
    wanted = whole_clip_road(model, CLIP, DRAWN)
    carried = propagate_mask_sam(CLIP, DRAWN, model=saved, device="cpu")
    assert capfd.readouterr().err == ""  # no progress bars
    assert torch.equal(carried.masks[0], DRAWN) and carried.confidence[0] == 1.0
    assert all(torch.equal(carried.masks[t][0].bool(), wanted[t]) for t in range(1, 9))
    assert len({mask.sum().item() for mask in wanted}) > 3  # the random model does answer to the frames
    assert all(0 < carried.confidence[t] < 1 for t in range(1, 9))


def test_backwards_is_forwards_on_the_reversed_clip(model):
    back = propagate_mask_sam(CLIP, DRAWN, 8, model=model)
    forth = propagate_mask_sam(CLIP.flip(2), DRAWN, 0, model=model)
    assert list(back.masks) == list(range(9))
    assert all(torch.equal(back.masks[8 - t], forth.masks[t]) for t in range(9))
    assert all(back.confidence[8 - t] == forth.confidence[t] for t in range(9))
    some = propagate_mask_sam(iter(CLIP[0].unbind(1)), DRAWN, 4, wanted=[2, 6], model=model)
    assert list(some.masks) == [2, 6]


def test_confidence_is_object_score_times_predicted_iou(saved):
    model = Sam2VideoModel.from_pretrained(saved).eval()
    score, overlap = model.mask_decoder.pred_obj_score_head.proj_out, model.mask_decoder.iou_prediction_head
    with torch.no_grad():
        score.weight.zero_(), score.bias.fill_(1.5)
        overlap.proj_out.weight.zero_(), overlap.proj_out.bias.fill_(0.7)
    seen = propagate_mask_sam(CLIP, DRAWN, model=model)
    predicted = torch.tensor(0.7).sigmoid().item()
    assert seen.confidence[3] == pytest.approx(torch.tensor(1.5).sigmoid().item() * predicted, rel=1e-4)
    with torch.no_grad():
        score.bias.fill_(-9.0)
    gone = propagate_mask_sam(CLIP, DRAWN, model=model)
    assert gone.confidence[3] < 0.001 and not gone.masks[3].any()


def test_memory_does_not_grow_with_the_clip(model, monkeypatch):
    kept = []
    forget = mask_sam._Follower._forget

    def spy(self, t):
        forget(self, t)
        outputs = self.session.output_dict_per_obj[0]["non_cond_frame_outputs"]
        kept.append((len(self.session.processed_frames), len(outputs), len(self.session.frames_tracked_per_obj[0])))
        assert not any("high_res_masks" in output for output in outputs.values())

    monkeypatch.setattr(mask_sam._Follower, "_forget", spy)
    propagate_mask_sam(CLIP, DRAWN, model=model)
    assert len(kept) == 9 and max(kept) == kept[-1] == kept[-3] == (0, 4, 4)


def test_a_frame_goes_in_as_transformers_does_it():
    picture = torch.randint(0, 256, (3, 48, 80), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    wanted = F.interpolate(picture[None].float(), (64, 64), mode="bilinear", antialias=True)[0]
    square = to_square(picture.permute(1, 2, 0).numpy(), 64)
    assert square.shape == (64, 64, 3)
    assert (torch.from_numpy(square).permute(2, 0, 1) - wanted).abs().max() < 1.01  # whole grey levels
    assert (to_square(picture / 127.5 - 1, 64) == square).all()
    assert tuple(mask_sam._MEAN) == tuple(IMAGENET_DEFAULT_MEAN)
    assert tuple(mask_sam._SPREAD) == tuple(IMAGENET_DEFAULT_STD)


# -- weights -----------------------------------------------------------------------------------------------------------


def test_what_is_said_about_the_published_weights_is_true():
    with torch.device("meta"):
        parameters = sum(p.numel() for p in Sam2VideoModel(Sam2VideoConfig()).parameters())
    assert f"{parameters / 1e6:.0f} million" in SAM_ABOUT and f"{parameters * 4 / 1e6:.0f} MB" in SAM_ABOUT


def test_missing_weights_are_named_and_nothing_is_fetched(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = offline_hub(monkeypatch)
    with pytest.raises(NovaError, match=r"weights of SAM 2 are missing.*156 MB, Apache License 2\.0") as caught:
        propagate_mask_sam(CLIP, DRAWN, device="cpu")
    assert f"`{fetch_command()}`" in str(caught.value) and fetch_command().startswith(f"hf download {SAM_MODEL} ")
    assert asked == [(SAM_MODEL, True)]
    with pytest.raises(NovaError, match="Some/body is neither a folder.*hf download Some/body"):
        propagate_mask_sam(CLIP, DRAWN, model="Some/body", device="cpu")


def test_weights_are_fetched_when_asked_for_after_a_word_on_licence_and_size(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = offline_hub(monkeypatch)
    with (
        pytest.warns(NovaNotice, match="fetching .*156 MB, Apache"),
        pytest.raises(NovaError, match="cannot be fetched: no network"),
    ):
        propagate_mask_sam(CLIP, DRAWN, device="cpu", download=True)
    assert asked == [(SAM_MODEL, True), (SAM_MODEL, False)]


def offline_hub(monkeypatch):
    """A hub that has nothing; returns the list of (id, local_files_only) it was asked for."""
    asked = []

    def ask(name, allow_patterns, local_files_only=False):
        asked.append((name, local_files_only))
        assert allow_patterns == sam_weights._FILES
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.snapshot_download", ask)
    return asked


@pytest.fixture
def spoilt(saved, tmp_path):
    """A copy to spoil."""
    for file in saved.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def test_damaged_folders_are_refused(spoilt):
    weights = spoilt / "model.safetensors"
    tensors = load_file(weights)
    name = next(name for name in tensors if "memory_encoder" in name)
    save_file({key: tensor for key, tensor in tensors.items() if key != name}, weights, metadata={"format": "pt"})
    refuse(spoilt, "lacks 1 tensors, first memory_encoder")
    weights.write_bytes(weights.read_bytes()[:1000])
    refuse(spoilt, "cannot be read")
    weights.unlink()
    refuse(spoilt, "cannot be read")


def test_another_model_is_refused(spoilt):
    config = json.loads((spoilt / "config.json").read_text())
    (spoilt / "config.json").write_text(json.dumps(config | {"model_type": "sam"}))
    refuse(spoilt, "model of type 'sam'; wanted 'sam2_video'")
    (spoilt / "config.json").write_text("[")
    refuse(spoilt, "no readable config.json of SAM 2")


def refuse(folder, message):
    with pytest.raises(NovaError, match=message):
        propagate_mask_sam(CLIP, DRAWN, model=folder, device="cpu")


def test_the_command_keyframes_lets_sam_carry_the_mask(saved, tmp_path):
    """The whole road on a file: the masks that the editor sees are the ones of SAM 2 with these weights."""
    source, drawn = write_clip(tmp_path / "s.mp4", CLIP, 8), tmp_path / "drawn.png"
    Image.fromarray(DRAWN[0].mul(255).byte().numpy()).save(drawn)
    choice = Choice("nano", edit="recolour", colour="red")
    made = make_keyframes(source, 4, tmp_path / "k", choice, mask=drawn, mask_by=str(saved), quiet=True)
    carried = propagate_mask_sam(probe(source), DRAWN, model=saved, device="cpu")
    assert made.confidence == {k: carried.confidence[k] for k in (0, 4, 8)}
    assert torch.equal(read_mask(made.mask, 9, (48, 64))[0, 0, 4], carried.masks[4][0])
    with pytest.raises(NovaError, match="other arguments|mask_by"):
        make_keyframes(source, 4, tmp_path / "k", choice, mask=drawn, quiet=True)


def test_sam_has_nothing_to_carry_in_a_mask_of_every_frame(saved, tmp_path):
    source, mask = write_clip(tmp_path / "s.mp4", CLIP, 8), write_clip(tmp_path / "m.mp4", SCENE.mask[0], 8)
    with pytest.raises(NovaError, match="has nothing to carry"):
        make_keyframes(source, 4, tmp_path / "k", Choice("nano", colour="red"), mask=mask, mask_by=str(saved))


def test_missing_weights_of_sam_are_named_by_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    source, drawn = write_clip(tmp_path / "s.mp4", CLIP, 8), tmp_path / "drawn.png"
    Image.fromarray(DRAWN[0].mul(255).byte().numpy()).save(drawn)
    with pytest.raises(NovaError, match="hf download facebook/sam2.1-hiera-tiny"):
        make_keyframes(source, 4, tmp_path / "k", Choice("nano", colour="red"), mask=drawn, mask_by="sam2")
    assert not (tmp_path / "k").exists()
