"""The papers' claims: each file can be read, and the printed numbers say of each claim what they are known to say."""

import re
from pathlib import Path

import pytest

from robust_transfer.claims import spec
from robust_transfer.claims.verdicts import of_print
from robust_transfer.errors import UserError
from robust_transfer.plan.claims import file_of
from robust_transfer.studies import PAPERS

REPOSITORY = Path(__file__).parents[2]
PRINTED = {
    "davchev": {
        "holds 1/1": "D1 D3 D19",
        "holds 2/2": "D2 D10 D11a D11b D15 D18",
        "holds 3/3": "D6",
        "holds 4/4": "D9 D12 D13 D14",
        "holds 6/6": "D4 D16",
        "holds 24/24": "D20",
        "contradicted 2/4": "D7",
        "contradicted 4/6": "D5",  # proportionally the same, but for white-box PGD
        "contradicted 5/6": "D8",
        "contradicted 10/12": "D17",
    },
    "renofeation": {
        "holds 1/1": "R1 R7 R16",
        "holds 4/4": "R2 R15 R17b R27a R27b",
        "holds 4/5": "R11",
        "holds 5/5": "R5 R9 R10 R13a R13b R14 R17a R18 R19 R20 R24 R29",
        "holds 8/8": "R26",
        "holds 10/10": "R25",
        "holds 20/20": "R3 R28",
        "contradicted 2/5": "R19b",
        "contradicted 4/5": "R4 R6",  # the least robust one on Action, the least accurate one on Bird
        "not printed": "R8 R12 R21 R22 R23a R23b R30 R31",
    },
    "cartl": {
        "holds 1/1": "C1b C2b C11 C17b C21b C22",
        "holds 2/2": "C8 C13b",
        "holds 3/3": "C21a C24",
        "holds 4/4": "C4 C12b C14 C25 C26 C27 C28",
        "holds 6/6": "C15 C19 C20",
        "holds 8/8": "C9 C10 C12a",
        "contradicted 0/1": "C23 C34",  # the shrinking effect of FDM; 90.84 and 90.82 for one network
        "contradicted 5/6": "C16",  # highest at Case-6
        "contradicted 7/8": "C13a",
        "contradicted 8/9": "C17a C18",  # for all cases a smaller lambda
        "not printed": "C1a C2a C3 C5 C6 C7 C29 C30 C31 C32 C33",
    },
    "shafahi": {
        "holds 1/1": "S7 S8a S10 S12 S20 S21 S27 S30 S31 S34 S35 S38",
        "holds 2/2": "S1 S5 S9b S11 S13 S15 S29 S36",
        "holds 3/3": "S6 S9a",
        "holds 5/5": "S32",
        "holds 7/7": "S33",
        "contradicted 0/1": "S8b S28",  # Table 4: 17.61 with 0.005, 17.55 with 0.01
        "not printed": "S2 S3 S4 S14 S16 S17 S18 S19 S22 S23 S24 S25 S26 S37",
    },
    "vaishnavi": {
        "holds 1/1": "C9 C10 C21 C22",
        "holds 2/2": "C5 C6 C13 C14 C18 C19 C26",
        "holds 3/3": "C11 C12",
        "holds 4/4": "C8 C20 C23",
        "holds 6/6": "C3 C4",
        "holds 8/8": "C15",
        "holds 12/12": "C27",
        "holds 24/24": "C8b",
        "holds 36/36": "C25",
        "holds 72/72": "C24",
        "contradicted 0/1": "C12b",  # 9.97, printed 9.9
        "contradicted 3/4": "C16 C17",
        "contradicted 18/24": "C7",  # consistent improvements
        "contradicted 19/24": "C1",  # across all target tasks, but for Birdsnap, Cars, Aircraft
        "contradicted 36/48": "C2",  # and Food
    },
}
"""Verdict, and in how many of how many instances it holds -> claims."""


@pytest.mark.parametrize("study", PAPERS)
def test_the_printed_numbers_say_what_they_say(study):
    claims = spec.read(file_of(study))
    said: dict[str, list[str]] = {}
    for row in of_print(claims, study).itertuples():
        verdict = f"{row.printed} {row.printed_k}/{row.printed_n}" if row.printed_n else row.printed
        said.setdefault(verdict, []).append(row.Index)
    assert {verdict: " ".join(names) for verdict, names in said.items()} == PRINTED[study]


@pytest.mark.parametrize(
    ("study", "claim", "against"),
    [
        ("renofeation", "R4", "Action: 92.49 against 93.51"),
        ("renofeation", "R6", "Bird: 69.76 against 67.02"),
        ("davchev", "D5", "WB-PGD, 1: 0.3324 against 0.15; WB-PGD, 12: 0.1685 against 0.15"),
        ("cartl", "C16", "0.01, 1.0: 25.58 against 25.73"),
        ("cartl", "C17a", "Case-4, 0.6: 27.14 against 27.17"),
        ("cartl", "C23", "2.18 against 2.99"),
        ("shafahi", "S28", "CIFAR-100+ -> CIFAR-10, PGD-20: 17.61 against 17.55"),
    ],
)
def test_what_speaks_against_a_claim_is_named(study, claim, against):
    claims = spec.read(file_of(study))
    assert of_print(claims, study).printed_against[claim] == against


@pytest.mark.parametrize(
    ("claim", "tasks"),
    [("C1", {"Birdsnap", "Cars", "Aircraft"}), ("C2", {"Food", "Birdsnap", "Cars", "Aircraft"})],
)
def test_the_tasks_that_pre_training_does_not_help_are_named(claim, tasks):
    claims = spec.read(file_of("vaishnavi"))
    against = of_print(claims, "vaishnavi").printed_against[claim]
    assert {part.split(": ")[0].split(", ")[-1] for part in against.split("; ")} == tasks


# ---- files ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("holds: {greater: [table1 | a]}", "names no cell"),
        ("holds: {greater: [table1 | a | b, 1], less: []}", "holds"),
        ("holds: {greater: [1, {cube: [2]}]}", "'difference'"),
        ("holds: {greater: ['table1 | {r} | b', 1]}", "r: a variable is in a cell, and in `each` or an `over`"),
        ("untestable: why\n  holds: {greater: [table1 | a | b, 1]}", "either `holds` is wanted, or `untestable`"),
        ("where: there", "where"),
    ],
)
def test_a_mistake_in_a_claim_is_said(tmp_path, text, sentence):
    path = tmp_path / "claims.yaml"
    path.write_text(f"X1:\n  where: section 1\n  claim: it is so\n  {text}\n", encoding="utf-8")
    with pytest.raises(UserError, match=re.escape(sentence)):
        spec.read(path)


def test_a_predicate_reads_as_a_formula():
    claims = spec.read(file_of("davchev"))
    assert claims["D7"].predicate == (
        "table1[R_{s}->nat 12, {c}] >= (0.95* × table1[R_{s}, {c}]); all s in pgd, fgsm, c in BB-FGSM, BB-PGD"
    )
    assert claims["D7"].ours == "0.95"


def test_the_page_of_the_demo_has_every_claim():
    rows = {}
    _, verdicts = (REPOSITORY / "docs/demo.md").read_text(encoding="utf-8").split("## The verdicts\n")
    for line in verdicts.splitlines():
        if line.startswith("### "):
            study = line[4:]
        elif line.startswith("| "):
            name, claim, *_ = [cell.strip() for cell in line.strip("|").split("|")]
            rows[study, name] = claim
    told = {(study, name): claim.claim for study in PRINTED for name, claim in spec.read(file_of(study)).items()}
    assert {key: rows.get(key) for key in told} == told
