"""What is made again and what is not: after every kind of change, the jobs that Snakemake's own dry run announces."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter

import pytest
import yaml

from robust_transfer import store
from robust_transfer.stages.job import HISTORY
from workspace import Workspace, copy, merged, rules

PRODUCTS = {"tabulate": 2, "draw": 4, "judge": 2}
KINDS = ("prepare", "pretrain", "transfer", "craft", "evaluate")


def jobs_between(before, after):
    """The jobs that lead from one plan to another: new nodes, and products that show something else."""
    nodes = [f"{node.kind} {i}" for i, node in after.nodes.items() if i not in before.nodes]
    verb = {"table": "tabulate", "figure": "draw", "claim": "judge"}
    products = [
        f"{verb[product.kind]} {product.key}"
        for stem, product in after.products.items()
        if stem not in before.products or product.param != before.products[stem].param
    ]
    return sorted(nodes + products)


def all_of(plan, verbs=KINDS):
    return sorted(f"{node.kind} {i}" for i, node in plan.nodes.items() if node.kind in verbs)


def contents(results):
    """Bytes of every artifact, table and figure, by path below results; a history has its seconds in it."""
    return {
        str(path.relative_to(results)): path.read_bytes()
        for kind in (*KINDS, "tables", "figures", "claims")
        for path in sorted((results / kind).rglob("*"))
        if path.is_file() and path.suffix != ".json" and path.name != HISTORY
    }


def stamps(results):
    """When every artifact, card, table and figure was written."""
    return {
        str(path.relative_to(results)): path.stat().st_mtime_ns
        for kind in (*KINDS, "tables", "figures", "claims")
        for path in sorted((results / kind).rglob("*"))
        if path.is_file()
    }


def rewritten(before, after):
    return {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}


def named(plan, kind, slug):
    """The one node of a kind with this slug; of examples it is the model's and the attack's, without the data's."""
    (found,) = [n for n in plan.nodes.values() if (n.kind, n.slug.rsplit(".by.", 1)[-1]) == (kind, slug)]
    return found


# ---- a value changes -----------------------------------------------------------------------------------------------


def schedule(**values):
    return {"davchev": {"schedules": {"transfer": values}}}


def attack(name, **values):
    return {"davchev": {"attacks": {name: values}}}


