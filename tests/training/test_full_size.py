"""`train`: the recipe, what learns and what stays, what is written, what is refused; one process."""

import json
import os
import resource
import subprocess
import sys
import threading
import types
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from full_size_toy import RECIPE, Clips, float64_throughout, losses, toy_model, toy_run
from nova_tiny import tiny_inputs, tiny_nova
from safetensors.torch import load_file

import novakit
from novakit.errors import NovaError, NovaNotice
from novakit.models import learn_only
from novakit.models.checkpointing import all_but_attention
from novakit.models.weights import load_dense, save_dense
from novakit.training import checkpoint, flow_matching_loss
from novakit.training.checkpoint import CheckpointWriter, latest_checkpoint, list_checkpoints
from novakit.training.distributed.task import SampleTask, Share
from novakit.training.full_size.train import Recipe, train
from novakit.training.nova_task import NovaBatch, NovaTaskConfig

SHORT = {"steps": 3, "checkpoint_every": 3}


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """A run of three updates in float64: trainer and folder."""
    folder = tmp_path_factory.mktemp("short")
    return toy_run(folder, **SHORT), folder


def test_defaults_are_the_papers():
    recipe = Recipe()
    assert (recipe.steps, recipe.lr, recipe.learn, recipe.loop().optimizer) == (8000, 1e-4, "dense", "adamw")
    assert recipe.gradient_checkpointing and recipe.background_checkpoints and recipe.loop().accumulate == 1
    with pytest.raises(NovaError, match=r"unknown training setting \['learning_rate'\].*'lr'"):
        Recipe.from_dict({"learning_rate": 1})


def test_only_the_dense_branch_has_gradients_and_state(short):
    trainer, folder = short
    before = toy_model().state_dict()
    changed = {name for name, value in trainer.task.module.state_dict().items() if not torch.equal(value, before[name])}
    assert changed and all(name.startswith("dense_branch.") for name in changed)
    learning = {name for name, weight in trainer.task.module.named_parameters() if weight.requires_grad}
    assert learning == {name for name in dict(trainer.task.module.named_parameters()) if name.startswith("dense_")}
    state = latest_checkpoint(folder / "checkpoints")
    assert set(state.weights) == learning and {key.rpartition("/")[0] for key in state.optimizer} == learning
    assert all(weight.grad is None for weight in trainer.task.module.base.parameters())


def test_the_frozen_forwards_record_nothing(tmp_path):
    """Replica and VACE blocks run without gradients: none of their outputs asks for one."""
    model, seen = toy_model(), []
    for block in model.base.vace_blocks:
        block.register_forward_hook(lambda *call: seen.append(any(part.requires_grad for part in call[2])))
    model.base.blocks[0].register_forward_hook(lambda *call: seen.append(call[2].requires_grad))  # replica and main
    toy_run(tmp_path, model=model, steps=1, gradient_checkpointing=False)
    assert seen and not any(seen)


def test_gradient_checkpointing_covers_main_vace_and_dense_blocks(tmp_path, monkeypatch, short):
    """The same losses; the blocks of all three branches go through the checkpoint where gradients are recorded."""
    plain = toy_run(tmp_path / "plain", gradient_checkpointing=False, **SHORT)
    assert losses(plain.folder) == pytest.approx(losses(short[1]), abs=1e-12)
    for learn, wanted in (("dense", {"WanTransformerBlock", "_dense_term"}), ("main", {"WanVACETransformerBlock"})):
        model, seen = toy_model(), set()
        model.enable_gradient_checkpointing()
        run = model._gradient_checkpointing_func

        def noted(function, *inputs, run=run, seen=seen):
            seen.add(getattr(function, "__name__", type(function).__name__))
            return run(function, *inputs)

        model._gradient_checkpointing_func = noted
        monkeypatch.setattr(model, "enable_gradient_checkpointing", lambda _how: None)
        toy_run(tmp_path / learn, model=model, learn=learn, steps=1)
        assert wanted <= seen


