"""A job whose time is over asks Slurm to start it again; one that somebody ends does not."""

import os
from datetime import datetime, timedelta

import pytest

from robust_transfer.plan import jobs
from robust_transfer.run import __main__ as entry
from robust_transfer.run import command, requeue


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Stand-ins for Slurm's commands: `end` is what one answers, `status` how the other ends, `asked` what it was."""
    (tmp_path / "status").write_text("0")
    scripts = {
        "squeue": f"cat {tmp_path}/end",
        "scontrol": f'echo "$@" >> {tmp_path}/asked; exit $(cat {tmp_path}/status)',
    }
    for name, script in scripts.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("SLURM_JOB_ID", "42")
    monkeypatch.setenv(jobs.WARM, "0")
    return tmp_path


def comes_back(slurm, seconds_left, state="RUNNING"):
    end = (datetime.now() + timedelta(seconds=seconds_left)).isoformat(timespec="seconds")
    (slurm / "end").write_text(f"{state} {end}\n")
    return requeue.when_time_is_over()


def test_at_the_end_of_its_time_a_job_comes_back(slurm):
    assert comes_back(slurm, 300)
    assert (slurm / "asked").read_text() == "requeue 42\n"


def test_a_job_that_somebody_ends_stays_ended(slurm):
    assert not comes_back(slurm, 7200)
    assert not (slurm / "asked").exists()


def test_a_job_that_is_cancelled_has_its_end_now_and_stays_ended(slurm):
    assert not comes_back(slurm, 0, "COMPLETING")
    assert not (slurm / "asked").exists()


def test_where_slurm_refuses_snakemakes_retries_are_left(slurm, monkeypatch):
    (slurm / "status").write_text("1")
    assert not comes_back(slurm, 300)
    (slurm / "status").write_text("0")
    (slurm / "squeue").write_text("#!/bin/sh\necho RUNNING UNLIMITED\n")
    assert not requeue.when_time_is_over()
    monkeypatch.setenv("PATH", str(slurm / "nowhere"))
    assert not requeue.when_time_is_over()


@pytest.mark.parametrize("name", ["SLURM_JOB_ID", jobs.WARM])
def test_outside_slurm_and_of_a_job_that_is_somebodys_own_nothing_is_asked(slurm, monkeypatch, name):
    monkeypatch.delenv(name)
    assert not comes_back(slurm, 300)
    assert not (slurm / "asked").exists()


def test_a_clusters_job_still_knows_that_it_is_one_when_it_is_asked(monkeypatch):
    monkeypatch.setattr(command, "make", lambda _: int(os.environ.get(jobs.WARM, "1")))
    monkeypatch.setenv(jobs.WARM, "0")
    assert entry.main(["node", "mine"]) == 0
    monkeypatch.delenv(jobs.WARM)
    assert entry.main(["node", "mine"]) == 1
