"""The suite for CUDA cards, rehearsed on the CPU with a tiny network: all runs, is written, and is not repeated."""

import json
from dataclasses import replace

import pytest
import torch

from novakit.errors import NovaError
from novakit.evaluation import benchmark
from novakit.evaluation.benchmark import gpu, gpu_edit, gpu_measure
from novakit.evaluation.benchmark.gpu_setup import SCHEMES, Setup, build_network, random_inputs
from novakit.models import NovaTransformer3DModel
from novakit.models.cost import forward_cost, step_cost
from novakit.presets import NANO

TINY = replace(
    NANO,
    name="tiny",
    num_frames=9,
    height=16,
    width=24,
    interval=4,
    transformer={
        **NANO.transformer,
        "num_attention_heads": 2,
        "attention_head_dim": 12,
        "ffn_dim": 32,
        "num_layers": 2,
        "vace_layers": [0],
        "rope_max_seq_len": 16,
        "text_dim": 8,
    },
    vae={**NANO.vae, "base_dim": 4, "decoder_base_dim": 4},
    text=True,
)
REHEARSAL = Setup(TINY, "cpu", budget=0.0, repeats=1, steps=2, matmul=64, compiler="eager")


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory):
    """The whole suite on the CPU, once, and its file."""
    folder, before = tmp_path_factory.mktemp("gpu"), gpu.SUITE
    gpu.SUITE = gpu.GpuSuite(REHEARSAL)
    try:
        yield benchmark.bench("gpu", folder), folder / "gpu_bench.json"
    finally:
        gpu.SUITE = before


def test_every_scheme_is_measured_in_every_way(rehearsed):
    numbers = rehearsed[0]["numbers"]
    for name in SCHEMES:
        assert numbers[f"forward.{name}.seconds"] > 0 and numbers[f"edit.{name}.seconds"] > 0
        flop = forward_cost(REHEARSAL.work(name)).flop.forward / 1e12
        assert numbers[f"forward.{name}.tflop"] == pytest.approx(flop, abs=1e-4)
    assert all(numbers[f"train.{name}.seconds"] > 0 for name in gpu.TRAINED)
    assert all(numbers[f"kept.{name}.seconds"] > 0 for name in gpu.KEPT)
    assert all(numbers[f"compiled.{name}.seconds"] > 0 for name in gpu.COMPILED)
    parts = sum(numbers[f"edit.local.{part}_seconds"] for part in ("encode", "source", "denoise", "decode"))
    assert 0 < parts <= numbers["edit.local.seconds"] + 0.001
    assert numbers["attention.native.tflops"] >= 0 and numbers["ratio.forward.cached"] > 0
    assert not any("too_large" in name or "out_of_memory" in name for name in numbers)


def test_mfu_is_of_the_measured_product_and_counts_nothing_twice(monkeypatch):
    monkeypatch.setattr(gpu_measure, "clock", lambda *_, **__: 2.0)  # seconds
    flop, known = step_cost(REHEARSAL.work("cached")).flop, {"matmul.tflops": 1e-3}
    found = gpu_measure.measure_training(REHEARSAL, known, "cached")
    assert found["mfu"] == pytest.approx(flop.model / 2.0 / 1e9) and flop.model < flop.executed
    assert "mfu" not in gpu_measure.measure_training(REHEARSAL, {}, "cached"), "no share of an unknown rate"


def test_the_targets_that_need_no_memory_counter_are_among_the_rows(rehearsed):
    told = {row["what"] for row in rehearsed[0]["rows"]}
    assert told == {target.what for name, target in gpu.TARGETS.items() if not name.endswith("memory_gb")}


def test_a_second_call_measures_nothing_again(rehearsed, monkeypatch, capsys):
    report, file = rehearsed

    def refuse(*_args, **_kwargs):
        raise AssertionError("measured again")

    again = gpu.GpuSuite(REHEARSAL)
    for measurement in again.measurements:
        if not measurement.fresh:
            measurement.take = refuse
    monkeypatch.setattr(gpu, "SUITE", again)
    assert benchmark.bench("gpu", file)["numbers"] == json.loads(file.read_text())["numbers"]
    assert "edit.official: known for this card and code" in capsys.readouterr().out


def test_another_code_or_card_is_measured_anew(rehearsed, monkeypatch):
    earlier = json.loads(rehearsed[1].read_text())
    suite = gpu.GpuSuite(REHEARSAL)
    assert suite.start(earlier) == earlier["numbers"]
    monkeypatch.setattr(gpu, "code_digest", lambda: "other")
    assert suite.start(earlier) == {} and suite.start({}) == {}


