#!/bin/bash
# work.sh QUEUE: take the first line of QUEUE, run it, again; start it twice for two cores.
while true; do
  line=$(flock "$1" -c "head -n 1 '$1'; sed -i 1d '$1'")
  [ -z "$line" ] && break
  echo "$(date +%T) begin $line"; bash -c "$line"; echo "$(date +%T) ended $? $line"
done