def test_frame_local_attention_is_trained_and_stays_with_the_weights(tmp_path, short):
    local = toy_run(tmp_path, window=0, **SHORT)
    assert losses(local.folder) != losses(short[1])
    assert load_dense(toy_model(double=False), tmp_path / "dense.safetensors").config.dense_window == 0
    with pytest.raises(NovaError, match="the task's 'window' was 0 in the checkpoint and is now None"):
        toy_run(tmp_path, **SHORT)


def test_keeping_what_attention_gave_changes_no_number(tmp_path, short):
    kept = toy_run(tmp_path, keep_attention=True, **SHORT)
    assert kept.task.module._gradient_checkpointing_func is all_but_attention
    assert losses(kept.folder) == losses(short[1])


def test_activation_offload_changes_no_number_and_moves_block_inputs(tmp_path, short, monkeypatch):
    from novakit.training.distributed import task as distributed_task

    packed = []
    move = torch.Tensor.to
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "to", lambda t, *a, **k: (packed.append(k), move(t, *a, **k))[1])
        with distributed_task.saved_on_cpu():
            weight = torch.nn.Parameter(torch.randn(300, 300))
            (torch.randn(300, 300, requires_grad=True) @ weight).square().sum().backward()
    assert (
        len([call for call in packed if call == {"non_blocking": False}]) == 2
    )  # the input and the product, no weight
    offloaded = toy_run(tmp_path, activation_offload=True, **SHORT)
    assert losses(offloaded.folder) == losses(short[1])


def test_accumulation_equals_one_big_batch(tmp_path, short):
    small = toy_run(tmp_path, accumulation=4, **SHORT)
    assert losses(small.folder) == pytest.approx(losses(short[1]), abs=1e-9)


def test_loss_is_the_objective_of_equation_4():
    """Two roads: the task's loss per clip and `flow_matching_loss` on the same draw, plain and weighted."""
    for config in (NovaTaskConfig(), NovaTaskConfig(weighting="epsilon")):
        model = tiny_nova()
        task = SampleTask(model, Clips(), Share(1), config=config)
        loss = task.loss(5)[0]
        batch, (sigmas, noise) = Clips().batch(5, 1, 0), task.draw(5, range(1), (4, 2, 4, 4))
        noisy = (1 - sigmas) * batch.target_latents + sigmas * noise
        inputs = {"encoder_hidden_states": torch.zeros(1, 1, 8), "control_hidden_states": batch.control}
        velocity = model(noisy, 1000 * sigmas, source_latents=batch.source_latents, return_dict=False, **inputs)[0]
        weight = (1 - sigmas).square() if config.weighting == "epsilon" else None
        wanted = flow_matching_loss(velocity, noise, batch.target_latents, sigmas, weight)
        assert loss.item() == pytest.approx(wanted.item(), rel=1e-6)


def test_noise_belongs_to_the_clip():
    """Each clip of each update has its own draw, whoever asks for it and in which company."""
    task = SampleTask(tiny_nova(), Clips(), Share(4))
    sigmas, noise = task.draw(2, range(4), (4, 2, 4, 4))
    assert len({value.item() for value in sigmas}) == 4 and not torch.equal(noise[0], noise[1])
    some, part = task.draw(2, range(1, 3), (4, 2, 4, 4))
    assert torch.equal(some, sigmas[1:3]) and torch.equal(part, noise[1:3])
    assert not torch.equal(task.draw(3, range(4), (4, 2, 4, 4))[1], noise)


