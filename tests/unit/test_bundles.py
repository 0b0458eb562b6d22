"""Bundles: which small jobs share one of Slurm's, what it asks for, what it leaves, and what becomes of each."""

import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from robust_transfer.cost.resources import START
from robust_transfer.plan import bundles, slurm
from robust_transfer.plan.bundles import MOST, Asked, Bundle, Waiting, asked_together, divided
from robust_transfer.run import bundle as on_the_node
from robust_transfer.run import command
from robust_transfer.run.bundle import BEGUN, DONE, STARTED, Record


class Job:
    """As Snakemake has it, as far as is asked for."""

    is_updated, is_local, threads = False, False, 1

    def __init__(self, name, rule="craft", attempt=1, priority=0, **resources):
        self.name, self.rule, self.attempt, self.priority = rule, SimpleNamespace(name=rule), attempt, priority
        self.jobid, self.log, self.wildcards = name, [f"logs/{name}.log"], [name]
        self.resources = Asked({"runtime": 30, "mem_mb": 4000, "gpu": 0, "bundle_minutes": 10} | resources)

    def __repr__(self):
        return self.jobid

    def is_group(self):
        return False

    def get_target_spec(self):
        return [SimpleNamespace(rulename=self.rule.name, wildcards_dict={"node": self.jobid})]


def waiting(name, minutes=1.0, **about):
    return Waiting(Job(name, **about), minutes, 10)


def names(members):
    return [each.job.jobid for each in members]


# ---- which share ---------------------------------------------------------------------------------------------------


def test_jobs_fill_bundles_in_their_order():
    found = list(divided(waiting(name, minutes) for name, minutes in zip("abcde", (4, 4, 4, 6, 1), strict=True)))
    assert [(names(members), full) for members, full in found] == [
        (["a", "b"], True),
        (["c", "d"], True),
        (["e"], False),
    ]
    many = [len(members) for members, _ in divided(waiting("x", 0.001) for _ in range(MOST + 3))]
    assert many == [MOST, 3]


def test_what_asks_for_something_else_or_is_tried_again_has_another_bundle():
    jobs = [
        waiting("a"),
        waiting("b", gpu=1),
        waiting("c", rule="evaluate", runtime=60, mem_mb=9000),
        waiting("d", attempt=2),
        waiting("e", slurm_partition="fast"),
    ]
    assert [names(members) for members, _ in divided(jobs)] == [["a", "c"], ["b"], ["d"], ["e"]]


def test_a_bundle_asks_for_the_time_of_all_and_the_memory_of_the_largest():
    two = asked_together([waiting("a", 1, runtime=20), waiting("b", 1, runtime=25, mem_mb=9000)])
    assert (two.runtime, two.mem_mb, two.gpu) == (25, 9000, 0), "no less time than one alone"
    many = asked_together([waiting("x", 0.75, runtime=20) for _ in range(50)])
    assert many.runtime == 38 + START


@pytest.mark.parametrize(
    ("about", "minutes", "shares"),
    [
        ({}, 2.5, True),
        ({}, 2.6, False),
        ({}, None, False),
        ({"bundle_minutes": 0}, 0.1, False),
        ({"bundle_minutes": None}, 0.1, False),
    ],
)
def test_a_job_shares_if_it_is_known_to_be_small_and_the_profile_says_so(about, minutes, shares):
    assert bool(bundles.waiting_of(Job("a", **about), lambda job: minutes)) is shares


# ---- on the node ---------------------------------------------------------------------------------------------------


