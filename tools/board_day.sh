#!/bin/bash
# All that only a GPU with TensorRT can tell about a network, in one archive to send back.
#
#     tools/board_day.sh bundles FOLDER [CHECKPOINT [OPTIONS OF EXPORT...]]   on a workstation with torch
#     tools/board_day.sh run FOLDER [RECORDING]                               on the board, with TensorRT
#
# `bundles` exports a network in every precision and time form; without CHECKPOINT, the network of
# examples/event_fashion_mnist. `run` builds an engine of each bundle, measures it, streams a recording to it and
# verifies it. Each step has a time limit, and a step that fails does not stop the others.
# docs/how-to/board-day.md says what is in the archive.
#
# Variables: PRECISIONS and FORMS of `bundles`; MINUTES that `run` may take; BENCH, the seconds of each measurement;
# TCJA_DEPLOY, the program.
# Exit codes: 0 every step was done; 1 parity was not met; 2 wrong arguments; 3 a step was not done; 130 interrupted.

set -uo pipefail
shopt -s nullglob

names=() results=() seconds=() # of each step
code=0 pid=                    # of the last step

usage() {
    sed -n '3,5s/^# *//p' "$0" >&2
    exit 2
}

fail() { # CODE TEXT
    echo "error: $2" >&2
    exit "$1"
}

check() { # NAME VALUE PATTERN WORDS: checks the value of a variable
    [[ $2 =~ ^$3$ ]] || fail 2 "$1 is '$2', and must be $4"
}

note() { # NAME RESULT SECONDS: keeps the result of a step, and prints it
    names+=("$1") results+=("$2") seconds+=("$3")
    printf '%5s s  %-32s %s\n' "$3" "$1" "$2"
}

left() { # prints the seconds until all steps must have ended
    echo $((deadline - SECONDS))
}

step() { # NAME SECONDS COMMAND...: runs a command within its time; $code is its exit code
    local name=$1 limit=$2 file began=$SECONDS result why
    shift 2
    if ((limit > $(left))); then limit=$(left); fi
    if ((limit < 1)); then
        code=3
        note "$name" "not done: no time left" 0
        return
    fi
    file=$said/$(printf '%02d-%s' "${#names[@]}" "${name// /-}")
    echo "$*" >"$file.command"
    timeout -k 10 "$limit" "$@" >"$file.out" 2>"$file.err" </dev/null &
    pid=$! # waited for, so that an interrupt need not wait for the step
    wait "$pid"
    code=$?
    echo "$code" >"$file.code"
    why=$(grep '^error: ' "$file.err" | tail -n 1)
    case $code in
    0) result="done" ;;
    1) result="exit code 1: ${why:-parity or accuracy was not met}" ;;
    124 | 137) result="not done: it took more than $limit s" ;;
    *) result="exit code $code: ${why:-$(tail -n 1 "$file.err")}" ;;
    esac
    note "$name" "$result" $((SECONDS - began))
}

skip() { # NAME WHY
    note "$1" "not done: $2" 0
}

program() { # sets $deploy, and lets `python3` be that of its environment
    local here
    here=$(cd "$(dirname "$0")/.." && pwd)
    for deploy in "${TCJA_DEPLOY:-}" "$(type -P tcja-deploy)" "$PWD/.venv/bin/tcja-deploy" "$here/.venv/bin/tcja-deploy"; do
        if [ -x "$deploy" ]; then
            deploy=$(cd "$(dirname "$deploy")" && pwd)/$(basename "$deploy")
            export PATH="${deploy%/*}:$PATH"
            return
        fi
    done
    fail 3 "tcja-deploy was not found; activate its environment, or set TCJA_DEPLOY to the program"
}

table() { # prints the result of each step
    local i
    for i in "${!names[@]}"; do
        printf '%-32s %5s s  %s\n' "${names[i]}" "${seconds[i]}" "${results[i]}"
    done
}

exit_code() { # prints the exit code that the results give
    case " ${results[*]}" in
    *" exit code 1: "*) echo 1 ;;
    *"not done: "* | *" exit code "*) echo 3 ;;
    *) echo 0 ;;
    esac
}

