"""One pipeline at four kinds of site: the same bytes; and no site can say what a mask is."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from time import monotonic, sleep

import pytest
import torch
from click.testing import CliRunner
from conftest import REPOSITORY
from support.clusters import running
from support.runs import everything, lines, states
from support.studies import ball_studies

from medseg.cli import main
from medseg.errors import MedsegError, PipelineError
from medseg.execution import Dask
from medseg.execution.cluster import Slurm
from medseg.pipeline import Pipeline, Site, load_pipeline, load_site, pipeline_digest
from medseg.run.dealing import _Meeting, check_site
from medseg.run.events import Event, StageStarted, StudyStarted
from medseg.run.folder import held, signed
from medseg.run.predict import RunSummary, predict
from medseg.run.records import versions
from medseg.run.shards import Shard
from medseg.run.site import limits_of
from medseg.run.whole import merge

QUICK = REPOSITORY / "pipelines/quickstart.yaml"
SITES = sorted((REPOSITORY / "configs").glob("*.yaml"))
LOCAL = Site(execution="local", device="cpu", workers=2, threads=1)
DASK = Site(execution="dask", device="cpu", threads=1)
CERTIFIED = {"ca-file": "cert.pem", "cert": "cert.pem", "key": "key.pem"}


def run(path: Path, output: Path, site: Site | None = None, **options: object) -> RunSummary:
    return predict(load_pipeline(path).writing_to(output), site, **options)  # type: ignore[arg-type]


def four(path: Path, folder: Path, dask: Site = DASK) -> list[dict[str, bytes]]:
    """What each of the four bodies makes of a pipeline; shards are of both their kinds."""
    run(path, folder / "serial", Site(device="cpu"))
    run(path, folder / "local", LOCAL)
    run(path, folder / "dask", dask)
    for part in (Shard(1, 2), Shard(2, 2)):
        run(path, folder / "shards", Site(device="cpu"), shard=part)
    merge(folder / "shards")
    return [everything(folder / name) for name in ("serial", "local", "dask", "shards")]


def test_the_four_bodies_make_the_same_bytes(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    path = ball_studies(tmp_path, 5)
    (tmp_path / "images/study_03.nii.gz").write_bytes(b"")
    serial, local, dask, shards = four(path, tmp_path)
    assert len([name for name in serial if name.startswith("masks/study")]) == 4
    assert local == serial
    assert dask == serial
    assert shards == serial
    digests = {
        tuple(sorted((one["study"], one.get("mask"), one["pipeline"]) for one in lines(journal)))
        for journal in (tmp_path / name / "runs.jsonl" for name in ("serial", "local", "dask"))
    }
    assert len(digests) == 1


@pytest.mark.slow
def test_the_four_bodies_make_the_same_bytes_by_a_trained_network(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    serial, local, dask, shards = four(QUICK, tmp_path, replace(DASK, workers=2))
    assert any(name.startswith("masks/") for name in serial)
    assert local == dask == shards == serial


@pytest.mark.slow
def test_a_cluster_is_heard_and_resumed_as_one_process_is(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    path, heard = ball_studies(tmp_path, 3), list[Event]()
    run(path, tmp_path / "out", DASK, watch=heard.append)
    begun = [event for event in heard if isinstance(event, StudyStarted)]
    assert sorted((event.index, event.total) for event in begun) == [(1, 3), (2, 3), (3, 3)]
    assert {event.study for event in heard if isinstance(event, StageStarted)} == {
        f"study_0{number}" for number in range(3)
    }
    assert not list((tmp_path / "out").rglob("*.tmp"))
    (tmp_path / "out/masks/study_01.nii.gz").write_bytes(b"rot")
    assert states(run(path, tmp_path / "out", DASK)) == ["kept", "done", "kept"]


MASKS = sorted({field.name for field in fields(Pipeline)} - {"training"})


@pytest.mark.parametrize("key", MASKS)
def test_a_site_that_says_what_a_mask_is_is_refused_with_its_line(key: str, tmp_path: Path) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(f"device: cpu\n{key}: 1\n")
    with pytest.raises(PipelineError, match="no such option") as caught:
        load_site(path)
    assert (caught.value.complaints[0].line, caught.value.complaints[0].key) == (2, key)


def test_a_run_with_such_a_site_begins_nothing(tmp_path: Path) -> None:
    path, site = ball_studies(tmp_path, 1), tmp_path / "site.yaml"
    site.write_text("device: cpu\ninference:\n  - threshold: {minimum: 1}\n")
    told = ["run", str(path), "--output", str(tmp_path / "out"), "--site", str(site)]
    result = CliRunner().invoke(main, told)
    assert result.exit_code == 2
    assert "site.yaml:2:1: inference: no such option" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("path", SITES, ids=lambda path: path.stem)
def test_no_site_of_the_project_changes_what_a_pipeline_is(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medseg.run.site import settled

    there = torch.device("cuda")
    monkeypatch.setattr("medseg.models.device.device_named", lambda _: there)
    monkeypatch.setattr("torch.set_num_threads", str)
    monkeypatch.setattr("medseg.compiled.use_threads", str)
    pipeline = load_pipeline(QUICK)
    assert pipeline_digest(settled(pipeline, load_site(path))) == pipeline_digest(pipeline)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dask: {wait_seconds: 5}\n", "dask is for execution: dask"),
        ("execution: dask\nworkers: 2\ndask: {scheduler: 'tcp://a:1'}\n", "a cluster has its own"),
        ("execution: dask\ndask: {scheduler: 'a:1'}\n", "tcp://host:port without tls"),
        ("execution: dask\ndask: {scheduler: 'tls://a:1'}\n", "tcp://host:port without tls"),
        (
            "execution: dask\ndask: {scheduler: 'tcp://a:1', tls: {ca: a, cert: b, key: c}}\n",
            "tls://host:port with tls",
        ),
        (
            "execution: dask\ndask: {scheduler: 'tcp://a:1', slurm: {memory_gib: 1}}\n",
            "name one of them",
        ),
        ("execution: dask\ndask: {slurm: {memory_gib: 0}}\n", "memory_gib is above 0"),
        ('execution: dask\ndask: {slurm: {memory_gib: 1, queue: "a\\nrm"}}\n', "queue is one word"),
        ("execution: dask\ndask: {slurm: {memory_gib: 1, gres: $(id)}}\n", "gres is one word"),
        ('execution: dask\ndask: {slurm: {memory_gib: 1, logs: "a;b"}}\n', "without spaces"),
        ("execution: dask\ndask: {wait_seconds: 0}\n", "wait_seconds is above 0"),
    ],
)
def test_a_cluster_that_cannot_be_meant_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(text)
    with pytest.raises(PipelineError) as caught:
        load_site(path)
    assert said in str(caught.value)


def test_a_package_that_is_not_here_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = ball_studies(tmp_path, 1)
    monkeypatch.setattr("medseg.execution.cluster.find_spec", {}.get)
    with pytest.raises(PipelineError, match=r'needs distributed: pip install "medseg\[dask\]"'):
        run(path, tmp_path / "out", DASK)
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr("medseg.execution.cluster.find_spec", {"distributed": 1}.get)
    site = Site(execution="dask", dask=Dask(slurm=Slurm(memory_gib=1)))
    with pytest.raises(PipelineError, match="needs dask_jobqueue"):
        check_site(load_pipeline(path), site)


def test_what_a_machine_has_is_left_to_the_workers_that_are_on_it() -> None:
    away = Site(execution="dask", device="cuda:7", dask=Dask(scheduler="tcp://head:8786"))
    assert limits_of(away).memory_gib is None
    assert away.places == ("cuda:7",)
    assert limits_of(DASK).memory_gib is not None
    assert replace(DASK, workers=2).places == ("cpu", "cpu")


def test_a_worker_that_sees_another_folder_or_has_other_packages_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with signed(tmp_path) as sign:
        _Meeting(tmp_path, sign, versions()).check()
        with pytest.raises(MedsegError, match=r"E_CLUSTER: a worker has torch .*, not 1.0$"):
            _Meeting(tmp_path, sign, {**versions(), "torch": "1.0"}).check()
        with pytest.raises(MedsegError, match=r"E_CLUSTER .*cannot go to the folder"):
            _Meeting(tmp_path / "nowhere", sign, versions()).check()
    with pytest.raises(MedsegError, match=r"E_CLUSTER .*does not see this folder"):
        _Meeting(tmp_path, sign, versions()).check()
    sign.write_text("left by one that was killed")
    with held(tmp_path):
        assert not sign.exists()


# As SLURM does, the job has a copy of its script: the caller removes its own at once.
SBATCH = """\
#!/bin/sh
cat "$1" >> $JOBS/scripts
cp "$1" $JOBS/job.$$
setsid sh $JOBS/job.$$ > $JOBS/said.$$ 2>&1 < /dev/null &
echo $! >> $JOBS/pids
echo Submitted batch job $!
"""
SCANCEL = """\
#!/bin/sh
kill -9 -- "-$1"
"""


def commands(folder: Path) -> dict[str, str]:
    """Stand-ins for SLURM's commands that run a job on this machine, and where to find them."""
    for name, text in {"sbatch": SBATCH, "scancel": SCANCEL}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    path = os.pathsep.join([str(folder), os.environ["PATH"]])
    there = os.pathsep.join([str(REPOSITORY), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
    return {**os.environ, "PATH": path, "JOBS": str(folder), "PYTHONPATH": there}


@pytest.mark.slow
def test_jobs_of_slurm_do_a_run_and_end_with_it(tmp_path: Path) -> None:
    """With stand-ins for sbatch and scancel; the scheduler, the jobs and the workers are real."""
    pytest.importorskip("dask_jobqueue")
    path = ball_studies(tmp_path, 4)
    run(path, tmp_path / "serial", Site(device="cpu"))
    text = (REPOSITORY / "configs/dask_slurm.yaml").read_text().replace("cuda", "cpu")
    text = text.replace("threads: 8", "threads: 1").replace("slurm: {", "slurm: {interface: lo, ")
    text = text.replace("memory_gib: 64", "memory_gib: 1").replace("jobs: 4", "jobs: 2")
    site = tmp_path / "site.yaml"
    site.write_text(text.replace("memory_gib: 56", "memory_gib: 0.9"))
    told = [sys.executable, "-m", "medseg", "run", str(path), "--site", str(site)]
    env = commands(tmp_path)
    said = subprocess.run(
        [*told, "--output", str(tmp_path / "out")],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert said.returncode == 0, said.stderr
    assert everything(tmp_path / "out") == everything(tmp_path / "serial")
    script = (tmp_path / "scripts").read_text()
    for asked in ("--cpus-per-task=8", "--gres=gpu:1", "-t 12:00:00", "--nthreads 1"):
        assert asked in script
    groups = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(groups) >= 2
    # A job that was told to end takes a moment for it.
    until = monotonic() + 60
    while any(map(alive, groups)) and monotonic() < until:
        sleep(0.1)
    assert not any(map(alive, groups))


def alive(group: int) -> bool:
    """Whether a process group has a process yet."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def certified(folder: Path) -> str:
    """A certificate that is its own authority; the tls section that names it."""
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    made += ["-subj", "/CN=medseg", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(made, cwd=folder, check=True, capture_output=True)
    return "tls: {ca: cert.pem, cert: cert.pem, key: key.pem}"


@pytest.mark.slow
def test_a_scheduler_that_runs_already_is_used_by_tls_and_left_running(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    tls = certified(tmp_path)
    path = ball_studies(tmp_path, 3)
    run(path, tmp_path / "serial", Site(device="cpu"))
    where = [f"--tls-{one}={tmp_path / name}" for one, name in CERTIFIED.items()]
    with running(tmp_path, "tls", where) as cluster:
        assert cluster.address.startswith("tls://127.0.0.1")
        site = tmp_path / "site.yaml"
        site.write_text(f"execution: dask\ndask: {{scheduler: '{cluster.address}', {tls}}}\n")
        run(path, tmp_path / "out", load_site(site))
        assert everything(tmp_path / "out") == everything(tmp_path / "serial")
        assert cluster.scheduler.poll() is cluster.worker.poll() is None
        plain = Site(execution="dask", dask=Dask(cluster.address.replace("tls", "tcp")))
        with pytest.raises(MedsegError, match="E_CLUSTER: there is no way"):
            run(path, tmp_path / "plain", plain)
