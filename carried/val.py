"""Ten validation scenes: val.py ROOT NOVA.safetensors [steps]"""
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from safetensors.torch import load_file
from novakit.editing.pipeline import NovaEditPipeline
from novakit.evaluation import scoring
from novakit.models import build_scheduler
from novakit.scenes import EDITS, SceneBatch, render_scenes
from novakit.training.pretrain import trained_vae, trained_transformer
from novakit.training import load_trained
root=Path(sys.argv[1]); model=trained_transformer(root,"base"); load_trained(model,Path(sys.argv[2]))
pipe=NovaEditPipeline(vae=trained_vae(root),transformer=model.eval(),scheduler=build_scheduler("nano"),preset="nano")
pipe.set_progress_bar_config(disable=True)
plain=scoring.render_scenes
scoring.render_scenes=lambda *a,split,**k: plain(*a,split="val",**k)
for interval in (8,16):
    rec=scoring.score_scenes(pipe,10,interval,4,rows=("nova","vace_grey","vace_source","round_trip") if interval==8 else ("nova",),progress=False)
    for row in dict.fromkeys(r["row"] for r in rec):
        mine=[r for r in rec if r["row"]==row]
        import statistics as st
        print(interval,row,{k:round(st.mean(r[k] for r in mine),3) for k in ("inside_psnr","outside_psnr","outside_ssim","ghost","double","flicker")},flush=True)