def test_a_bundle_that_comes_back_makes_what_is_left(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bundle = Bundle([waiting("a"), waiting("b", rule="evaluate"), waiting("c")])
    assert (bundle.rules, bundle.name) == ({"craft", "evaluate"}, "craft_evaluate")
    script = tmp_path / "snakemake.py"
    script.write_text("import os, sys\nprint(*sys.argv[1:], os.path.exists(os.environ['ROBUST_TRANSFER_BUNDLE']))")
    command = f"{sys.executable} {script} --target-jobs 'craft:node=a' 'evaluate:node=b' 'craft:node=c' --cores 1"
    start = bundle.write(command)

    def run():
        return subprocess.run(start, shell=True, capture_output=True, text=True, check=True).stdout.strip()

    assert run() == "--target-jobs craft:node=a evaluate:node=b craft:node=c --cores 1 True"
    bundle.record.add(DONE, "logs/b.log")
    assert run() == "--target-jobs craft:node=a craft:node=c --cores 1 True"
    for name in "ac":
        bundle.record.add(DONE, f"logs/{name}.log")
    assert run() == ""
    bundle.forget()
    assert list(bundle.path.parent.iterdir()) == []


def test_the_record_tells_what_is_done_what_is_settled_and_what_was_begun_last(tmp_path):
    record = Record(tmp_path / "record")
    assert (record.done(), record.settled(), record.started()) == (set(), set(), set())
    for word, log in [(BEGUN, ""), (STARTED, "a b"), (DONE, "a b"), (STARTED, "c")]:
        record.add(word, log)
    assert (record.done(), record.settled(), record.started()) == ({"a b"}, {"a b"}, {"a b", "c"})
    record.add(DONE, "c")
    assert (record.done(), record.settled()) == ({"a b", "c"}, {"a b"}), "Snakemake may still be looking at the last"
    record.add(BEGUN)
    assert record.started() == set(), "it was put on another node"
    with open(record.path, "a", encoding="utf-8") as file:
        file.write("done e")
    assert "e" not in record.done(), "it is being written"


def test_what_is_made_in_a_bundle_is_written_down(tmp_path, monkeypatch):
    record = Record(tmp_path / "record")
    ends = {"a": 0, "b": 1}
    monkeypatch.setattr(command, "_make", lambda options: ends[options.what])
    made = [command.arguments_of(["node", name, "--log", f"logs/{name}.log"]) for name in ends]
    assert [command.make(options) for options in made] == [0, 1]
    assert not record.path.exists()
    monkeypatch.setenv(on_the_node.VARIABLE, str(record.path))
    assert [command.make(options) for options in made] == [0, 1]
    assert (record.done(), record.started()) == ({"logs/a.log"}, {"logs/a.log", "logs/b.log"})


# ---- at Snakemake's ------------------------------------------------------------------------------------------------


class Plugin:
    """As the Slurm plugin, which only notes what it is told."""

    def __init__(self, places):
        lock, opened = threading.Lock(), threading.Semaphore(0)
        scheduler = SimpleNamespace(resources={"_nodes": places}, _lock=lock, _open_jobs=opened)
        self.workflow = SimpleNamespace(scheduler=scheduler)
        self.logger = SimpleNamespace(info=lambda text: None)
        self.alone, self.shown, self.made, self.failed, self.active = [], [], [], [], []
        self.__post_init__()
        self.over.set()  # no thread: the tests say when

    def __post_init__(self):
        pass

    def run_jobs(self, jobs):
        self.alone += jobs

    def run_job_pre(self, job):
        self.shown.append(job.jobid)

    def report_job_success(self, info):
        self.made.append(info.job.jobid)

    def report_job_error(self, info, msg=None, **more):
        self.failed.append(info.job.jobid)

    async def check_active_jobs(self, active):
        for info in active:
            yield info


@pytest.fixture
def submit(tmp_path, monkeypatch):
    """Hand jobs of one minute to a plugin; the ones named `large` alone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(slurm, "PAUSE", 0.0)
    (tmp_path / bundles.FOLDER).mkdir(parents=True)

    def plugin(places=5):
        return slurm._bundling(Plugin, lambda job: None if "large" in job.jobid else Waiting(job, 1.0, 10))(places)

    return plugin


def info_of(bundle):
    return SimpleNamespace(job=bundle, external_jobid="7", aux={})


def ended(plugin, bundle, lines, **how):
    for word, name in lines:
        bundle.record.add(word, f"logs/{name}.log" if name else "")
    plugin.report_job_error(info_of(bundle), "it failed", **how)


def test_small_jobs_go_together_and_large_ones_alone(submit):
    plugin = submit()
    plugin.run_jobs([Job("a"), Job("large"), Job("b", priority=3)])
    assert [job.jobid for job in plugin.alone] == ["large"]
    assert plugin.shown == ["a", "b"], "each job says that it begins"
    (bundle,) = plugin._to_submit()
    assert names(bundle.members) == ["b", "a"], "what goes first, first"
    assert plugin._to_submit() == []


def test_too_few_are_held_while_more_may_come_but_not_for_long(submit, monkeypatch):
    plugin = submit()
    plugin.run_jobs([Job("a")])
    (first,) = plugin._to_submit()
    plugin.run_jobs([Job(f"b{i}") for i in range(12)])
    (full,) = plugin._to_submit()
    assert len(full.members) == 10
    plugin.run_jobs([Job("c")])
    assert plugin._to_submit() == []
    monkeypatch.setattr(slurm, "HELD", -1.0)
    (held,) = plugin._to_submit()
    assert names(held.members) == ["b10", "b11", "c"]
    for bundle in (first, full, held):
        plugin.report_job_success(info_of(bundle))
    assert plugin.under_way == 0
    plugin.run_jobs([Job("d")])
    assert len(plugin._to_submit()) == 1


def test_a_bundle_takes_one_of_the_places_for_jobs(submit):
    plugin = submit(places=2)
    plugin.run_jobs([Job(f"a{i}") for i in range(35)])
    places = plugin.workflow.scheduler.resources
    first, second = plugin._to_submit()
    assert places["_nodes"] == 0 and plugin._to_submit() == []
    plugin.report_job_success(info_of(first))
    assert places["_nodes"] == 1 and len(plugin._to_submit()) == 1
    places["_nodes"] = 0  # others have it
    plugin.report_job_success(info_of(second))
    assert places["_nodes"] == 1


def test_one_bundle_may_go_when_others_have_all_places(submit):
    plugin = submit(places=0)
    plugin.run_jobs([Job(f"a{i}") for i in range(35)])
    assert len(plugin._to_submit()) == 1


def test_what_fails_costs_itself_and_what_was_not_begun_costs_nothing(submit):
    plugin = submit()
    plugin.run_jobs([Job(name) for name in "abcd"])
    (bundle,) = plugin._to_submit()
    ended(plugin, bundle, [(BEGUN, ""), (STARTED, "a"), (STARTED, "b"), (DONE, "b"), (STARTED, "c")])
    assert (plugin.made, plugin.failed) == (["b"], ["a", "c"])
    (rest,) = plugin._to_submit()
    assert names(rest.members) == ["d"]
    plugin.report_job_success(info_of(rest))
    assert plugin.failed == ["a", "c", "d"], "done is what the record says, not what Slurm says"


def test_where_nothing_was_begun_each_has_failed(submit):
    plugin = submit()
    plugin.run_jobs([Job(name) for name in "ab"])
    (bundle,) = plugin._to_submit()
    ended(plugin, bundle, [(BEGUN, ""), (STARTED, "a"), (BEGUN, "")])
    assert (plugin.made, plugin.failed) == ([], ["a", "b"])
    assert plugin._to_submit() == []


def test_what_is_made_is_reported_while_the_bundle_goes_on_and_once(submit):
    import asyncio

    plugin = submit()
    plugin.run_jobs([Job(name) for name in "ab"])
    (bundle,) = plugin._to_submit()

    async def check():
        return [each async for each in plugin.check_active_jobs([info_of(bundle)])]

    for word, name in [(BEGUN, ""), (STARTED, "a"), (DONE, "a"), (STARTED, "b")]:
        bundle.record.add(word, f"logs/{name}.log" if name else "")
    assert len(asyncio.run(check())) == 1
    assert (plugin.made, plugin.failed) == (["a"], [])
    ended(plugin, bundle, [(DONE, "b")])
    assert (plugin.made, plugin.failed) == (["a", "b"], [])
