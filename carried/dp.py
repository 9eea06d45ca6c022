"""Two ranks of one part of the recipe, gradients averaged: dp.py RANK WORLD PORT ROOT PART STEPS LR BATCH [WORKERS]"""
import sys
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist

import novakit.training.pretrain as P
import novakit.training.recipe as R
from novakit.training import Trainer

rank, world, port = (int(a) for a in sys.argv[1:4])
root, part, steps, lr, batch = Path(sys.argv[4]), sys.argv[5], int(sys.argv[6]), float(sys.argv[7]), int(sys.argv[8])
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)
plain_batch_note = batch

def gradients(self):
    loss, numbers = self._one_pass(self.step * world + rank)
    want = list(self.parameters.values())
    has = torch.tensor([float(p.grad is not None) for p in want])
    dist.all_reduce(has)
    for p, n in zip(want, has.tolist()):
        if n > 0 and p.grad is None:
            p.grad = torch.zeros_like(p)
    use = [p.grad for p in want if p.grad is not None]
    flat = torch.cat([g.flatten() for g in use] + [loss.detach().float().reshape(1)])
    dist.all_reduce(flat); flat /= world
    at = 0
    for g in use:
        g.copy_(flat[at : at + g.numel()].view_as(g)); at += g.numel()
    numbers = {"loss": flat[-1].item(), **{k: float(v) for k, v in numbers.items()}}
    return numbers, []

Trainer._gradients = gradients


def muon(self, weights, lr):
    """Each rank makes half of the updates orthogonal, in bfloat16; they are summed up."""
    momenta, grads = self._slots(weights, "momentum"), [w.grad for w in weights]
    torch._foreach_mul_(momenta, 0.9)
    torch._foreach_add_(momenta, grads)
    ahead = torch._foreach_add(grads, momenta, alpha=0.9)
    alike = {}
    for number, update in enumerate(ahead):
        alike.setdefault(update.flatten(1).shape, []).append(number)
    flat = torch.zeros(sum(w.numel() for w in weights))
    places, at = [], 0
    for w in weights:
        places.append(flat[at : at + w.numel()].view_as(w)); at += w.numel()
    turn = 0
    for (rows, columns), numbers in sorted(alike.items(), key=lambda item: -len(item[1]) * item[0][0] * item[0][1]):
        mine = numbers[(rank + turn) % world :: world]
        turn += len(numbers) % world
        if mine:
            updates = M.orthogonalise(torch.stack([ahead[i].flatten(1) for i in mine]).bfloat16()).float()
            rate = -lr * M.MUON_SCALE * max(1.0, rows / columns) ** 0.5
            for i, update in zip(mine, updates):
                places[i].copy_(update.view_as(places[i])).mul_(rate)
    dist.all_reduce(flat)
    torch._foreach_add_(weights, places)


import novakit.training.muon as M
M.Muon._muon = muon
if part in R.VAE_CLIPS:
    R.VAE_CLIPS[part] = replace(R.VAE_CLIPS[part], batch=batch)
config = replace(R.RECIPE[part], steps=steps, lr=lr, accumulate=1)
if len(sys.argv) > 9:
    config = replace(config, **eval(sys.argv[9]))
R.RECIPE[part] = config
home = root
if rank:  # its own folder, with links to what the parts before made
    home = root / (f"rank{rank}" if part in R.VAE_CLIPS else f"rank{rank}-{part}")
    home.mkdir(parents=True, exist_ok=True)
    config = replace(config, validate_every=0)
    for name in ("vae_codes", "vae", "main", "sparse", "base", "store"):
        if name != part and (root / name).exists() and not (home / name).exists():
            (home / name).symlink_to(root / name)
    if (root / part / "start.safetensors").exists():
        (home / part).mkdir(exist_ok=True)
        if not (home / part / "start.safetensors").exists():
            (home / part / "start.safetensors").symlink_to((root / part / "start.safetensors").resolve())
P._measure_vae = P._measure_vae if rank == 0 else (lambda *a: None)
P.train_part(home, part, config, progress=rank == 0)
dist.barrier()
