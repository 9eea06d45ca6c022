"""Encoded examples for the base and NOVA, by two workers: examples.py ROOT LEARN"""
import sys
from functools import partial
from pathlib import Path
import torch
torch.set_num_threads(1)
from novakit.training.pretrain import stores, trained_vae
from novakit.training.examples import build_examples
if __name__ == "__main__":
    root, learn = Path(sys.argv[1]), sys.argv[2]
    held, store = stores(root, learn, "cpu", trained_vae(root))
    build_examples((held, store), partial(trained_vae, root, "cpu"), 2, True, learn)