def test_an_interrupted_run_goes_on(monkeypatch, tmp_path):
    calls = []

    def take(name, fails):
        def measure(_setup, _known):
            calls.append(name)
            if name == fails:
                raise KeyboardInterrupt
            return {"seconds": 1.0}

        return measure

    def suite(fails=None):
        made = gpu.GpuSuite(REHEARSAL)
        made.measurements = [gpu.Measurement(name, made, take(name, fails)) for name in ("matmul", "source")]
        return made

    monkeypatch.setattr(gpu, "SUITE", suite("source"))
    with pytest.raises(KeyboardInterrupt):
        benchmark.bench("gpu", tmp_path)
    monkeypatch.setattr(gpu, "SUITE", suite())
    assert set(benchmark.bench("gpu", tmp_path)["numbers"]) >= {"matmul.seconds", "source.seconds"}
    assert calls == ["matmul", "source", "source"]


def test_the_time_limit_stops_between_measurements(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(gpu, "SUITE", gpu.GpuSuite(REHEARSAL))
    report = benchmark.bench("gpu", tmp_path, minutes=1e-9)
    assert report["numbers"] == {} and "measurements are left" in capsys.readouterr().out


def test_a_card_that_is_too_small_is_a_result_and_not_a_crash(monkeypatch):
    suite = gpu.GpuSuite(REHEARSAL)
    monkeypatch.setattr(suite, "device_bytes", lambda: 1000.0)
    by_name = {measurement.name: measurement for measurement in suite.measurements}
    assert set(by_name["train.cached"]()) == {"train.cached.too_large_gb"}

    def full(_setup, _known):
        raise torch.OutOfMemoryError("CUDA out of memory")

    assert gpu.Measurement("other", suite, full)() == {"other.out_of_memory": 1.0}


def test_without_cuda_the_suite_says_what_to_run_instead(monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(gpu, "SUITE", gpu.GpuSuite())
    with pytest.raises(NovaError, match="no CUDA device was found.*--suite scaling"):
        benchmark.bench("gpu", tmp_path)


def test_an_edit_that_would_take_too_long_is_measured_in_part():
    known = {"forward.local.seconds": REHEARSAL.longest / 2 - 1.0}
    found = gpu_edit.measure_edit(replace(REHEARSAL, steps=50), known, "local")
    assert found["steps_measured"] == 2
    parts = sum(found[f"{part}_seconds"] for part in ("encode", "source", "denoise", "decode"))
    assert found["seconds"] == pytest.approx(parts, rel=0.3)
    assert gpu_edit.steps_within(replace(REHEARSAL, steps=50), {}, "local") == 50


@pytest.mark.parametrize("name", SCHEMES)
def test_networks_have_the_precision_of_real_use(name):
    network = build_network(REHEARSAL, name, learning=True)
    model = network if isinstance(network, NovaTransformer3DModel) else network.base
    learning = [weight for weight in network.parameters() if weight.requires_grad]
    assert learning and all(weight.dtype == torch.float32 for weight in learning)
    assert model.patch_embedding.weight.dtype == torch.bfloat16 if model is not network else True
    frozen = build_network(REHEARSAL, name)
    assert {weight.dtype for weight in frozen.parameters()} == {torch.bfloat16, torch.float32}
    assert not any(weight.requires_grad for weight in frozen.parameters())


def test_official_scheme_sees_source_cues_and_target_and_writes_the_target():
    network = build_network(REHEARSAL, "official").float()
    given = random_inputs(REHEARSAL, "official", torch.float32)

    def run(latents=given.latents, control=given.control, source=given.source):
        with torch.no_grad():
            return network(latents, given.timestep, given.text, control, source)[0]

    whole = run()
    assert whole.shape == given.latents.shape and given.control.shape[2] == 3
    for changed in ({"latents": -given.latents}, {"control": -given.control}, {"source": -given.source}):
        assert (run(**changed) - whole).abs().max() > 1e-4


def test_official_scheme_gives_every_later_cue_the_same_place_as_the_release_does():
    network = build_network(REHEARSAL, "official").float()
    given = random_inputs(REHEARSAL, "official", torch.float32)
    swapped = given.control[:, :, [0, 2, 1]]
    exchanged = given.control[:, :, [1, 0, 2]]
    with torch.no_grad():
        call = (given.latents, given.timestep, given.text)
        whole, later, first = (
            network(*call, control, given.source)[0] for control in (given.control, swapped, exchanged)
        )
    assert torch.allclose(whole, later, atol=1e-5)
    assert not torch.allclose(whole, first, atol=1e-5)


def test_the_quickest_exact_attention_is_chosen():
    rates = {"native": 300.0, "_flash_3": 600.0, "_native_cudnn": 500.0}
    known = {f"attention.{name}.tflops": rate for name, rate in rates.items()}
    assert gpu_measure.quickest_attention(known) == "_flash_3"
    assert gpu_measure.quickest_attention(known, learning=True) == "_native_cudnn"
    assert gpu_measure.quickest_attention({}) == "native"


@pytest.mark.gpu
def test_the_real_suite_starts_on_a_card(tmp_path):
    report = benchmark.bench("gpu", tmp_path, minutes=0.2)
    assert report["numbers"]["matmul.tflops"] > 1
