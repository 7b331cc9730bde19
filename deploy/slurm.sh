#!/bin/bash
# Explains a folder of images by a SLURM array. Each task explains its share of the parts. No Ray is needed.
#
#     sbatch slurm.sh /data/photos /data/maps --model ResNet50V2 --method gradcam --unit top-1 --batch-size 64
#
# The same command again goes on where it stopped, also with another size of the array. A task that fails leaves its parts
# to the next run. The output must be on a file system that all nodes share, or in an object store.
#
#SBATCH --job-name=explain
#SBATCH --array=0-15
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --gres=gpu:1
#SBATCH --mem=32G
#SBATCH --time=12:00:00
#SBATCH --requeue
#SBATCH --output=explain-%A_%a.log
set -euo pipefail

if (( $# < 2 )); then
  echo "sbatch slurm.sh SOURCE OUT, and options of keras-explainable batch, were expected." >&2
  exit 2
fi

# The environment in which the library was installed: pip install "keras-explainable[jax,storage]"
if [[ -n "${EXPLAIN_ENV:-}" ]]; then
  source "$EXPLAIN_ENV/bin/activate"
fi
export KERAS_BACKEND="${KERAS_BACKEND:-jax}"
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"

exec srun keras-explainable batch "$@" --engine shard
