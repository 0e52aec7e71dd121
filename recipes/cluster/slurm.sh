#!/usr/bin/env bash
#SBATCH --job-name=reasoner
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --mem=0
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#
# A stage of a recipe on N nodes (docs/training.md, On a cluster). From the repository, on a file system that all share:
#
#   sbatch --nodes=4 recipes/cluster/slurm.sh mine nv_reason_3b
#   sbatch --nodes=4 recipes/cluster/slurm.sh sft  nv_reason_3b
#   VLLM_NODES=1 sbatch --nodes=5 recipes/cluster/slurm.sh grpo nv_reason_3b [--learning_rate 1e-6 ...]
#   DRY_RUN=1 SLURM_JOB_NUM_NODES=4 bash recipes/cluster/slurm.sh grpo nv_reason_3b      (prints what would run where)
#
# The first N - VLLM_NODES nodes train, one process a GPU; the first of them is the main one. The others serve rollouts
# (grpo with VLLM_NODES=1; 0, the default, samples on the trainers' GPUs). Ray, with the reward workers and with mine's
# partitions, runs on the processors of all nodes. A step that fails ends the job; a job that was requeued goes on from
# the newest checkpoint.
#
# Settings, from the environment: VLLM_NODES, ACCELERATE (config file), GPUS (a node), BIN (of the virtual environment),
# PORT (the first of three).
set -euo pipefail

STAGE=${1:?usage: sbatch recipes/cluster/slurm.sh mine|sft|grpo RECIPE [ARGS ...]}
RECIPE=${2:?usage: sbatch recipes/cluster/slurm.sh mine|sft|grpo RECIPE [ARGS ...]}
shift 2
VLLM_NODES=${VLLM_NODES:-0}
ACCELERATE=${ACCELERATE:-recipes/accelerate/deepspeed_zero2.yaml}
GPUS=${GPUS:-${SLURM_GPUS_ON_NODE:-8}}
CPUS=${SLURM_CPUS_PER_TASK:-64}
BIN=${BIN:-.venv/bin}
PORT=${PORT:-29500}
DRY_RUN=${DRY_RUN:-}

fail() {
  echo "error: $*" >&2
  exit 2
}

#: What runs on a node, or on several (comma-separated): `on NODES COMMAND ...`, a task on each.
on() {
  local nodes=$1 names
  shift
  IFS=, read -r -a names <<<"$nodes"
  if [[ -n $DRY_RUN ]]; then
    printf '%s: %s\n' "$nodes" "$*"
  else
    srun --overlap --kill-on-bad-exit=1 --nodelist="$nodes" --nodes="${#names[@]}" --ntasks="${#names[@]}" \
      --ntasks-per-node=1 "$@"
  fi
}

joined() { (IFS=, && echo "$*"); }

#: `until_up SECONDS WHAT COMMAND ...`: waits until the command succeeds.
until_up() {
  local end=$((SECONDS + $1)) what=$2
  shift 2
  [[ -n $DRY_RUN ]] && return
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < end)) || fail "$what is not up; see the output of its step above"
    sleep 2
  done
}

case $STAGE in mine | sft | grpo) ;; *) fail "stage '$STAGE': mine, sft or grpo (eval and export need one node)" ;; esac
[[ $STAGE == grpo || $VLLM_NODES == 0 ]] || fail "VLLM_NODES=$VLLM_NODES: only grpo samples from vLLM; leave it out"
[[ $VLLM_NODES == [01] ]] || fail "VLLM_NODES=$VLLM_NODES: 0 (on the trainers' GPUs) or 1 (a node that serves them)"
[[ -f $ACCELERATE ]] || fail "ACCELERATE=$ACCELERATE: no such file; submit from the repository"
if [[ -n $DRY_RUN ]]; then
  for ((i = 0; i < ${SLURM_JOB_NUM_NODES:-2}; i++)); do NODES+=("node$i"); done
else
  mapfile -t NODES < <(scontrol show hostnames "${SLURM_JOB_NODELIST:?not a Slurm job; see the head of this file}")
fi
TRAINERS=$((${#NODES[@]} - VLLM_NODES))
((TRAINERS >= 1)) || fail "${#NODES[@]} node(s) and VLLM_NODES=$VLLM_NODES: none is left to train on"
HEAD=${NODES[0]}
TRAINING=$(joined "${NODES[@]:0:TRAINERS}")

# Ray on all nodes. The token keeps other users of the network out.
RAY_AUTH_TOKEN=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN
RAY="$BIN/ray start --block --disable-usage-stats --num-gpus=0 --num-cpus=$CPUS"
trap 'jobs -p | xargs -r kill 2>/dev/null || true' EXIT
# shellcheck disable=SC2086 # words are meant
on "$HEAD" $RAY --head --port=$((PORT + 1)) --include-dashboard=false &
[[ -n $DRY_RUN ]] && wait
until_up 120 "Ray's head" on "$HEAD" "$BIN/ray" status --address="$HEAD:$((PORT + 1))"
if ((${#NODES[@]} > 1)); then
  # shellcheck disable=SC2086
  on "$(joined "${NODES[@]:1}")" $RAY --address="$HEAD:$((PORT + 1))" &
  [[ -n $DRY_RUN ]] && wait
fi
export RAY_ADDRESS=$HEAD:$((PORT + 1))

if [[ $STAGE == mine ]]; then
  on "$HEAD" "$BIN/reasoner" mine --recipe "$RECIPE" "$@"
  exit
fi

if [[ $VLLM_NODES == 1 ]]; then
  SERVER=${NODES[TRAINERS]}
  set -- --set "grpo.server.tensor_parallel=$GPUS" --vllm_mode server \
    --vllm_server_base_url "http://$SERVER:$((PORT + 2))" "$@"
  on "$SERVER" "$BIN/reasoner" serve --recipe "$RECIPE" "$@" --host 0.0.0.0 --port $((PORT + 2)) &
  [[ -n $DRY_RUN ]] && wait
  until_up 1800 "vLLM on $SERVER" on "$HEAD" curl -sf "http://$SERVER:$((PORT + 2))/health"
fi

# `accelerate launch` on each training node; SLURM_PROCID numbers the nodes of this step.
# shellcheck disable=SC2016 # expanded on the node
on "$TRAINING" bash -c 'rank=${SLURM_PROCID:-0}; exec "$0" launch --machine_rank "$rank" "$@"' \
  "$BIN/accelerate" --config_file "$ACCELERATE" --num_machines "$TRAINERS" --num_processes $((TRAINERS * GPUS)) \
  --main_process_ip "$HEAD" --main_process_port "$PORT" -m recipes.cli "$STAGE" --recipe "$RECIPE" "$@"
