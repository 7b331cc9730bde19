"""The files in deploy/: they are whole, their commands are ones that the command line takes, and the script for SLURM runs."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.selection import BACKEND, fast_on_torch, very_slow_compiled

ROOT = Path(__file__).resolve().parents[2]
DEPLOY, SCRIPT = ROOT / "deploy", ROOT / "deploy" / "slurm.sh"
pytestmark = [
    fast_on_torch,
    pytest.mark.skipif(not DEPLOY.exists(), reason="the files for clusters are not installed with the package"),
]


def parsed(name):
    yaml = pytest.importorskip("yaml", reason="reading YAML needs PyYAML")
    return yaml.safe_load((DEPLOY / name).read_text())


def taken(words):
    """The options that the command line reads from these words; nothing runs."""
    pytest.importorskip("keras_explainable.cli.batch_commands", reason="the command line has no batch")
    import typer

    from keras_explainable import cli

    assert words[:2] == ["keras-explainable", "batch"]
    command = typer.main.get_command(cli.app()).commands["batch"]
    return command.make_context("batch", list(words[2:])).params


def containers(template):
    return template["spec"]["containers"]


def test_the_job_of_ray_has_what_kuberay_needs():
    job = parsed("kuberay.yaml")
    assert (job["apiVersion"], job["kind"], job["metadata"]["name"]) == ("ray.io/v1", "RayJob", "explain")
    spec, cluster = job["spec"], job["spec"]["rayClusterSpec"]
    assert spec["shutdownAfterJobFinishes"] is True and spec["ttlSecondsAfterFinished"] > 0 and spec["backoffLimit"] > 0
    environment = pytest.importorskip("yaml").safe_load(spec["runtimeEnvYAML"])["env_vars"]
    assert environment == {"KERAS_BACKEND": "jax", "RAY_USAGE_STATS_ENABLED": "0"}  # Ray takes texts only
    head, (workers,) = cluster["headGroupSpec"], cluster["workerGroupSpecs"]
    assert head["rayStartParams"] == {"num-cpus": "0"} and workers["rayStartParams"] == {}
    assert workers["minReplicas"] <= workers["replicas"] <= workers["maxReplicas"]
    (driver,), (worker,) = containers(head["template"]), containers(workers["template"])
    assert driver["image"] == worker["image"] and driver["envFrom"] == worker["envFrom"]
    for one in (driver, worker):
        assert one["resources"]["limits"] == one["resources"]["requests"]
    volume = workers["template"]["spec"]["volumes"][0]
    assert worker["volumeMounts"] == [{"name": volume["name"], "mountPath": "/dev/shm"}]
    assert volume["emptyDir"]["medium"] == "Memory"


def test_the_command_of_the_job_of_ray_fits_its_cluster():
    job = parsed("kuberay.yaml")["spec"]
    how = taken(shlex.split(job["entrypoint"]))
    (workers,) = job["rayClusterSpec"]["workerGroupSpecs"]
    (worker,) = containers(workers["template"])
    assert how["engine"] == "ray" and how["num_workers"] == workers["replicas"]
    assert str(int(how["num_gpus"])) == worker["resources"]["limits"]["nvidia.com/gpu"]
    assert (how["source"], how["out"], how["model"]) == ("s3://bucket/photos", "s3://bucket/maps", "ResNet50V2")


def test_the_versions_of_ray_agree():
    text = (DEPLOY / "kuberay.yaml").read_text()
    versions = re.findall(r"(?:ray:|ray\[data\]==|rayVersion: \")(\d+\.\d+\.\d+)", text)
    assert len(versions) == 3 and len(set(versions)) == 1


def test_the_job_of_kubernetes_has_a_rank_for_each_pod():
    spec = parsed("kubernetes.yaml")["spec"]
    (pod,) = containers(spec["template"])
    how = taken([*pod["command"], *pod["args"]])
    assert spec["completionMode"] == "Indexed" and spec["template"]["spec"]["restartPolicy"] == "Never"
    assert how["engine"] == "shard" and how["num_workers"] == spec["completions"] == spec["parallelism"]


@pytest.fixture
def nodes(tmp_path):
    """A folder for programs that are found before others, with `srun`, which here runs what it is given."""
    if not shutil.which("bash"):
        pytest.skip("the script needs bash")
    folder = tmp_path / "bin"
    folder.mkdir()
    program(folder / "srun", 'exec "$@"')
    return folder


def program(path, text):
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)


def submitted(nodes, *words, rank=0, **environment):
    """What the script writes as a task of an array of two."""
    known = {"SLURM_ARRAY_TASK_ID": str(rank), "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_COUNT": "2"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "OMP", "KERAS"))}
    env = {**kept, **known, "PATH": f"{nodes}:{os.environ['PATH']}", **environment}
    command = ["bash", str(SCRIPT), *map(str, words)]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=300)


def test_the_script_of_slurm_is_sound_and_asks_for_an_array(nodes):
    assert subprocess.run(["bash", "-n", str(SCRIPT)], check=False).returncode == 0
    asked = dict(re.findall(r"^#SBATCH --([\w-]+)=(.+)$", SCRIPT.read_text(), re.M))
    assert asked["array"] == "0-15" and asked["ntasks"] == "1" and asked["output"] == "explain-%A_%a.log"
    assert asked.keys() >= {"cpus-per-task", "gres", "mem", "time"} and "#SBATCH --requeue" in SCRIPT.read_text()
    first = SCRIPT.read_text().splitlines().index("set -euo pipefail")  # SLURM reads no lines after the first command
    assert all("#SBATCH" not in line for line in SCRIPT.read_text().splitlines()[first:])


def test_the_script_of_slurm_gives_its_arguments_on(nodes):
    program(nodes / "keras-explainable", 'printf "%s\\n" "$@" "$KERAS_BACKEND" "$OMP_NUM_THREADS"')
    words = ["/data/my photos", "/data/maps", "--model", "ResNet50V2", "--method", "gradcam", "--unit", "top-1"]
    done = submitted(nodes, *words, SLURM_CPUS_PER_TASK="8")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["batch", *words, "--engine", "shard", "jax", "8"]
    assert taken(["keras-explainable", *done.stdout.splitlines()[:-2]])["engine"] == "shard"
    assert submitted(nodes, "/data/photos").returncode == 2
    program(nodes / "keras-explainable", "exit 7")
    assert submitted(nodes, *words).returncode == 7


@very_slow_compiled
def test_two_tasks_of_slurm_explain_all_images(nodes, tmp_path):
    pytest.importorskip("keras_explainable.cli.batch_commands", reason="the command line has no batch")
    for needed in ("PIL", "zarr", "pyarrow", "typer"):
        pytest.importorskip(needed)
    from PIL import Image

    import keras_explainable as ke

    (tmp_path / "photos").mkdir()
    for i, scene in enumerate(ke.demo.load_scenes(5, seed=1)[0]):
        Image.fromarray(scene).save(tmp_path / f"photos/{i}.png")
    program(nodes / "keras-explainable", f'exec {shlex.quote(sys.executable)} -m keras_explainable.cli "$@"')
    how = [tmp_path / "photos", tmp_path / "maps", "--model", "demo", "--method", "gradcam", "--batch-size", 2]
    how += ["--part-size", 2]
    for rank, explained in ((0, 4), (1, 5)):  # the parts 0 and 2, then part 1
        done = submitted(nodes, *how, rank=rank, KERAS_BACKEND=BACKEND, PYTHONPATH=str(ROOT / "src"))
        assert done.returncode == 0, done.stderr
        assert ke.distributed.status(tmp_path / "maps").explained == explained if rank else True
    report = ke.distributed.status(tmp_path / "maps", verify=True)
    assert report.complete and report.explained == 5 and report.parts == 3