# (what is laid over the config, how many jobs of each rule, what the slugs of pretrain, transfer and craft look like)
CHANGES = {
    "white-box eps": (attack("WB-PGD", eps=0.3), {"craft": 27, "evaluate": 27}, r".*\.pgd20-linf-0\.3"),
    "black-box eps": (
        attack("BB-FGSM", eps=0.3),
        {"craft": 1, "evaluate": 24},
        r".*\.densenet7k4\.nat\.fgsm-linf-0\.3",
    ),
    "training eps": (
        attack("train-FGSM", eps=0.3),
        {"pretrain": 2, "transfer": 9, "craft": 21, "evaluate": 52},
        r".*\b(resnet8w4\.fgsm|fgsm-to-\w+|\w+-to-fgsm)\b.*",
    ),
    "norm": (attack("WB-FGSM", norm="l2"), {"craft": 24, "evaluate": 24}, r".*\.fgsm-l2-0\.25"),
    "transfer lr": (schedule(lr=0.05), {"transfer": 21, "craft": 42, "evaluate": 105}, r"digits-5to9\.\w+-to-.*"),
    "lr and weight decay swapped": (
        schedule(lr="5e-5", weight_decay=0.1),
        {"transfer": 21, "craft": 42, "evaluate": 105},
        r"digits-5to9\.\w+-to-.*",
    ),
    "substitute's schedule": (
        {"davchev": {"schedules": {"substitute": {"epochs": 3}}}},
        {"pretrain": 1, "craft": 2, "evaluate": 48, "tabulate": 1},  # it is changed already: all captions stay
        r"digits-5to9\.densenet7k4\.nat.*",
    ),
    "depth": (
        {"davchev": {"depths": {12: {"last": 2, "of": "stages"}}}},
        {"transfer": 7, "craft": 14, "evaluate": 35},
        r".*\.last2stages.*",
    ),
    "source data": (
        {"datasets": {"digits-low": {"seed": 1}}},
        {"prepare": 1, "pretrain": 3, "transfer": 21, "craft": 45, "evaluate": 111},
        r"digits-0to4\.resnet8w4\..+|digits-5to9\.\w+-to-.*",
    ),
    "network": (
        {"networks": {"resnet": {"width": 5}}},
        {"pretrain": 6, "transfer": 21, "craft": 51, "evaluate": 126},
        r".*\.(resnet8w5|\w+-to-\w+)\..*",
    ),
    "seed": ({"seed": 1}, {"pretrain": 7, "transfer": 21, "craft": 53, "evaluate": 126}, r".*"),
    "split": ({"davchev": {"evaluated_on": "validation"}}, {"craft": 53, "evaluate": 126}, r".*"),
    "protocol": (
        {"protocol": "code"},
        {"pretrain": 2, "transfer": 17, "craft": 46, "evaluate": 106},
        r".*\b(resnet8w4|\w+-to-\w+|densenet7k4)\b.*",
    ),
    "D13": (
        {"switches": {"D13": "code"}},
        {"pretrain": 2, "transfer": 9, "craft": 21, "evaluate": 52},
        r".*\b(resnet8w4\.fgsm|fgsm-to-\w+|\w+-to-fgsm)\b.*",
    ),
    "D14": (
        {"switches": {"D14": "paper"}},
        {"transfer": 7, "craft": 14, "evaluate": 35},
        r".*\.last1blocks.*",
    ),
    "D15": ({"switches": {"D15": "code"}}, {"craft": 28, "evaluate": 51}, r".*\.pgd7-linf-0\.25"),
    "D16": (
        {"switches": {"D16": "code"}},
        {"transfer": 14, "craft": 28, "evaluate": 70},
        r"digits-5to9\.\w+-to-\w+\+drift\.(head|last1stages)\b.*",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_plans_exactly_what_depends_on_it(finished, name):
    overlay, counts, slugs = CHANGES[name]
    before = finished.plan()
    finished.lay(overlay)
    jobs = finished.planned()
    assert rules(jobs) == Counter(PRODUCTS | counts)
    made = [job for job in jobs if job.startswith(("pretrain ", "transfer ", "craft "))]
    assert [
        job for job in made if not re.fullmatch(rf"\w+ (?:digits-\w+\.by\.)?(?:{slugs})\.[0-9a-f]{{12}}", job)
    ] == []
    assert jobs == jobs_between(before, finished.plan())


def test_going_back_costs_nothing(finished):
    shipped = finished.config_path.read_bytes()
    finished.set("davchev.attacks.WB-PGD.eps", 0.3)
    assert finished.planned() != []
    finished.config_path.write_bytes(shipped)
    assert finished.planned() == []


@pytest.mark.slow
def test_going_back_after_a_run_makes_the_table_from_the_cache(finished):
    before, shipped = contents(finished.results), finished.config_path.read_bytes()
    table = "results/tables/davchev/table1.csv"
    finished.set("davchev.attacks.BB-FGSM.eps", 0.5)
    finished.snakemake(table, "--quiet", "all")
    changed = contents(finished.results)
    assert finished.planned(table) == []
    assert changed["tables/davchev/table1.csv"] != before["tables/davchev/table1.csv"]
    assert len(changed) == len(before) + 25 and not any(before[path] != changed[path] for path in before.keys() - {
        f"tables/davchev/table1.{ending}" for ending in ("csv", "parquet", "md")})  # fmt: skip
    finished.config_path.write_bytes(shipped)
    assert finished.planned() == ["tabulate davchev/table1"]
    assert finished.planned("--rerun-triggers", "mtime") == ["tabulate davchev/table1"]
    shutil.rmtree(finished.root / ".snakemake")
    assert finished.planned() == ["tabulate davchev/table1"]
    finished.snakemake("--quiet", "all")
    after = contents(finished.results)
    assert {path: after[path] for path in before} == before


# ---- nothing changes -----------------------------------------------------------------------------------------------


def reversed_keys(value):
    if isinstance(value, dict):
        return {key: reversed_keys(value[key]) for key in reversed(value)}
    return value


def reorder_keys(workspace):
    for path in (workspace.config_path, *workspace.root.glob("workflow/*/*.yaml")):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        text = yaml.safe_dump(reversed_keys(content), sort_keys=False)
        assert text != yaml.safe_dump(content, sort_keys=False)
        path.write_text(text, encoding="utf-8")


def reword_comments(workspace):
    paths = [workspace.root / "Snakefile", workspace.config_path]
    paths += [path for part in ("workflow", "src") for path in (workspace.root / part).rglob("*.*")]
    for path in paths:
        if path.suffix not in (".smk", ".py", ".yaml", ""):
            continue
        text = path.read_text(encoding="utf-8")
        path.write_text("# Reworded.\n\n" + re.sub(r"(?m)^( *)# .*$", r"\1# reworded", text), encoding="utf-8")


def touch_everything(workspace):
    """As after `git checkout`, and worse: what things are made from is newer than they are."""
    now = time.time()
    order = ("src", "evaluate", "craft", "transfer", "pretrain", "prepare", "workflow", "Snakefile", "config.yaml")
    for age, name in enumerate(order):
        place = workspace.root / name if (workspace.root / name).exists() else workspace.results / name
        for path in (place, *place.rglob("*")):
            os.utime(path, (now + age,) * 2)


def age_everything(workspace):
    for path in workspace.root.rglob("*"):
        os.utime(path, (1e9,) * 2, follow_symlinks=False)


def relabel(workspace):
    workspace.lay(
        {
            "datasets": {"digits-low": {"label": "small digits"}, "digits-high": {"label": "large digits"}},
            "networks": {"resnet": {"label": "net"}, "densenet": {"label": "other net"}},
        }
    )
    workspace.lay(attack("WB-PGD", label="the strong one"))


def another_machine(workspace):
    machine = {"threads": 2, "device": "auto", "gpus": 1, "memory_mb": 999, "checkpoint_seconds": 600}
    workspace.lay({"machine": machine, "data_root": "/elsewhere"})


def other_forms(workspace):
    workspace.lay(attack("WB-PGD", eps="64/256", steps=20.0, restarts=1))
    workspace.lay(attack("train-PGD", eps="2.5e-1", step_size="1/16"))
    workspace.lay(schedule(lr="1e-1", weight_decay="0.00005", momentum="9/10", milestones=[1.0], crop_padding=0))


UNCHANGED = {
    "config": (reorder_keys, relabel, another_machine, other_forms),
    "files": (reword_comments, touch_everything),
    "old files": (age_everything,),
}


@pytest.mark.parametrize("name", UNCHANGED)
def test_nothing_is_made_again(finished, name):
    before = finished.plan().nodes.keys()
    for change in UNCHANGED[name]:
        change(finished)
        assert finished.plan().nodes.keys() == before, change.__name__
    assert finished.planned() == []


def test_a_new_clone_elsewhere_finds_the_same_results(finished, tmp_path):
    moved = Workspace(tmp_path / "another" / "clone")
    for part in (".snakemake", "results", "config.yaml"):
        if (moved.root / part).is_file():
            (moved.root / part).unlink()
        copy(finished.root / part, moved.root / part)
    assert moved.planned() == []


def test_resources_and_profiles_change_nothing(finished):
    assert (
        finished.planned("--set-resources", "evaluate:mem_mb=9999", "craft:runtime=7", "--set-threads", "craft=2") == []
    )
    profile = finished.root / "here"
    profile.mkdir()
    settings = {"cores": 1, "default-resources": {"mem_mb": 123}, "set-resources": {"transfer": {"runtime": 9}}}
    (profile / "config.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    assert finished.planned("--profile", "here") == []
    assert finished.planned("--profile", "slurm") == []


def test_the_same_value_in_two_forms_is_one_node(finished):
    finished.lay(attack("BB-FGSM", eps="8/255"))
    jobs = finished.planned()
    assert rules(jobs) == Counter({"craft": 1, "evaluate": 24} | PRODUCTS)
    finished.lay(attack("BB-FGSM", eps=0.03137254901960784))
    assert finished.planned() == jobs


# ---- a part is asked for -------------------------------------------------------------------------------------------


def test_a_target_plans_no_more_than_it_needs(finished):
    finished.set("davchev.attacks.BB-FGSM.eps", 0.3)
    counts = rules(finished.planned("results/figures/davchev/fig2.png"))
    assert counts == Counter({"craft": 1, "evaluate": 12, "draw": 1})
    node = named(
        finished.plan(), "evaluate", "digits-5to9.resnet8w4.nat.from-digits-5to9.densenet7k4.nat.fgsm-linf-0.3"
    )
    assert rules(finished.planned(f"results/{node.artifact}")) == Counter({"craft": 1, "evaluate": 1})


def test_the_short_name_is_a_copy_of_the_main_studys(finished):
    names = ("tables/table1.csv", "tables/table1.md", "figures/fig4.svg")
    long_names = [name.replace("/", "/davchev/") for name in names]
    targets = [f"results/{name}" for name in names]
    wanted = [f"copy results/{long} to {target}" for long, target in zip(long_names, targets, strict=True)]
    assert finished.planned(*targets) == sorted(wanted)
    finished.snakemake(*targets, "--quiet", "all")
    for name, long_name in zip(names, long_names, strict=True):
        assert (finished.results / name).read_bytes() == (finished.results / long_name).read_bytes()
    assert finished.planned(*targets) == []
    finished.set("davchev.attacks.BB-FGSM.eps", 0.3)
    counts = rules(finished.planned(targets[0]))
    assert counts == Counter({"craft": 1, "evaluate": 24, "tabulate": 1, "copy": 1})


# ---- something is deleted ------------------------------------------------------------------------------------------


DELETED = [
    ("prepare", "digits-5to9"),
    ("pretrain", "digits-0to4.resnet8w4.pgd"),
    ("transfer", "digits-5to9.pgd-to-pgd.all"),
    ("craft", "digits-5to9.densenet7k4.nat.fgsm-linf-0.25"),
    ("evaluate", "digits-5to9.resnet8w4.nat.clean"),
]


def test_what_is_deleted_is_planned_alone(finished):
    nodes = [named(finished.plan(), *which) for which in DELETED]
    for path in [node.artifact for node in nodes] + ["tables/davchev/table1.md", "figures/davchev/fig3.svg"]:
        (finished.results / path).unlink()
    wanted = [f"{node.kind} {node.id}" for node in nodes] + ["draw davchev/fig3", "tabulate davchev/table1"]
    assert finished.planned() == sorted(wanted)


@pytest.mark.parametrize("what", ["artifact", "folder"])
def test_a_deleted_model_is_made_again_alone_and_the_same(finished, what):
    node = named(finished.plan(), "transfer", "digits-5to9.pgd-to-pgd.all")
    before, times = contents(finished.results), stamps(finished.results)
    if what == "folder":
        shutil.rmtree(finished.results / node.folder)
    else:
        (finished.results / node.artifact).unlink()
    finished.snakemake("--quiet", "all")
    assert contents(finished.results) == before
    assert rewritten(times, stamps(finished.results)) == {node.artifact, node.card, f"{node.folder}/{HISTORY}"}
    assert finished.planned() == []


@pytest.mark.slow
def test_a_run_that_leaves_something_out_of_date_ends_with_1(finished):
    """As if a deleted model came out with other bits: all that was made from it had read others."""
    node = named(finished.plan(), "transfer", "digits-5to9.pgd-to-pgd.all")
    for path in finished.results.glob("*/*/card.json"):
        card = json.loads(path.read_text(encoding="utf-8"))
        if read := [entry for entry in card["read"].values() if entry["id"] == node.id]:
            read[0]["sha256"] = "0" * 64
            store.write_card(path, {key: value for key, value in card.items() if key != "seal"})
    shutil.rmtree(finished.results / node.folder)
    done = finished.snakemake("--quiet", "all", check=False)
    assert done.returncode == 1 and "the same command again makes them anew" in done.stdout
    assert "Traceback" not in done.stdout
    finished.snakemake("--quiet", "all")
    assert finished.planned() == []


# ---- something was made from other bytes -----------------------------------------------------------------------------


@pytest.mark.slow
def test_what_was_made_from_other_bytes_is_planned_under_any_trigger(finished):
    """One evaluation's card says that it read another model: it and what shows it are out of date, and nothing else."""
    node = named(finished.plan(), "evaluate", "digits-5to9.nat-to-nat.head.clean")
    path = finished.results / node.card
    card = json.loads(path.read_text(encoding="utf-8"))
    card["read"]["model"]["sha256"] = "0" * 64
    store.write_card(path, {key: value for key, value in card.items() if key != "seal"})
    shows = [f"{verb} davchev/{name}" for verb, name in (("tabulate", "table1"), ("draw", "fig2"), ("draw", "fig3"))]
    wanted = sorted([f"evaluate {node.id}", *shows, "draw davchev/fig4", "judge all", "judge davchev"])
    assert finished.planned("--rerun-triggers", "mtime") == wanted
    assert finished.planned("results/tables/davchev/table1.csv") == sorted([f"evaluate {node.id}", shows[0]])
    assert finished.planned("results/figures/davchev/fig5.svg") == []
    finished.snakemake("--quiet", "all")
    assert finished.planned() == [] and audit(finished)[:2] == (0, [])


# ---- the audit -----------------------------------------------------------------------------------------------------


def audit(workspace, *arguments):
    """(exit status, the files it calls damaged, all it said)."""
    done = workspace.robust_transfer("audit", *arguments, check=False)
    assert "Traceback" not in done.stdout, done.stdout
    return done.returncode, re.findall(r"^damaged: (\S+)", done.stdout, re.MULTILINE), done.stdout


def flip(path):
    """Change one bit in the middle; the size stays."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-3])


def reword(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def swap(one, other):
    between = one.with_name("between")
    one.rename(between)
    other.rename(one)
    between.rename(other)


def test_the_audit_of_whole_results_is_clean(finished):
    status, damaged, said = audit(finished)
    assert (status, damaged) == (0, [])
    assert "209 nodes and 12 tables, figures and verdicts audited: 0 damaged" in said


@pytest.mark.slow
def test_the_audit_finds_all_damage_and_repairs_just_that(finished):
    plan, results = finished.plan(), finished.results
    before, times = contents(results), stamps(results)

    def node(kind, slug):
        return named(plan, kind, slug)

    edited = node("pretrain", "digits-0to4.resnet8w4.fgsm")
    shortened = node("craft", "digits-5to9.densenet7k4.nat.fgsm-linf-0.25")
    deleted = node("transfer", "digits-5to9.nat-to-pgd.last1stages")
    swapped = [node("evaluate", f"digits-5to9.resnet8w4.{training}.clean") for training in ("nat", "pgd")]
    edited_card = node("transfer", "digits-5to9.fgsm-to-nat.head")
    short_card = node("transfer", "digits-5to9.pgd-to-nat.all")
    deleted_card = node("prepare", "digits-0to4")
    foreign, its_like = (node("pretrain", f"digits-5to9.resnet8w4.{training}") for training in ("fgsm", "pgd"))

    flip(results / edited.artifact)
    cut(results / shortened.artifact)
    (results / deleted.artifact).unlink()
    swap(*(results / node.artifact for node in swapped))
    reword(results / edited_card.card, '"lr": 0.1', '"lr": 0.2')
    cut(results / short_card.card)
    (results / deleted_card.card).unlink()
    for path in (foreign.artifact, foreign.card):
        shutil.copy2((results / its_like.folder / path.split("/")[-1]), results / path)
    reword(results / "tables/davchev/table1.csv", "R_nat,", "R_bat,")
    cut(results / "figures/davchev/fig2.png")
    (results / "figures/davchev/fig5.json").unlink()
    reword(results / "claims/davchev.md", "holds", "hoids")
    cut(results / "claims.csv")

    nodes = [edited, shortened, deleted, *swapped, edited_card, short_card, deleted_card, foreign]
    wanted = {f"results/{node.artifact}" for node in (edited, shortened, deleted, *swapped)}
    wanted |= {f"results/{node.card}" for node in (edited_card, short_card, deleted_card, foreign)}
    wanted |= {"results/tables/davchev/table1.csv", "results/figures/davchev/fig2.png"}
    wanted |= {"results/figures/davchev/fig5.json", "results/claims/davchev.md", "results/claims.csv"}
    status, damaged, said = audit(finished)
    assert set(damaged) == wanted, said
    assert status == 1 and f"{len(wanted)} damaged" in said and "audit --repair" in said

    assert audit(finished, "--repair")[0] == 0
    jobs = finished.planned()
    products = {"tabulate davchev/table1", "draw davchev/fig2", "draw davchev/fig5", "judge all", "judge davchev"}
    assert set(jobs) == {f"{node.kind} {node.id}" for node in nodes} | products
    finished.snakemake("--quiet", "all")
    assert contents(results) == before
    folders = {node.folder for node in nodes}
    made = rewritten(times, stamps(results))
    assert {path.rsplit("/", 1)[0] for path in made if path.split("/")[0] in KINDS} == folders
    assert {path.rsplit(".", 1)[0] for path in made if path.split("/")[0] not in KINDS} == {
        "tables/davchev/table1",
        "figures/davchev/fig2",
        "figures/davchev/fig5",
        "claims/davchev",
    }
    assert audit(finished)[:2] == (0, [])
    assert finished.planned() == []


def test_the_audit_finds_forged_cards(finished):
    """Also where neither the id nor the outputs give it away: a card is what people cite."""
    forgeries = {
        "clean": ('"accuracy": ', '"accuracy": 9'),
        "fgsm-linf-0.25": ('"device": "cpu"', '"device": "NVIDIA H100"'),
        "pgd20-linf-0.25": ('"torch": "', '"torch": "9.'),
        "from-digits-5to9.densenet7k4.nat.fgsm-linf-0.25": ('"threads": 1', '"threads": 64'),
    }
    plan = finished.plan()
    cards = [named(plan, "evaluate", f"digits-5to9.resnet8w4.nat.{slug}").card for slug in forgeries]
    cards.append("tables/davchev/table1.json")
    for card, (old, new) in zip(cards, [*forgeries.values(), ('"dirty": ', '"dirty": "no", "was": ')], strict=True):
        reword(finished.results / card, old, new)
    status, damaged, _ = audit(finished)
    assert (status, sorted(damaged)) == (1, sorted(f"results/{card}" for card in cards))


def test_the_audit_of_no_results_is_a_sentence(workspace):
    status, damaged, said = audit(workspace)
    assert (status, damaged) == (0, []) and "0 nodes and 0 tables, figures and verdicts audited" in said


# ---- the same again ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_runs_from_nothing_give_the_same_bytes(finished):
    before = contents(finished.results)
    assert len(before) == 209 + 2 * 3 + 8 * 2 + 3  # nodes, tables, figures, and the verdicts of the study
    shutil.rmtree(finished.results)
    shutil.rmtree(finished.root / ".snakemake")
    finished.snakemake("--quiet", "all", timeout=600)
    after = contents(finished.results)
    assert before.keys() == after.keys()
    assert [path for path in before if before[path] != after[path]] == []


# ---- the config is edited while jobs wait --------------------------------------------------------------------------


def chain(plan):
    """A white-box evaluation of a transferred network, and all it is made from: six jobs."""
    (last,) = [
        n
        for n in plan.nodes.values()
        if n.slug == "digits-5to9.nat-to-nat.head.fgsm-linf-0.25" and n.kind == "evaluate"
    ]
    return plan.ancestry([last.id])


@pytest.mark.parametrize("edit", ["another value", "broken YAML"])
def test_jobs_that_wait_run_by_the_plan_they_were_queued_with(finished, edit):
    plan = finished.plan()
    nodes = chain(plan)
    shutil.rmtree(finished.results)
    shutil.rmtree(finished.root / ".snakemake")
    words = (sys.executable, "-m", "snakemake", "--cores", "1", f"results/{nodes[-1].artifact}", "--quiet", "host")
    with subprocess.Popen(
        words,
        cwd=finished.root,
        env=finished.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as running:
        try:
            deadline = time.monotonic() + 200
            while not (begun := list(finished.results.glob("prepare/*/card.json"))) and time.monotonic() < deadline:
                assert running.poll() is None, running.stdout.read()
                time.sleep(0.02)
            assert begun
            if edit == "broken YAML":
                finished.config_path.write_text("scale: [digits\n", encoding="utf-8")
            else:
                finished.lay(merged(attack("WB-FGSM", eps=0.5), schedule(lr=0.5)))
            at_edit = {path.parent.name for path in finished.results.glob("*/*/card.json")}
            said, _ = running.communicate(timeout=200)
        finally:
            if running.poll() is None:
                running.kill()
    assert running.returncode == 0, said
    assert len(at_edit) < len(nodes), "every job was done before the edit"
    (frozen,) = (finished.results / "plans").glob("*.json")
    cards = [json.loads(path.read_text(encoding="utf-8")) for path in finished.results.glob("*/*/card.json")]
    assert {card["id"] for card in cards} == {node.id for node in nodes}
    assert {card["plan"] for card in cards} == {frozen.stem}
    assert {card["id"]: card["spec"] for card in cards} == {node.id: node.spec for node in nodes}


def test_a_snakemake_that_another_started_reads_the_frozen_plan(finished):
    """As every cluster job does, perhaps hours after config.yaml was edited."""
    finished.set("davchev.attacks.BB-FGSM.eps", 0.5)
    waiting = finished.planned()
    frozen = max((finished.results / "plans").glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    finished.config_path.write_text("scale: [digits\n", encoding="utf-8")
    assert finished.planned(ROBUST_TRANSFER_PLAN=str(frozen)) == waiting
    frozen.write_text("{}", encoding="utf-8")
    done = finished.snakemake("--dry-run", check=False, ROBUST_TRANSFER_PLAN=str(frozen))
    assert done.returncode != 0 and "Traceback" not in done.stdout
    assert f"the frozen plan {frozen} was changed or cut short" in done.stdout
