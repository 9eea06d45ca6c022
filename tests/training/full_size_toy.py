"""A tiny full-size run that several processes can share, forked from the test (quick) or started by torchrun.

As a script under torchrun: `full_size_toy.py '{"out": …, "recipe": {…}, "source": {…}}'`.
"""

import contextlib
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from unittest import mock

import torch

sys.path[:0] = [str(Path(__file__).parents[1] / "models"), str(Path(__file__).parents[2])]

from nova_tiny import tiny_nova  # noqa: E402

from novakit.errors import NovaError  # noqa: E402
from novakit.training.distributed.task import SampleTask  # noqa: E402
from novakit.training.full_size.train import train  # noqa: E402
from novakit.training.nova_task import NovaBatch  # noqa: E402
from novakit.training.objective import step_generator  # noqa: E402

RECIPE = {
    "steps": 10,
    "batch": 4,
    "lr": 1e-2,
    "warmup": 2,
    "precision": "fp32",
    "device": "cpu",
    "checkpoint_every": 5,
    "validate_every": 0,
    "log_every": 1,
    "patience": 200.0,
}
SHAPE = (4, 2, 4, 4)  # Z, t, h, w


class Clips:
    """Random clips; clip `row` of batch `step` is a function of (seed, step, row).

    Args:
        poison: (step, row) whose target latents are NaN.
        damaged: (step, rank): that process cannot read that batch.
    """

    fingerprint = "toy"

    def __init__(self, poison=None, damaged=None):
        self.poison, self.damaged, self.seen = poison, damaged, []

    def batch(self, step, size, seed):
        self.seen.append(step)
        if self.damaged == [step, int(os.environ.get("RANK", 0))]:
            raise NovaError("shard 3 is damaged")
        clips = [self._clip(step, row, seed) for row in range(size)]
        return NovaBatch(*(torch.stack(parts) for parts in zip(*clips)))

    def _clip(self, step, row, seed):
        generator = step_generator(seed, 1000 * step + row, "clip")
        target, source = torch.randn(2, *SHAPE, generator=generator)
        if self.poison == [step, row]:
            target[0, 0, 0, 0] = float("nan")
        return target, source, torch.randn(72, *SHAPE[1:], generator=generator)

    def name(self, step, size, seed, row):
        return f"toy-{step}-{row}"


def acting(step, rank, name):
    """A context in which process `rank` sends itself the signal `name` in update `step`."""
    plain = SampleTask.loss

    def loss(task, index):
        if index == step * task.share.accumulation and task.processes.rank == rank:
            os.kill(os.getpid(), getattr(signal, name))
            time.sleep(0.02)  # until the handler ran
        return plain(task, index)

    return mock.patch.object(SampleTask, "loss", loss)


@contextlib.contextmanager
def float64_throughout(on=True):
    """Wan's blocks cast norms and residuals to float32, also in a float64 model; inside this context they do not."""
    plain = torch.Tensor.float

    def keep(tensor, *args, **options):
        return tensor if tensor.dtype == torch.float64 else plain(tensor, *args, **options)

    torch.Tensor.float = keep if on else plain
    try:
        yield
    finally:
        torch.Tensor.float = plain


def toy_model(double=True, **options):
    """The tiny NOVA, perturbed so that every weight of the dense branch has a gradient."""
    with float64_throughout(double):  # RoPE's tables too
        model = tiny_nova(seed=0, **options)
        return model.double() if double else model


def toy_run(out, source=None, act=None, double=True, **recipe):
    """Train the toy in this process; returns the trainer.

    Args:
        source: arguments of Clips.
        act: arguments of `acting`.
        double: float64.
        recipe: changes of RECIPE, and arguments of `train`.
    """
    torch.set_num_threads(1)
    with float64_throughout(double), acting(*act) if act else contextlib.nullcontext():
        return _toy_run(out, Clips(**(source or {})), double, **recipe)


def _toy_run(out, clips, double, model=None, **recipe):
    options = {name: recipe.pop(name) for name in ("validation", "accept_changes", "resume") if name in recipe}
    return train(
        "nano", clips, out, model=model or toy_model(double), progress=False, **options, **{**RECIPE, **recipe}
    )


def losses(folder):
    """Step -> loss, from a run's log."""
    lines = [json.loads(line) for line in (Path(folder) / "log.jsonl").read_text().splitlines()]
    return {line["step"]: line["loss"] for line in lines if line["group"] == "train"}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Ranks:
    """Forked processes of one run; each calls `function()` and leaves its output in a file.

    `codes` after `wait`: the exit status as a shell shows it, negative = killed by that signal.
    """

    def __init__(self, function, folder, count=2):
        self.outputs = [Path(folder) / f"rank{rank}-{time.monotonic_ns()}.txt" for rank in range(count)]
        port = free_port()
        self.children = [self._fork(function, rank, count, port) for rank in range(count)]

    def _fork(self, function, rank, count, port):
        child = os.fork()
        if child:
            return child
        code = 1
        try:
            _become(rank, count, port, self.outputs[rank])
            code = _call(function)
        finally:
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(code)

    def wait(self, seconds=300):
        """Collect all children within `seconds`; those still alive are killed, and that is a failure."""
        deadline, codes, self.ended = time.monotonic() + seconds, {}, {}
        while len(codes) < len(self.children):
            for child in self.children:
                if child not in codes:
                    done, status = os.waitpid(child, os.WNOHANG)
                    if done:
                        codes[child] = os.waitstatus_to_exitcode(status)
                        self.ended[self.children.index(child)] = time.monotonic()
            if time.monotonic() > deadline:
                for child in set(self.children) - set(codes):
                    os.kill(child, signal.SIGKILL)
                    os.waitpid(child, 0)
                raise AssertionError(f"still running after {seconds} s; ended: {codes}; {self.text()}")
            time.sleep(0.02)
        self.codes = [codes[child] for child in self.children]
        return self

    def text(self, rank=None):
        chosen = self.outputs if rank is None else [self.outputs[rank]]
        return "\n".join(path.read_text() for path in chosen if path.exists())


def _become(rank, count, port, output):
    """Turn a forked child into a process of the run."""
    from accelerate.state import AcceleratorState, PartialState

    AcceleratorState._reset_state(True), PartialState._reset_state()
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    signal.signal(signal.SIGINT, signal.default_int_handler), signal.signal(signal.SIGTERM, signal.SIG_DFL)
    stream = Path(output).open("w", buffering=1)  # noqa: SIM115 - the process's output until its end
    os.dup2(stream.fileno(), 1), os.dup2(stream.fileno(), 2)
    sys.stdout = sys.stderr = stream


def _call(function):
    """Call and turn the ending into an exit code, as the command line does."""
    try:
        function()
        return 0
    except NovaError as error:
        print(f"error: {error}")
        return 2
    except KeyboardInterrupt:
        return 130
    except SystemExit as ending:
        return ending.code
    except BaseException:
        import traceback

        traceback.print_exc()
        return 1


def run_ranks(function, folder, count=2):
    """Run `function` in `count` forked processes to their end."""
    return Ranks(function, folder, count).wait()


if __name__ == "__main__":
    spec = json.loads(sys.argv[1])
    with contextlib.suppress(KeyError):
        Path(spec["pids"]).joinpath(os.environ["RANK"]).write_text(str(os.getpid()))
    try:
        toy_run(spec["out"], spec.get("source"), spec.get("act"), spec.get("double", True), **spec.get("recipe", {}))
    except NovaError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
