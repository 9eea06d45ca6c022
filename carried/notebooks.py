"""Run notebooks in place, their outputs kept: notebooks.py 09 10 ... (a kernel that waits is tried again)."""
import os, sys, glob, subprocess
env = os.environ | {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1", "NOVAKIT_BUILD": os.path.abspath("build/nbrun")}
for number in sys.argv[1:]:
    (path,) = glob.glob(f"notebooks/{number}_*.ipynb")
    for attempt in range(3):
        command = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", "--inplace", path]
        try:
            code = subprocess.run(command + ["--ExecutePreprocessor.timeout=600"], env=env, timeout=600).returncode
        except subprocess.TimeoutExpired:
            code = "too long"
        print(path, attempt, code, flush=True)
        if code == 0:
            break