def test_the_dense_file_is_what_the_run_learned(tmp_path, short):
    """`dense.safetensors` of a run, read into a fresh model of the same base, gives the trained model's output."""
    trainer, folder = short
    fresh, trained = load_dense(toy_model(trained=False), folder / "dense.safetensors"), trainer.task.module.eval()
    inputs = {name: value.double() for name, value in tiny_inputs().items()}
    with float64_throughout(), torch.no_grad():
        assert torch.allclose(fresh(**inputs).sample, trained(**inputs).sample, rtol=0, atol=1e-12)
        assert not torch.allclose(toy_model()(**inputs).sample, trained(**inputs).sample, atol=1e-3)
    other = tiny_nova(base={"ffn_dim": 64})
    with pytest.raises(NovaError, match="trained on a base with the fingerprint"):
        load_dense(other, folder / "dense.safetensors")


def test_averaged_weights_are_the_ones_for_use(tmp_path):
    trainer = toy_run(tmp_path, ema=0.5, **SHORT)
    saved, dense = load_file(tmp_path / "last.safetensors"), load_file(tmp_path / "dense.safetensors")
    for name, value in trainer.average.shadow.items():
        assert torch.equal(saved[name], value) and torch.equal(dense[name.removeprefix("dense_branch.")], value)


def test_start_from_a_dense_file_of_another_base_is_refused(tmp_path, monkeypatch):
    """`train(dense=…)` on the shipped nano base, with the dense file of a tiny one."""
    wrong = save_dense(tiny_nova(), tmp_path / "dense.safetensors")
    with pytest.raises(NovaError, match="trained on a base with the fingerprint"):
        train("nano", Clips(), tmp_path / "run", dense=wrong, progress=False, **{**RECIPE, "steps": 1})
    assert not (tmp_path / "run").exists()


class NanoClips:
    """Random latents of nano's shape."""

    def batch(self, step, size, seed):
        generator = torch.Generator().manual_seed(step)
        target, source = torch.randn(2, size, 48, 2, 4, 4, generator=generator)
        return NovaBatch(target, source, torch.randn(size, 160, 2, 4, 4, generator=generator))


def test_nano_starts_from_the_shipped_weights_in_bfloat16(tmp_path):
    """Frozen weights in bfloat16, what learns in float32; the loss agrees with float32 to its precision."""
    found = {}
    for precision in ("bf16", "fp32"):
        options = {**RECIPE, "precision": precision, "steps": 2, "batch": 2}
        trainer = train("nano", NanoClips(), tmp_path / precision, progress=False, **options)
        found[precision] = losses(tmp_path / precision)
        dtypes = {weight.dtype for weight in trainer.task.module.base.blocks.parameters()}
        assert (torch.bfloat16 in dtypes) == (precision == "bf16")
        assert {weight.dtype for weight in trainer.parameters.values()} == {torch.float32}
    assert found["bf16"] == pytest.approx(found["fp32"], rel=0.02) and found["bf16"] != found["fp32"]


def test_missing_base_or_data_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(NovaError, match="hf download"):
        train("wan-1.3b", Clips(), tmp_path, base=tmp_path / "nowhere", **RECIPE)
    with pytest.raises(NovaError, match="gives no batches"):
        train("nano", tmp_path / "nowhere", tmp_path, **RECIPE)


