import os, sys
from pathlib import Path
from novakit.training import pretrain as P
from novakit.paths import shipped_weights
root=Path(sys.argv[1]); t=shipped_weights()/"nano"; print(t)
P.export(root,t)
for f in t.rglob("*.safetensors"): os.chmod(f,0o644); print(f.name,f.stat().st_size)