bundles() { # FOLDER [CHECKPOINT [OPTIONS...]]
    local folder=$1 precision form name made
    shift
    [ $# = 0 ] || [ -f "$1" ] || fail 2 "there is no checkpoint $1"
    program
    mkdir -p "$folder" || exit 2
    folder=$(cd "$folder" && pwd)
    cp "$0" "$folder/board_day.sh"
    said=$folder/export-logs deadline=$((SECONDS + 86400))
    mkdir -p "$said"
    if [ $# = 0 ]; then
        local example images
        example=$(cd "$(dirname "$0")/../examples/event_fashion_mnist" && pwd) || fail 2 "the examples are not beside this script; name a CHECKPOINT"
        images=$example/../fashion_mnist/test_1000.npz
        step recordings 600 python3 "$example/simulate.py" --images "$images" --count 100 "$folder/recordings"
        [ "$code" = 0 ] || fail 3 "the recordings were not made; $said says why"
        set -- "$example/checkpoint.pth" --classes "$example/classes.txt" --data "$folder/recordings"
    fi
    for form in ${FORMS:-fused unrolled}; do
        for precision in ${PRECISIONS:-fp32 fp16 int8}; do
            name=$form-$precision
            rm -rf "$folder/$name.bundle"
            step "$name export" 3600 "$deploy" export "$@" --precision "$precision" --time-form "$form" \
                --spike-counts on --target onnx --out "$folder/$name.bundle"
        done
    done
    made=("$folder"/*.bundle)
    printf '\n'
    table
    printf '\n'
    [ ${#made[@]} -gt 0 ] || fail 3 "no bundle was made; $said says why"
    echo "Bundles in $folder: ${#made[@]}. Copy this folder to the board, and run there: bash FOLDER/board_day.sh run FOLDER"
    exit "$(exit_code)"
}

machine() { # prints what this machine is; no name, no address, no serial number
    uname -srm
    sed -n 's/^PRETTY_NAME=//p' /etc/os-release
    tr '\0' '\n' </proc/device-tree/model
    cat /etc/nv_tegra_release
    nvidia-smi --query-gpu=name,driver_version,compute_cap,memory.total,power.limit,clocks.max.sm,clocks.max.mem --format=csv
    nvpmodel -q
    nproc
    free -m
    dpkg-query -W 'nvidia-jetpack' 'nvidia-l4t-core' 'libnvinfer*' 'libcudnn*' 'cuda-cudart*' 'cuda-nvrtc*'
    python3 -m pip list --disable-pip-version-check |
        awk 'tolower($1) ~ /^(numpy|onnx|tensorrt|cuda|nvidia|typer|rich|tcja)/ {print $1, $2}' # a third column is a path
    true # each of these may be missing
}

engine() { # BUNDLE: builds its engine, measures it, and gives it the recordings
    local bundle=$1 name=${1%.bundle} file
    step "$name build" 240 "$deploy" build "$bundle" --target tensorrt --json
    if [ "$code" != 0 ]; then
        skip "$name bench, stream, verify" "it has no engine"
        return
    fi
    built+=("$bundle")
    step "$name inspect" 30 "$deploy" inspect "$bundle" --json
    step "$name bench" 90 "$deploy" bench "$bundle" --backend tensorrt --seconds "${BENCH:-10}" --json
    if [ -n "$recording" ]; then
        step "$name run" 60 "$deploy" run "$bundle" "$recordings" --backend tensorrt --json
        step "$name stream" 60 "$deploy" stream "$bundle" "$recording" --backend tensorrt --seconds 30 --no-view --json
    else
        skip "$name run, stream" "there is no recording"
    fi
    mkdir -p "$said/$name"
    for file in "$bundle"/engines/*/{engine.json,build.log}; do
        cp "$file" "$said/$name/$(basename "$(dirname "$file")").${file##*/}"
    done
}

hide() { # PATH NAME: writes NAME for a path of this machine in all files of the archive
    local pattern
    pattern=$(printf '%s' "$1" | sed 's/[][\.*^$|]/\\&/g')
    if [ "${#1}" -gt 1 ]; then find "$said" -type f -exec sed -i "s|$pattern|$2|g" {} +; fi
}

pack() { # writes the archive
    local file
    {
        table
        echo "exit code $(exit_code), $((SECONDS - began)) s"
    } >"$said/summary.txt"
    hide "$folder" FOLDER
    hide "${script%/*}" SCRIPT
    hide "${deploy%/*/*}" ENVIRONMENT
    hide "$HOME" HOME
    file=board_day-$(date -u +%Y%m%d-%H%M%S).tar.gz
    tar --owner=0 --group=0 --numeric-owner -czf "$file" -C "$work" board_day && rm -rf "$work"
    printf '\n'
    table
    printf '\nThe archive to send back: %s (%s bytes)\n' "$folder/$file" "$(wc -c <"$file")"
}

interrupted() {
    trap '' INT TERM
    kill "$pid" 2>/dev/null && wait "$pid"
    note "the steps after this" "not done: interrupted" 0
    pack
    exit 130
}

run() { # FOLDER [RECORDING]
    local bundle first name
    [ -d "$1" ] || fail 2 "$1 is no folder; make it with 'board_day.sh bundles $1' on a workstation"
    program
    check MINUTES "${MINUTES:-19}" '[0-9]{1,4}' "a whole number of minutes"
    check BENCH "${BENCH:-10}" '[0-9]+([.][0-9]+)?' "a number of seconds"
    recording=${2:+$(realpath -e -- "$2" 2>/dev/null)} || fail 2 "there is no recording $2"
    cd "$1" || exit 2
    folder=$PWD work=$PWD/.board_day said=$PWD/.board_day/board_day
    began=$SECONDS deadline=$((SECONDS + 60 * ${MINUTES:-19})) built=()
    local all=(*.bundle)
    [ ${#all[@]} -gt 0 ] || fail 2 "$folder has no bundle; make them with 'board_day.sh bundles' on a workstation"
    rm -rf "$work"
    mkdir -p "$said"
    export XDG_CACHE_HOME=$work/cache NO_COLOR=1 COLUMNS=120 # an own cache: no build takes the timings of an older one
    if [ -n "$recording" ]; then
        recordings=$work/recording.${recording##*.} # by another name, which is printed
        ln -s "$recording" "$recordings"
        recording=$recordings
    elif [ -d recordings ]; then
        recordings=recordings
        recording=$(find recordings -type f | sort | head -n 1)
    fi
    trap 'interrupted' INT TERM

    step machine 30 bash "$script" machine
    step doctor 60 "$deploy" doctor
    step "doctor as JSON" 60 "$deploy" doctor --json
    first=${all[0]}
    for bundle in *fp32*.bundle; do first=$bundle; done
    name=${first%.bundle}
    step "$name verify CPU" 180 "$deploy" verify "$first" --backend onnxruntime --json
    step "$name bench CPU" 60 "$deploy" bench "$first" --backend onnxruntime --seconds "${BENCH:-10}" --json
    if [ -n "$recording" ]; then
        step "$name stream CPU" 60 "$deploy" stream "$first" "$recording" --backend onnxruntime --seconds 30 --no-view --json
    fi
    for bundle in "${all[@]}"; do engine "$bundle"; done
    # At the end, because it builds every engine in parts, which takes most of the time.
    for bundle in ${built[@]+"${built[@]}"}; do
        step "${bundle%.bundle} verify" 420 "$deploy" verify "$bundle" --backend tensorrt --json
    done
    trap '' INT TERM
    pack
    if [ ${#built[@]} = 0 ]; then
        echo "No engine was built on this machine. The archive has what ONNX Runtime did on the CPU, and why no engine was built."
    fi
    exit "$(exit_code)"
}

[ $# -ge 2 ] || [ "${1:-}" = machine ] || usage
script=$(realpath "$0")
case $1 in
machine) machine ;; # a step of `run`
bundles) bundles "${@:2}" ;;
run) [ $# -le 3 ] || usage; run "${@:2}" ;;
*) usage ;;
esac
