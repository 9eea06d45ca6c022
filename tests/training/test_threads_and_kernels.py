"""N5: another number of threads, or a processor with other instructions, gives the same numbers within a tolerance.

As a script: `test_threads_and_kernels.py FILE` writes what this process computes.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch

sys.path[:0] = [str(Path(__file__).parents[1] / "models"), str(Path(__file__).parents[2])]

from full_size_toy import losses  # noqa: E402
from nova_tiny import perturb_output  # noqa: E402
from safetensors import safe_open  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from train_command_toy import Clips  # noqa: E402

from novakit.presets import get_preset  # noqa: E402
from novakit.training.full_size.train import build_model, train  # noqa: E402

STEPS = 5
RECIPE = {"steps": STEPS, "batch": 2, "lr": 1e-3, "warmup": 0, "schedule": "constant", "precision": "fp32"}
RECIPE |= {"device": "cpu", "validate_every": 0, "log_every": 1, "learn": "main"}
FORWARD, LOSSES = 1e-4, 1e-2  # relative differences that are allowed


def nano():
    """The shipped nano transformer in float32; its dense branch is made to count, so that every block has a say."""
    torch.manual_seed(0)
    model = build_model(get_preset("nano"), None, None, "fp32")
    perturb_output(model, std=0.02)
    return model


@torch.no_grad()
def forward():
    """The velocity on a latent grid of nano's own size, (1, 48, 9, 8, 12)."""
    generator = torch.Generator().manual_seed(1)
    latents, source = torch.randn(2, 1, 48, 9, 8, 12, generator=generator)
    control = torch.randn(1, 160, 9, 8, 12, generator=generator)
    timestep, text = torch.tensor([600.0]), torch.zeros(1, 1, get_preset("nano").transformer["text_dim"])
    return nano()(latents, timestep, text, control, source, return_dict=False)[0].contiguous()


def results():
    """The forward pass, and the losses of a short training of the whole main branch."""
    with tempfile.TemporaryDirectory() as folder:
        train("nano", Clips(), folder, model=nano(), progress=False, **RECIPE)
        return {"forward": forward(), "losses": torch.tensor(list(losses(folder).values()), dtype=torch.float64)}


@pytest.fixture(scope="module")
def plain():
    """One thread, this processor's best kernels."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return results()
    finally:
        torch.set_num_threads(before)


def assert_close(found, wanted):
    difference = (found["forward"] - wanted["forward"]).norm() / wanted["forward"].norm()
    assert difference < FORWARD, difference
    assert len(found["losses"]) == len(wanted["losses"]) == STEPS
    apart = ((found["losses"] - wanted["losses"]) / wanted["losses"]).abs()
    assert apart.max() < LOSSES, apart
    assert (wanted["losses"][1:] - wanted["losses"][:-1]).abs().min() > 1e-3  # five numbers, not one
    print(f"forward {difference:.1e}, losses {apart.max():.1e}")


# AVX2 where this processor has AVX-512; elsewhere the kernels that every processor has
OTHER = "avx2" if torch.backends.cpu.get_cpu_capability() == "AVX512" else "default"
ENVIRONMENTS = {
    "two threads": {
        "OMP_NUM_THREADS": "2",
        "OMP_WAIT_POLICY": "PASSIVE",
    },  # threads that wait sleep: quick on a busy CPU
    "other kernels": {"OMP_NUM_THREADS": "1", "ATEN_CPU_CAPABILITY": OTHER, "ONEDNN_MAX_CPU_ISA": OTHER.upper()},
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_another_environment_gives_the_same_numbers(plain, tmp_path, name):
    file, wanted = tmp_path / "found.safetensors", ENVIRONMENTS[name]
    command = [sys.executable, __file__, str(file)]
    subprocess.run(command, env={**os.environ, **wanted}, check=True, timeout=300)
    with safe_open(file, "pt") as opened:
        about = opened.metadata()
    assert about["threads"] == wanted["OMP_NUM_THREADS"]
    assert about["kernels"].lower() == wanted.get("ATEN_CPU_CAPABILITY", about["kernels"].lower())
    assert_close(load_file(file), plain)


if __name__ == "__main__":
    kernels = torch.backends.cpu.get_cpu_capability()
    save_file(results(), sys.argv[1], metadata={"threads": str(torch.get_num_threads()), "kernels": kernels})
