# dp.sh ROOT PART STEPS LR BATCH [CHANGES]
port=$((20000 + RANDOM % 20000))
export OMP_NUM_THREADS=1 TQDM_MININTERVAL=20
.venv/bin/python carried/dp.py 1 2 $port "$@" > build/$2.rank1.log 2>&1 &
.venv/bin/python carried/dp.py 0 2 $port "$@" > build/$2.rank0.log 2>&1
wait