def test_a_preset_that_reads_text_wants_the_empty_prompt(tmp_path):
    """A notice without one; with one, the network reads it and the loss is another."""
    with pytest.warns(NovaNotice, match="the null token stands in"):
        train("wan-1.3b", Clips(), tmp_path / "null", model=toy_model(False), progress=False, **{**RECIPE, "steps": 1})
    clips = Clips()
    clips.text = torch.randn(1, 3, 8, generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings():
        warnings.simplefilter("error", NovaNotice)
        train("wan-1.3b", clips, tmp_path / "text", model=toy_model(False), progress=False, **{**RECIPE, "steps": 1})
    assert abs(losses(tmp_path / "text")[1] - losses(tmp_path / "null")[1]) > 1e-4


def test_batches_that_teach_nothing_or_have_another_size(tmp_path):
    class NoSource(Clips):
        def batch(self, step, size, seed):
            return replace(super().batch(step, size, seed), source_latents=None)

    class TooFew(Clips):
        def batch(self, step, size, seed):
            return super().batch(step, size - 1, seed)

    for clips, message in ((NoSource(), "no source latents"), (TooFew(), "gave 3 clips for batch 0; 4 were asked")):
        with pytest.raises(NovaError, match=message):
            train("nano", clips, tmp_path / message[:5], model=toy_model(False), progress=False, **RECIPE)


def test_a_source_may_give_rows_only(tmp_path, short):
    """A source that reads only what is asked for gives the same run."""

    class Rows(Clips):
        def rows(self, step, size, seed, rows):
            self.seen.append((step, list(rows)))
            clips = [self._clip(step, row, seed) for row in rows]
            return NovaBatch(*(torch.stack(parts) for parts in zip(*clips)))

    clips = Rows()
    with float64_throughout():
        train("nano", clips, tmp_path, model=toy_model(), progress=False, **{**RECIPE, **SHORT, "accumulation": 2})
    assert clips.seen[:2] == [(0, [0, 1]), (0, [2, 3])]
    assert losses(tmp_path) == pytest.approx(losses(short[1]), abs=1e-9)


def test_nan_latents_stop_before_the_update(tmp_path, short):
    """Weights are bit-equal to those of the run that ended before; the clip is named."""
    model = toy_model()
    with pytest.raises(NovaError, match=r"step 3 is nan.*clip 2 of batch 3 = toy-3-2, process 0, NaN or inf"):
        toy_run(tmp_path, {"poison": [3, 2]}, model=model, schedule="constant")
    before = toy_run(tmp_path / "before", steps=3, schedule="constant").task.module.state_dict()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_resume_refuses_other_data_but_takes_another_accumulation(tmp_path):
    toy_run(tmp_path, steps=2, schedule="constant")
    toy_run(tmp_path, steps=3, schedule="constant", accumulation=2)
    with pytest.raises(NovaError, match="'data' was 'toy' in the checkpoint and is now 'other'"):
        clips = Clips()
        clips.fingerprint = "other"
        train("nano", clips, tmp_path, model=toy_model(), progress=False, **{**RECIPE, "schedule": "constant"})
    with pytest.raises(NovaError, match="frozen_weights"):
        toy_run(tmp_path, steps=3, schedule="constant", model=tiny_nova(seed=1).double())


def test_checkpoints_in_the_background_equal_those_in_the_foreground(tmp_path):
    front, back = (
        toy_run(tmp_path / str(flag), background_checkpoints=flag, checkpoint_every=1, steps=4)
        for flag in (False, True)
    )
    for one, two in zip(list_checkpoints(front.folder / "checkpoints"), list_checkpoints(back.folder / "checkpoints")):
        assert one.name == two.name
        for name in ("weights", "optimizer", "rng"):
            assert (one / f"{name}.safetensors").read_bytes() == (two / f"{name}.safetensors").read_bytes()


def test_training_goes_on_while_a_checkpoint_is_written(tmp_path, monkeypatch):
    """The write of step 2 waits until update 3 has been seen: in the foreground this would never end."""
    seen, write = threading.Event(), checkpoint.write_weights
    from novakit.training import trainer as trainer_module

    def slow(path, weights, step):
        assert step != 2 or seen.wait(60)
        return write(path, weights, step)

    monkeypatch.setattr(trainer_module, "write_weights", slow)
    plain = SampleTask.loss
    monkeypatch.setattr(SampleTask, "loss", lambda task, index: (index == 3 and seen.set(), plain(task, index))[1])
    toy_run(tmp_path, steps=4, checkpoint_every=2)
    assert latest_checkpoint(tmp_path / "checkpoints").step == 4


def test_full_disk_in_the_background_keeps_the_old_checkpoint(tmp_path, monkeypatch):
    whole = toy_run(tmp_path / "whole", steps=6, checkpoint_every=2)
    with monkeypatch.context() as patch:
        save = checkpoint.save_file

        def full(tensors, path, **options):
            if "step-000004" in str(path) and "optimizer" in str(path):
                raise OSError(28, "No space left on device")
            return save(tensors, path, **options)

        patch.setattr(checkpoint, "save_file", full)
        with pytest.raises(NovaError, match="step-000004 could not be written.*No space left.*untouched"):
            toy_run(tmp_path / "run", steps=6, checkpoint_every=2)
    assert latest_checkpoint(tmp_path / "run/checkpoints").step == 2
    assert not list((tmp_path / "run/checkpoints").glob(".partial*"))
    assert losses(toy_run(tmp_path / "run", steps=6, checkpoint_every=2).folder) == losses(whole.folder)


def test_too_little_space_is_seen_before_anything_is_written(tmp_path, monkeypatch):
    toy_run(tmp_path, steps=1, schedule="constant")
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda path: types.SimpleNamespace(free=1000))
    monkeypatch.setattr(checkpoint, "save_file", lambda *args, **options: pytest.fail("written in spite of it"))
    with pytest.raises(NovaError, match=r"could not be written .*kB wanted, 1\.0 kB free.*untouched"):
        checkpoint.write_checkpoint(tmp_path / "checkpoints", latest_checkpoint(tmp_path / "checkpoints"))
    assert latest_checkpoint(tmp_path / "checkpoints").step == 1


