"""Bundles: which small jobs share one of Slurm's, what it asks for, what it leaves, and what becomes of each."""

import errno
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from snakemake.scheduling.greedy import Scheduler as Greedy
from snakemake.scheduling.greedy import SchedulerSettings as GreedySettings
from snakemake.scheduling.job_scheduler import JobScheduler

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
        shell = f"exec python {bundles.COMMAND} node {name}"
        self.name, self.rule = rule, SimpleNamespace(name=rule, shellcmd=shell)
        self.attempt, self.priority, self.scheduler_resources = attempt, priority, {"_nodes": 0, "_cores": 1}
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


def test_what_asks_for_something_else_or_may_take_less_time_has_another_bundle():
    jobs = [
        waiting("a"),
        waiting("b", gpu=1),
        waiting("c", rule="evaluate", runtime=60, mem_mb=9000),
        Waiting(Job("d"), 1.0, 5),
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
    assert bool(bundles.waiting_of(Job("a", **about), lambda job: minutes, lambda job: 1440)) is shares


def test_later_attempts_and_rules_of_another_workflow_go_alone():
    other = Job("a")
    other.rule.shellcmd = None

    def never(job):
        raise AssertionError("another workflow's rule is not looked at")

    assert bundles.waiting_of(other, never, never) is None
    assert bundles.waiting_of(Job("a", attempt=2), never, never) is None


def test_a_bundle_asks_for_no_more_time_than_is_given():
    found = [bundles.waiting_of(Job(str(n), runtime=15), lambda job: 1.0, lambda job: 15) for n in range(12)]
    asked = [asked_together(members).runtime for members, _ in divided(found)]
    assert asked == [15, 15, 15]
    assert bundles.waiting_of(Job("a"), lambda job: 0.1, lambda job: START) is None


# ---- on the node ---------------------------------------------------------------------------------------------------


def test_a_bundle_that_comes_back_makes_what_is_left(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bundle = Bundle([waiting("a"), waiting("b", rule="evaluate"), waiting("c")])
    assert (bundle.rules, bundle.name) == ({"craft", "evaluate"}, "craft_evaluate")
    script = tmp_path / "snakemake.py"
    script.write_text("import os, sys\nprint(*sys.argv[1:], os.path.exists(os.environ['ROBUST_TRANSFER_BUNDLE']))")
    command = f"{sys.executable} {script} --target-jobs 'craft:node=a' 'evaluate:node=b' 'craft:node=c' --cores 1"
    start = bundle.write(command)
    assert bundle.record.path.exists(), "so that nobody remembers that it did not"

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
    assert run() == "", "its Snakemake has ended, and it still waited in the queue"


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


def test_what_is_well_made_does_not_fail_for_its_record(tmp_path, monkeypatch):
    monkeypatch.setattr(on_the_node, "BETWEEN", 0.0)
    monkeypatch.setattr(command, "_make", lambda options: 0)
    monkeypatch.setenv(on_the_node.VARIABLE, str(tmp_path / "gone" / "record"))
    assert command.make(command.arguments_of(["node", "a", "--log", "logs/a.log"])) == 0


# ---- at Snakemake's ------------------------------------------------------------------------------------------------


class Plugin:
    """As the Slurm plugin, which only notes what it is told."""

    def __init__(self, places):
        lock, opened = threading.Lock(), threading.Semaphore(0)
        scheduler = SimpleNamespace(resources={"_nodes": places}, _lock=lock, _open_jobs=opened)
        scheduler._user_kill, scheduler._errors, scheduler.keepgoing, scheduler.running = None, False, True, set()
        scheduler._free_resources, self.ended = (lambda job: None), []
        scheduler.executor_error_callback = self.ended.append
        self.workflow = SimpleNamespace(scheduler=scheduler, execution_settings=SimpleNamespace(latency_wait=0))
        self._job_submission_executor = ThreadPoolExecutor(1)
        self.submitted, self.cancelled = [], []
        self.logger = SimpleNamespace(info=lambda text: None)
        self.alone, self.shown, self.made, self.failed, self.said = [], [], [], [], []
        self.__post_init__()
        self.over.set()  # no thread: the tests say when

    def __post_init__(self):
        pass

    def run_jobs(self, jobs):
        self.alone += jobs

    def run_job_pre(self, job):
        self.shown.append(job.jobid)

    def run_job(self, job):
        self.submitted.append(job)

    def cancel(self):
        self.cancelled += self.submitted

    def shutdown(self):
        pass

    def report_job_success(self, info):
        self.made.append(info.job.jobid)

    def report_job_error(self, info, msg=None, **more):
        self.failed.append(info.job.jobid)
        self.said.append((msg, more))

    async def check_active_jobs(self, active):
        for info in active:
            yield info


def find(job):
    return None if "large" in job.jobid else Waiting(job, 1.0, 10)


@pytest.fixture
def submit(tmp_path, monkeypatch):
    """Hand jobs of one minute to a plugin; the ones named `large` alone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(slurm, "PAUSE", 0.0)
    (tmp_path / bundles.FOLDER).mkdir(parents=True)

    def plugin(places=5):
        return slurm._bundling(Plugin, find)(places)

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
    assert plugin.shown == []
    plugin._submit()
    plugin._job_submission_executor.shutdown()
    (bundle,) = plugin.submitted
    assert names(bundle.members) == ["b", "a"], "what goes first, first"
    assert plugin.shown == ["b", "a"], "each job says that it begins when it is submitted"
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


def real_scheduler(plugin):
    """Snakemake's own scheduler, greedy, in the place of the pretended one, as far as it is asked here."""
    scheduler = JobScheduler.__new__(JobScheduler)
    vars(scheduler).update(vars(plugin.workflow.scheduler))
    del scheduler._free_resources, scheduler.executor_error_callback
    scheduler.resources |= {"_cores": 99, "_job_count": sys.maxsize}
    scheduler.global_resources, scheduler.job_rate_limiter = {"_nodes": 9}, None
    scheduler._executor, scheduler._validated_jobs, scheduler._input_sizes = plugin, set(), {}
    scheduler._tofinish, scheduler._toerror, scheduler._executor_error = [], [], None
    dag = SimpleNamespace(needrun_jobs=list, ready_jobs=[], queue_input_jobs=[])
    scheduler.workflow = SimpleNamespace(dag=dag, async_run=lambda coroutine: coroutine.close())
    scheduler.workflow.remote_execution_settings = SimpleNamespace(immediate_submit=False)
    greedy = Greedy(None, GreedySettings(omit_prioritize_by_temp_and_input=True), None)
    scheduler._job_selector = greedy.select_jobs
    plugin.workflow.scheduler = scheduler
    return scheduler


def chosen(plugin, *ready):
    """What Snakemake chooses of jobs, and how many places are left."""
    scheduler = real_scheduler(plugin)
    for job in ready:
        job.scheduler_resources["_nodes"] = 1
    select = slurm._choosing(JobScheduler.job_selector, find)
    return [job.jobid for job in select(scheduler, list(ready))], scheduler.resources["_nodes"]


def test_one_place_is_kept_for_a_first_bundle_and_never_more_taken_than_there_are(submit):
    plugin = submit(places=3)
    large = [Job(f"large{i}") for i in range(4)]
    assert chosen(plugin, *large, Job("a")) == (["large0", "large1", "a"], 1)
    plugin.run_jobs([Job(f"a{i}") for i in range(35)])
    assert len(plugin._to_submit()) == 1
    assert plugin.workflow.scheduler.resources["_nodes"] == 0 and plugin._to_submit() == []


def test_all_places_are_for_large_jobs_where_none_is_small_and_with_another_executor(submit):
    assert chosen(submit(places=3), *(Job(f"large{i}") for i in range(4)))[1] == 0
    plugin = submit(places=3)
    type(plugin).bundles = False
    assert chosen(plugin, *(Job(f"a{i}") for i in range(4))) == (["a0", "a1", "a2"], 0)


@pytest.mark.parametrize("how", [{"_user_kill": "graceful"}, {"_errors": True, "keepgoing": False}])
def test_what_was_not_submitted_does_not_hold_up_the_end(submit, how):
    """SIGTERM, or an error: Snakemake waits for what is under way, and for nothing else."""
    plugin = submit()
    scheduler = real_scheduler(plugin)
    under_way, *others = jobs = [Job(f"a{i}") for i in range(12)]
    scheduler.running.update(jobs)
    plugin.run_jobs(jobs[:1])
    assert len(plugin._to_submit()) == 1
    plugin.run_jobs(others)
    vars(scheduler).update(how)
    scheduler._open_jobs.release()
    said = []
    end = threading.Thread(target=lambda: said.append(scheduler.schedule()), daemon=True)
    end.start()
    assert plugin._to_submit() == [] and plugin.waiting == []
    end.join(0.2)
    assert end.is_alive() and scheduler.running == {under_way}
    scheduler.running.clear()
    scheduler._open_jobs.release()
    end.join(10)
    assert said == [False]


def test_nothing_is_submitted_after_the_cancelling(submit):
    plugin = submit()
    begun, go = threading.Event(), threading.Event()

    def sbatch(bundle):
        begun.set()
        go.wait(10)
        plugin.submitted.append(bundle)

    plugin.run_job = sbatch
    plugin.run_jobs([Job(f"a{i}") for i in range(12)])
    plugin._submit()
    assert begun.wait(10), "one bundle is being submitted, another one is to be"
    threading.Timer(0.1, go.set).start()
    plugin.cancel()
    plugin._job_submission_executor.shutdown()
    assert len(plugin.submitted) == 1 and plugin.cancelled == plugin.submitted


def test_a_fault_of_the_submission_ends_the_run(submit, monkeypatch):
    plugin = submit()
    monkeypatch.setattr(slurm, "LOOK", 0.0)
    plugin.over.clear()
    plugin._to_submit = lambda: 1 / 0
    plugin._watch()
    assert [type(error) for error in plugin.ended] == [ZeroDivisionError]


def test_full_bundles_do_not_wait_for_quiet(submit, monkeypatch):
    monkeypatch.setattr(slurm, "PAUSE", 60.0)
    plugin = submit()
    plugin.run_jobs([Job(f"a{i}") for i in range(12)])
    assert [len(bundle.members) for bundle in plugin._to_submit()] == [10]


def test_a_record_that_shows_late_is_waited_for(submit, monkeypatch):
    monkeypatch.setattr(slurm, "LOOK", 0.0)
    plugin = submit()
    plugin.workflow.execution_settings.latency_wait = 60
    plugin.run_jobs([Job("a")])
    (bundle,) = plugin._to_submit()
    seen = iter([OSError(errno.ESTALE, "stale"), set(), {"logs/a.log"}])

    def done():
        if isinstance(found := next(seen), OSError):
            raise found
        return found

    bundle.record = SimpleNamespace(done=done, started=set, path=bundle.record.path)
    plugin.report_job_success(info_of(bundle))
    assert (plugin.made, plugin.failed) == (["a"], [])


def test_a_record_that_cannot_be_read_ends_no_run(submit, monkeypatch):
    import asyncio

    plugin = submit()
    plugin.run_jobs([Job(name) for name in "ab"])
    (bundle,) = plugin._to_submit()

    def stale(record):
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(Record, "_lines", stale)

    async def check():
        return [info.job async for info in plugin.check_active_jobs([info_of(bundle)])]

    assert asyncio.run(check()) == [bundle], "it is looked at again"
    plugin.report_job_success(info_of(bundle))
    assert (plugin.made, plugin.failed) == ([], ["a", "b"])
    assert plugin.workflow.scheduler.resources["_nodes"] == 5


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


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([], id="sbatch was refused"),
        pytest.param([(BEGUN, "")], id="an input of one was missing"),
        pytest.param([(BEGUN, ""), (STARTED, "a"), (BEGUN, "")], id="it came back and could not start"),
    ],
)
def test_where_nothing_was_begun_each_has_failed_for_one_reason(submit, lines):
    plugin = submit()
    jobs = [Job(name) for name in "abc"]
    plugin.run_jobs(jobs)
    (bundle,) = plugin._to_submit()
    ended(plugin, bundle, lines, aux_logs=["slurm.log"])
    assert (plugin.made, plugin.failed) == ([], ["a", "b", "c"])
    assert plugin.said == [("it failed", {"aux_logs": ["slurm.log"]}), (None, {}), (None, {})]
    assert plugin._to_submit() == [] and plugin.under_way == 0
    for job in jobs:  # as Snakemake does
        job.attempt += 1
    assert not any(bundles.waiting_of(job, lambda job: 0.1, lambda job: 1440) for job in jobs)


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
