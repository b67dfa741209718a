#!/usr/bin/env bash
# The project's own queue for a machine with a GPU: checks, throughput, the CIFAR-10 figure, a starter encoder.
#
#     bash tests/benchmarks/on_gpu.sh OUT [DATA]
#
# DATA holds cifar10/{train,test}.zip and photos64/unlabelled.zip (missing parts are left out and said). Every call does what
# is not done yet, for less than ten minutes ($CALL_MINUTES, 8), and leaves the rest to the next call with the same OUT:
# results as JSON, encoders, and a note of each finished part in OUT/done. Needs torch, torchvision, numpy, pillow, safetensors
# (and pytest for the checks). TINY=1 runs the whole queue in small sizes on any machine.
set -uo pipefail
out=$(mkdir -p "$1" && cd "$1" && pwd); data=$(cd "${2:-../shared/data}" 2>/dev/null && pwd || echo /nowhere)
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}; minutes=${CALL_MINUTES:-8}; began=$SECONDS; mkdir -p "$out/done"
small() { if [ -n "${TINY:-}" ]; then echo "$1"; else echo "$2"; fi; }
left() { awk -v m="$minutes" -v s=$((SECONDS - began)) 'BEGIN {print (m * 60 - s) / 60}'; }
part() {  # part NAME NEEDS-MINUTES command...: once, if the time is left; a command that exits 3 is not finished
  local name=$1 needs=$2; shift 2
  [ -e "$out/done/$name" ] && return 0
  if awk -v l="$(left)" -v n="$needs" 'BEGIN {exit !(l < n)}'; then echo "== $name: left to the next call"; return 0; fi
  echo "== $name"
  "$@" 2>&1 | tee -a "$out/$name.log" | tail -n 5
  local status=${PIPESTATUS[0]}
  if [ "$status" = 0 ]; then touch "$out/done/$name"; elif [ "$status" != 3 ]; then echo "== $name failed ($status): see $name.log"; fi
}

part checks "$(small 0 2)" "$python" -m pytest -q -p no:cacheprovider tests/test_byol.py tests/test_augment.py tests/test_step.py \
  tests/test_loader.py tests/test_optimizers.py $(small "-k optimizers" "")
part throughput "$(small 0 3)" "$python" tests/benchmarks/throughput.py "$out/throughput.json" $(small \
  "--encoder conv4 --batch-sizes 16 --pictures 64 --seconds 0.1 --rounds 1" "--batch-sizes 128,512,1024 --compile")
if [ -e "$data/cifar10/train.zip" ]; then
  part cifar10 "$(small 0 1)" "$python" tests/benchmarks/cifar10.py "$data/cifar10" "$out/cifar10" --minutes "$(left)" \
    $(small "--encoder conv4 --epochs 2 --batch-size 64 --every 1" "--batch-size 128")
  part cifar10_ours "$(small 0 1)" "$python" tests/benchmarks/cifar10.py "$data/cifar10" "$out/cifar10_ours" --minutes "$(left)" \
    --ours $(small "--encoder conv4 --epochs 2 --batch-size 64" "--batch-size 256 --every 20")
else
  echo "== cifar10: no $data/cifar10/train.zip"
fi
if [ -e "$data/photos64/unlabelled.zip" ]; then
  part starter "$(small 0 1)" "$python" tests/benchmarks/starter.py "$data/photos64/unlabelled.zip" "$out/starter" --minutes "$(left)" \
    $(small "--encoder conv4 --image-size 32 --epochs 1 --batch-size 64" "--epochs 400")
else
  echo "== starter: no $data/photos64/unlabelled.zip"
fi
ls "$out/done" | sed 's/^/done: /'