def test_the_system_refuses_to_write_more(tmp_path):
    """A file-size limit of the operating system in the middle of a run: exit code 2, one line, old checkpoint whole."""
    toy_run(tmp_path / "run", double=False, steps=1, schedule="constant")
    spec = {"out": str(tmp_path / "run"), "recipe": {"steps": 3, "schedule": "constant"}, "double": False}
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("full_size_toy.py")), json.dumps(spec)],
        env={**os.environ, "PYTHONPATH": str(Path(novakit.__file__).parents[1]), "OMP_NUM_THREADS": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000)),
        capture_output=True,
        timeout=300,
        text=True,
    )
    assert done.returncode == 2 and "could not be written" in done.stderr, done.stderr[-2000:]
    assert latest_checkpoint(tmp_path / "run/checkpoints").step == 1


def test_writer_tells_the_error_once():
    writer = CheckpointWriter(background=True)

    def fail():
        raise NovaError("disk")

    writer.submit(fail)
    writer.finish()
    assert writer.failed
    with pytest.raises(NovaError, match="disk"):
        writer.submit(lambda: None)
    writer.wait()
    assert not writer.failed


def test_wandb_gets_the_same_lines_and_the_same_run_on_resume(tmp_path, monkeypatch):
    """A stand-in for the package: what is sent, and that a resumed run names the old one."""
    calls, lines = [], []

    def init(**options):
        calls.append(options)
        run = types.SimpleNamespace(id=options["id"] or "abc123", finish=lambda: None)
        run.log = lambda values, step: lines.append((step, values))
        return run

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    toy_run(tmp_path, wandb="nova", **{**SHORT, "schedule": "constant"})
    toy_run(tmp_path, wandb="nova", **{**SHORT, "schedule": "constant", "steps": 4})
    assert [call["id"] for call in calls] == [None, "abc123"] and calls[0]["project"] == "nova"
    assert {step: values["train/loss"] for step, values in lines} == losses(tmp_path)
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(NovaError, match="wandb is not installed"):
        toy_run(tmp_path / "without", wandb="nova", **SHORT)


def test_learn_only_leaves_the_model_as_the_recipe_says(tmp_path):
    trainer = toy_run(tmp_path, learn="sparse", steps=1)
    wanted = {id(weight) for weight in learn_only(trainer.task.module, "sparse")}
    assert {id(weight) for weight in trainer.parameters.values()} == wanted
    assert not (tmp_path / "dense.safetensors").exists()
