"""What a run shows besides its loss: samples on the way, and a card that quotes the logs."""

import json
import re

import torch

from novakit.models import build_transformer, build_vae
from novakit.paths import recorded, shipped_weights
from novakit.training import TrainConfig, Trainer
from novakit.training.model_card import PARTS, write_card
from novakit.training.nova_task import NovaBatch, NovaTask
from novakit.training.preview import edit_preview


def nano_task(**options):
    """The NOVA task on random latents with an untrained nano model."""
    model = build_transformer("nano")

    def batch(step):
        generator = torch.Generator().manual_seed(step)
        return NovaBatch(*(torch.randn(1, size, 3, 4, 4, generator=generator) for size in (48, 48, 160)))

    return NovaTask(model, batch, **options), model


def test_samples_are_written_at_every_validation(tmp_path):
    task, model = nano_task()
    task.preview = edit_preview(build_vae("nano").eval(), model, steps=1)
    Trainer(task, TrainConfig(steps=2, validate_every=1, warmup=0), tmp_path).fit(progress=False)
    samples = sorted(path.relative_to(tmp_path).as_posix() for path in (tmp_path / "samples").rglob("*.mp4"))
    assert samples == ["samples/step-000001/preview.mp4", "samples/step-000002/preview.mp4"]


def test_gradient_checkpointing_changes_no_number(tmp_path):
    losses = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        task, model = nano_task()
        config = TrainConfig(steps=2, warmup=0, log_every=1, precision="fp32", gradient_checkpointing=checkpointing)
        log = Trainer(task, config, tmp_path / str(checkpointing)).fit(progress=False)
        assert model.is_gradient_checkpointing == checkpointing
        losses.append([line["loss"] for line in log if line["group"] == "train"])
    assert losses[0] == losses[1]


def test_card_quotes_logs_scores_and_notes(tmp_path):
    for place, part in enumerate(PARTS):
        (tmp_path / part).mkdir()
        lines = [{"step": 10 + place, "group": "train", "loss": 0.5, "psnr": 20.0}]
        lines += [{"step": 10 + place, "group": "validation", "loss": 0.25, "psnr": 30.0}]
        (tmp_path / part / "log.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "notes.md").write_text("Trained in two sittings.")
    (tmp_path / "score.md").write_text("| NOVA | 27.0 |")
    text = write_card(tmp_path, tmp_path / "pipeline", tmp_path / "score.md").read_text()
    assert "| vae_codes | nothing | 10 |" in text and "30.000 dB" in text and "| nova | nothing | 16 |" in text
    assert "0.250" in text and json.loads((tmp_path / "pipeline" / "history.json").read_text())[-1]["steps"] == 16
    assert "Trained in two sittings." in text and "| NOVA | 27.0 |" in text
    assert "![" not in text  # no contact sheet
    (tmp_path / "score.png").write_bytes(b"a picture")
    text = write_card(tmp_path, tmp_path / "pipeline", tmp_path / "score.md").read_text()
    assert "[Best, median and worst scene of the score](score.png)" in text
    assert (tmp_path / "pipeline" / "score.png").read_bytes() == b"a picture"
    assert "Not scored yet" in write_card(tmp_path, tmp_path / "pipeline").read_text()


def test_the_shipped_card_shows_the_recorded_contact_sheet():
    folder = shipped_weights() / "nano"
    (sheet,) = re.findall(r"!\[.*?\]\((.+?)\)", (folder / "README.md").read_text(encoding="utf-8"))
    assert (folder / sheet).read_bytes() == (recorded() / "nano_score.png").read_bytes()
