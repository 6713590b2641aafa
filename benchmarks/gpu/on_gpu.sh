#!/bin/bash
# What only a GPU can tell, part by part, each within its own time: one that fails leaves the others alone.
#
#     benchmarks/gpu/on_gpu.sh OUT BUNDLE [OTHER_BUNDLE DATA.npz]
#
# The kernel's tests and its bandwidth, and `doctor`, `verify` and `bench` with ONNX Runtime's CUDA provider; the other
# bundle classifies DATA, too. OUT/log.txt has all that was said. Needs numpy, typer, rich, onnxruntime-gpu,
# cuda-bindings, NVRTC and pytest. The peers are compared by gpu.py beside this.

out=$1 bundle=$2 other=$3 data=$4
cd "$(dirname "$0")/../.." || exit
export PYTHONPATH="$PWD:$PWD/exporters:$PWD/runtime:$PYTHONPATH" PYTHONUNBUFFERED=1 NO_COLOR=1 COLUMNS=140
export PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 # warnings are errors in tests, those of others' plugins too
deploy="python3 -m tcja_deploy"
passed="" began=$SECONDS

part() { # NAME SECONDS LINES COMMAND...: runs it, and says its last lines
    local name=$1 limit=$2 lines=$3 start=$SECONDS code
    shift 3
    printf '\n== %s\n' "$name" >>"$out/log.txt"
    timeout -k 5 "$limit" "$@" >"$out/part.txt" 2>&1
    code=$?
    cat "$out/part.txt" >>"$out/log.txt"
    printf '\n== %s: exit %s, %s s\n' "$name" "$code" $((SECONDS - start))
    tail -n "$lines" "$out/part.txt" | cut -c1-200
    passed+="$name $code; "
}

part machine 20 2 nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,clocks.max.mem,temperature.gpu --format=csv
part "kernel to the bit" 150 4 python3 -m pytest --noconftest -q -p no:cacheprovider -m gpu tests/runtime/tensorrt/plugin/test_gpu.py
part doctor 30 30 $deploy doctor
part "verify on the GPU" 120 25 $deploy verify "$bundle" --backend onnxruntime-cuda
[ -n "$other" ] && part "verify real data" 60 14 $deploy verify "$other" --backend onnxruntime-cuda --data "$data"
part bench 40 20 $deploy bench "$bundle" --backend onnxruntime-cuda --seconds 3
part "bench, batch 8" 40 20 $deploy bench "$bundle" --backend onnxruntime-cuda --seconds 3 --batch 8
part "bandwidth of the kernel" 150 70 python3 -m benchmarks.gpu.neuron_kernel "$bundle" --ahead 1 4 8 --json "$out/kernel.json"
rm -f "$out/part.txt"
printf '\n%s s; exit codes: %s\n' $((SECONDS - began)) "$passed"
