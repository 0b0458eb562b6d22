"""What a run shows: the lines of `--logger studies`, the order of its jobs, and how long Snakemake's own lines are."""

import fcntl
import io
import logging
import os
import pty
import struct
import termios
from types import SimpleNamespace

import pytest

from pretend import SECONDS, one
from robust_transfer.plan.priorities import OF_A_STUDY, priorities
from robust_transfer.screen import display
from robust_transfer.screen.display import Screen
from robust_transfer.screen.progress import Progress, of_run, thing_of
from robust_transfer.screen.short import WIDTH, shorten
from robust_transfer.stages.node import KINDS
from robust_transfer.studies import make_plan
from workspace import REPOSITORY, TINY, Workspace, shipped

LONGEST = 200
"""Characters of a line."""


# ---- the order -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_studies():
    config = shipped() | {"studies": ["renofeation", "davchev"]}
    return make_plan(config, REPOSITORY / "workflow")


def test_a_study_goes_before_the_next_and_what_both_have_with_the_first(two_studies):
    order, studies = priorities(two_studies), two_studies.of_studies()
    first, second = ({*ids, *stems} for ids, stems in studies.values())
    assert [*studies] == ["renofeation", "davchev"] and first & second
    assert min(order[name] for name in first) > max(order[name] for name in second - first) > 0
    assert order.keys() == first | second
    assert {name // OF_A_STUDY for name in order.values()} == {1, 2}


def test_of_a_study_the_longest_way_goes_first(two_studies):
    order, (ids, stems) = priorities(two_studies), two_studies.of_studies()["davchev"]
    of_second = [i for i in ids if order[i] < 2 * OF_A_STUDY]
    for node in (two_studies.nodes[i] for i in of_second):
        assert all(order[parent] > order[node.id] for parent in node.parents.values())
    sources = sorted((i for i in of_second if two_studies.nodes[i].kind == "pretrain"), key=order.__getitem__)
    children = {parent for i in ids for parent in two_studies.nodes[i].parents.values()}
    assert sources[-1] in children and order[sources[-1]] - order[sources[0]] >= 30
    assert max(order[stem] for stem in stems) <= min(order[i] for i in of_second)


# ---- how far a run is ----------------------------------------------------------------------------------------------

KINDS_OF = {"a": "pretrain", "b": "evaluate", "c": "evaluate", "claims/one": "claim", "d": "evaluate"}
OF_STUDIES = {"one": ["a", "b", "claims/one"], "two": ["a", "c", "d"]}


EXPECTED = {"a": 40.0, "b": 2.0, "c": 2.0, "d": 4.0, "claims/one": 1.0}


def begun(left=("b", "c", "claims/one", "d"), **recorded) -> Progress:
    return Progress(KINDS_OF, OF_STUDIES, {*left}, EXPECTED, recorded)


def test_things_are_counted_study_by_study():
    progress = begun()
    assert progress.counts() == (1, 5, 0) and progress.counts("one") == (1, 3, 0)
    progress.begin("b", 0.0)
    assert progress.counts("one") == (1, 3, 1) and progress.counts("two") == (1, 3, 0)
    assert progress.finish("b", 1.0) == [] and progress.counts("one") == (2, 3, 0)
    progress.begin("claims/one", 1.0)
    assert progress.finish("claims/one", 2.0) == ["one"]
    progress.begin("c", 2.0)
    progress.fail("c")
    assert [*progress.failed] == ["c"] and progress.counts("two") == (1, 3, 0)
    progress.begin("c", 3.0)  # a retry
    assert not progress.failed
    assert progress.finish("something else", 3.0) == progress.finish("c", 4.0) == []
    assert progress.finish("d", 5.0) == ["two"] and progress.left == set()


def test_the_time_left_is_what_is_expected_times_how_much_longer_it_takes():
    assert begun().seconds_left(0.0) is None, "nothing has been made by which it could be told"
    progress = begun(a=40.0)  # as expected
    assert progress.seconds_left(0.0) == pytest.approx(9.0)
    assert progress.seconds_left(0.0, "one") == pytest.approx(3.0)
    progress.begin("b", 0.0)
    progress.begin("c", 0.0)  # two at a time, each half done
    assert progress.seconds_left(1.0) == pytest.approx((1 + 1 + 4 + 1) / 2)
    slow = begun(a=400.0)  # ten times as long as expected, and so is in part what no card tells of
    times = (20 + 400) / (20 + 40)
    assert slow.seconds_left(0.0) == pytest.approx(9.0 * times)
    evaluations = (20 * times + 0.0) / 20
    assert slow.seconds_left(0.0, "two") == pytest.approx(6.0 * evaluations)


def test_a_kind_comes_to_be_known_by_itself():
    kinds = {f"{kind} {n}": kind for kind in ("pretrain", "craft") for n in range(200)}
    progress = Progress(kinds, {"all": [*kinds]}, {*kinds}, dict.fromkeys(kinds, 1.0))
    for n in range(100):  # one at a time, a second each
        progress.begin(f"craft {n}", float(n))
        progress.finish(f"craft {n}", float(n + 1))
    assert progress.seconds_left(100.0) == pytest.approx(300, rel=0.01)
    for n in range(20):  # twenty seconds each
        progress.begin(f"pretrain {n}", 100 + 20.0 * n)
        progress.finish(f"pretrain {n}", 120 + 20.0 * n)
    assert progress.seconds_left(500.0) == pytest.approx(100 + 20 * 180, rel=0.25)


def test_a_card_says_how_long_a_node_took_that_waited_in_a_queue():
    progress = Progress(KINDS_OF, OF_STUDIES, {"b", "c"}, EXPECTED, by_card={"b": 2.0}.get)
    progress.begin("b", 0.0)
    progress.finish("b", 1000.0)
    assert progress.seconds_left(0.0) == pytest.approx(2.0)


def test_what_is_running_counts_as_work_done():
    """A run begins with small things, and then its first long trainings go on: they are no sign of slowness."""
    kinds = {"set": "prepare"} | {f"model {n}": "pretrain" for n in range(100)}
    expected = {name: 1.0 if name == "set" else 60.0 for name in kinds}
    progress = Progress(kinds, {"all": [*kinds]}, {*kinds}, expected)
    progress.begin("set", 0.0)
    progress.finish("set", 1.0)
    for n in range(2):
        progress.begin(f"model {n}", 1.0)
    for now in (1.0, 10.0, 19.0, 21.0, 40.0, 60.0):
        assert progress.seconds_left(now) == pytest.approx(3000 - now, rel=0.03), now


def test_what_was_there_counts_as_made_and_its_cards_say_how_long_it_took(pretended, plan):
    node = one(plan, "pretrain")
    progress = of_run(plan, [*plan.nodes, *plan.products, None], {node.id}, pretended.results, 0.0)
    assert progress.counts() == (len(plan.nodes) + len(plan.products) - 1, len(plan.nodes) + len(plan.products), 0)
    looked_at = progress.recorded.keys()
    assert looked_at < plan.nodes.keys() and {*progress.recorded.values()} == {SECONDS}
    assert {plan.nodes[i].kind for i in looked_at} == {n.kind for n in plan.nodes.values()}
    assert progress.expected.keys() == looked_at | {node.id}
    assert 0 < min(progress.expected.values()) < progress.expected[node.id]
    assert progress.by_card(node.id) == SECONDS and progress.by_card("tables/davchev/table1") is None
    with_data = of_run(plan, [node.id], {node.id}, pretended.results, 0.0)
    assert with_data.counts("davchev") == (1, 2, 0), "a node stands for all that it is made from"
    first = one(plan, "prepare")
    other = of_run(plan, [first.id], {first.id}, pretended.results, 0.0)
    assert other.counts("davchev") == (0, 1, 0) and other.seconds_left(0.0) is None


def test_a_study_of_which_nothing_is_to_be_shown_is_not_told_of(two_studies, tmp_path):
    (ids, stems), (others, _) = two_studies.of_studies().values()
    assert {*ids} & {*others}, "they share nodes"
    first, second = two_studies.of_studies()
    assert [*of_run(two_studies, [*ids, *stems], ids, tmp_path, 0.0).studies] == [first]
    assert [*of_run(two_studies, ids[:1], ids[:1], tmp_path, 0.0).studies] == [first, second]


def test_jobs_are_known_by_rule_and_wildcards():
    assert {thing_of(kind, {"node": "x.123"}) for kind in KINDS} == {"x.123"}
    assert thing_of("tabulate", {"study": "s", "name": "t"}) == "tables/s/t"
    assert thing_of("draw", {"study": "s", "name": "f"}) == "figures/s/f"
    assert thing_of("judge", {"claims": "claims/s"}) == "claims/s"
    assert thing_of("all", {}) is None


# ---- its lines -----------------------------------------------------------------------------------------------------


class Stage:
    """A screen of a made-up run. now: the clock."""

    def __init__(self, results, terminal=False, left=("b", "c", "claims/one", "d"), **options):
        self.now, self.stream = 0.0, io.StringIO()
        self.stream.isatty = lambda: terminal
        plain = logging.StreamHandler(self.stream)
        self.screen = Screen(plain, begun(left), results, clock=lambda: self.now, **options)
        self.jobs = {thing: number for number, thing in enumerate(KINDS_OF)}

    def say(self, message=None, level=logging.INFO, **more):
        record = logging.LogRecord("snakemake.logging", level, "", 0, message, (), None)
        record.__dict__.update(more)
        self.screen.show(record)

    def start(self, thing):
        about = ("judge", {"claims": thing}) if thing.startswith("claims") else ("evaluate", {"node": thing})
        files = [f"results/logs/{thing}.log"]
        self.say("", event="job_info", jobid=self.jobs[thing], rule_name=about[0], wildcards=about[1], log=files)

    def end(self, thing):
        self.say("Finished", event="job_finished", job_id=self.jobs[thing])

    @property
    def lines(self):
        return self.stream.getvalue().splitlines()


def test_a_log_has_few_lines_whatever_happens(tmp_path):
    stage = Stage(tmp_path)
    for second in range(100_000):
        stage.now = float(second)
        if second % 10 == 0:
            stage.say("Select jobs to execute...")
            stage.say("Execute 1 jobs...", event="job_started")
            stage.say(None, event="progress", done=1, total=4)
            stage.say("Job 7 has been submitted with SLURM jobid 9 (log: x).")
            stage.start("b")
    assert 100 < len(stage.lines) < 400  # 10,000 jobs in 28 hours
    assert all("1/5, 1 running" in line and line.startswith("[") for line in stage.lines)


def test_a_finished_study_and_its_verdicts_stay(tmp_path):
    stage = Stage(tmp_path)
    (tmp_path / "claims").mkdir()
    rows = [f'C{n},holds,"it is so, {"really " * 40}"' for n in range(display.FEW)]
    rows += ["D1,reversed,no", "D2,undecided,so"]
    (tmp_path / "claims/one.csv").write_text("\n".join(["id,measured,claim", *rows]))
    for thing in ("b", "claims/one"):
        stage.start(thing)
        stage.now += 1
        stage.end(thing)
    finished, counts, *claims, more = stage.lines
    assert finished == "one is finished: 3 things, 2 s after the start"
    assert counts == f"one claims: {display.FEW} holds, 1 reversed, 1 undecided ({tmp_path}/claims/one.md)"
    assert claims[0] == "  reversed D1: no" and claims[1].startswith("  holds C0: it is so, really")
    assert len(claims) == display.FEW and more == f"  and 1 more, in {tmp_path}/claims/one.md"
    assert max(map(len, stage.lines)) < LONGEST


def test_errors_and_warnings_are_shown_whole_and_the_end_names_their_logs(tmp_path):
    stage = Stage(tmp_path)
    stage.start("b")
    text = "Error in rule evaluate:\n    " + "x" * 500
    stage.say(text, logging.ERROR, event="job_error", jobid=stage.jobs["b"])
    stage.say("something is strange", logging.WARNING)
    stage.say("Shutting down, this might take some time.")
    assert stage.stream.getvalue().startswith(f"{text}\nsomething is strange\nShutting down")
    stage.screen.close()
    stage.screen.close()
    assert stage.lines.count("failed: results/logs/b.log") == 1
    assert "one       1 of      3 made" in stage.lines and "all       1 of      5 made" in stage.lines
    assert stage.lines[-1].startswith("The same command continues")


def test_a_terminal_has_one_line_that_is_rewritten(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm")
    stage = Stage(tmp_path, terminal=True)
    for second in range(1, 50):
        stage.now = float(second)
        stage.start("b")
    assert stage.stream.getvalue().count("\n") == 0
    _, *rewritten = stage.stream.getvalue().split("\x1b[K\r\r")
    assert len(rewritten) == 48 and all(len(line.removesuffix("\x1b[K\r")) <= 39 for line in rewritten)
    stage.say("bad", logging.ERROR)
    assert "\r\x1b[Kbad\n" in stage.stream.getvalue()


def test_the_line_fits_the_terminal_that_it_is_written_to(tmp_path, monkeypatch):
    """That of stderr, wherever stdout goes; COLUMNS goes before it."""
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 30, 0, 0))
    stage = Stage(tmp_path, terminal=True)
    stage.stream.fileno = lambda: theirs
    assert stage.screen.width() == 29
    monkeypatch.setenv("COLUMNS", "50")
    assert stage.screen.width() == 49
    monkeypatch.setenv("COLUMNS", "0")
    os.close(theirs), os.close(ours)
    assert stage.screen.width() == 79, "it is gone"


