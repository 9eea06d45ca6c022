export PYTHONPATH=. OMP_NUM_THREADS=1 TQDM_MININTERVAL=20
R=build/pretrain8
bash build/gpu_tools/s8/dp.sh $R base 2000 2e-3 8
grep -q '"step": 2000' $R/base/log.jsonl || exit 1
date
.venv/bin/python build/gpu_tools/s8/examples.py $R dense > build/dense_examples.log 2>&1 || exit 1
bash build/gpu_tools/s8/dp.sh $R nova 600 2e-3 8
date