@pytest.mark.parametrize("columns, width", [("", display.WIDTH), ("60", 60), ("100000", display.WIDTH)])
def test_a_log_has_no_control_characters_and_lines_of_bounded_width(tmp_path, monkeypatch, columns, width):
    monkeypatch.setenv("COLUMNS", columns)
    stage = Stage(tmp_path / ("long" * 60))
    stage.screen.progress.studies = {f"study {n}": things for n, things in enumerate([*OF_STUDIES.values()] * 20)}
    stage.screen.begin()
    stage.now = 100.0
    stage.start("b")
    stage.screen.close()
    text = stage.stream.getvalue()
    assert text.replace("\n", "").isprintable() and len(stage.lines) > 20
    told = [line for line in stage.lines if line.startswith("[")]
    assert told and max(map(len, told)) == width and max(map(len, stage.lines)) <= display.WIDTH


def test_a_terminal_that_cannot_erase_is_written_to_like_a_log(tmp_path, monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    stage = Stage(tmp_path, terminal=True)
    stage.now = 100.0
    stage.start("b")
    assert len(stage.lines) == 1 and stage.lines[0].isprintable()


def test_quiet_is_quiet_but_of_errors_and_verbose_says_all(tmp_path):
    stage = Stage(tmp_path, quiet=True)
    stage.now = 100.0
    stage.start("b")
    stage.say("bad", logging.ERROR)
    stage.screen.close()
    assert stage.lines == ["bad"]
    stage = Stage(tmp_path, whole=True)
    stage.say("Select jobs to execute...")
    assert stage.lines == ["Select jobs to execute..."]


def test_lists_of_files_are_cut_short_but_for_the_log():
    files = [f"results/evaluate/some-node-of-a-long-name.{n:012}/card.json" for n in range(1000)]
    reason = f"Missing output files: {', '.join(files)}; Code"
    record = SimpleNamespace(input=files, output=files[:1], log=files, reason=reason)
    assert shorten(record)
    assert record.input == [*files[:2], "and 998 others"] and record.output == files[:1] and record.log == files
    assert record.reason == f"Missing output files: {files[0]}, {files[1]}, and 998 others; Code"
    assert len(record.reason) < WIDTH + 50


def test_what_stands_before_a_list_counts_too():
    files = [f"results/evaluate/{n:052}.json" for n in range(100)]
    record = SimpleNamespace(reason=f"Input files updated by another job: {', '.join(files)}")
    assert len(", ".join(files[:2])) == WIDTH and shorten(record)
    assert record.reason == f"Input files updated by another job: {files[0]}, and 99 others"


# ---- a run ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    made = Workspace(tmp_path_factory.mktemp("screen") / "clone")
    made.lay(TINY)
    return made


STUDIES = ("--quiet", "host", "--logger", "studies")


def test_a_run_has_short_lines_and_goes_by_priority(place):
    plan = place.plan()
    order = priorities(plan)
    sets = sorted((node for node in plan.nodes.values() if node.kind == "prepare"), key=lambda node: order[node.id])
    done = place.snakemake(*(f"results/{node.card}" for node in sets), "--cores", "1", *STUDIES)
    assert f"{len(sets)} things to make, 0 of {len(sets)} are there: davchev 0/{len(sets)}" in done.stdout
    assert f"davchev is finished: {len(sets)} things" in done.stdout
    end = done.stdout.partition("davchev is finished")[2].splitlines()
    assert f"davchev       {len(sets)} of      {len(sets)} made" in end and len(end) < 40
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= LONGEST and len(lines) < 60, done.stdout
    times = [(place.results / node.card).stat().st_mtime_ns for node in sets]
    assert times == sorted(times, reverse=True) and len({order[node.id] for node in sets}) > 1
    again = place.snakemake(*(f"results/{node.card}" for node in sets), *STUDIES)
    assert "Nothing to be done" in again.stdout and len(again.stdout.splitlines()) < 8


def test_a_dry_run_has_short_lines_of_all_and_of_a_study(place):
    runs = {(): "Job 0: all\n", ("davchev", "--quiet", "host", "reason"): "Job 0: all of davchev\n"}
    for words, target in runs.items():
        text = place.snakemake(*words, "--dry-run").stdout
        lines = [line for line in text.splitlines() if not line.startswith("  ")]  # not the header's, with folders
        assert max(map(len, lines)) <= LONGEST and ": evaluate " in text and target in text


def test_an_error_is_shown_with_its_log(pretended, plan):
    """What a model was trained on is no data set there, so to make it anew must fail."""
    node = one(plan, "pretrain")
    (pretended.results / node.card).unlink()
    done = pretended.snakemake(*STUDIES, check=False)
    assert done.returncode == 1
    log = f"results/logs/pretrain/{node.id}.log"
    assert f"    log: {log} (check log file(s) for error details)" in done.stdout
    assert f"\nfailed: {log}\n" in done.stdout and len(done.stdout.splitlines()) < 80
