"""The papers' printed tables: their form, the papers' text, and what the papers themselves compute from them."""

import csv
import re
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from robust_transfer.plan.published import published_table

FOLDER = Path(str(files("robust_transfer") / "published"))
PAPERS = Path(__file__).parents[3] / "shared" / "papers"
NUMBERS = {"cartl": range(1, 5), "davchev": [1], "renofeation": range(1, 7), "shafahi": range(1, 8)}
NUMBERS |= {"vaishnavi": range(2, 6)}  # its table 1 is in words
TABLES = [(study, f"table{number}") for study, numbers in NUMBERS.items() for number in numbers]
TABLES.append(("vaishnavi", "improvements"))  # sections 3.2 and 3.3, in the text
TABLES.append(("shafahi", "text"))


def read(study, table):
    header, *rows = csv.reader((FOLDER / study / f"{table}.csv").read_text(encoding="utf-8").splitlines())
    return header, rows


def row(study, table, label, blank=False):
    """The printed cells of a row as text, without the blank ones unless asked for."""
    (cells,) = (cells for name, *cells in read(study, table)[1] if name == label)
    return [cell for cell in cells if cell or blank]


# ---- form ----------------------------------------------------------------------------------------------------------


def test_every_table_of_every_paper():
    assert {(path.parent.name, path.stem) for path in FOLDER.glob("*/*.csv")} == set(TABLES)


@pytest.mark.parametrize(("study", "table"), TABLES)
def test_form(study, table):
    header, rows = read(study, table)
    labels = [label for label, *_ in rows]
    assert {len(cells) for cells in rows} == {len(header)}
    assert len(set(labels)) == len(labels)
    assert len(set(header)) == len(header)
    assert all(name == " ".join(name.split()) and name for name in header + labels)
    assert all(re.fullmatch(r"(\d+(\.\d+)?)?", cell) for _, *cells in rows for cell in cells)
    assert all(any(cells) for _, *cells in rows)
    assert len(published_table(study, table)) == sum(bool(cell) for _, *cells in rows for cell in cells)


# ---- the papers' text ----------------------------------------------------------------------------------------------


@pytest.mark.skipif(not PAPERS.is_dir(), reason="the papers' texts (../shared/papers) are not on this machine")
@pytest.mark.parametrize(("study", "table"), TABLES)
def test_rows_as_the_paper_prints_them(study, table):
    """Digit for digit: a row's numbers stand side by side in the text, and a table's rows one after another."""
    printed = re.findall(r"\d+(?:\.\d+)?", (PAPERS / f"{study}.txt").read_text(encoding="utf-8"))
    end = 0
    for label, *cells in read(study, table)[1]:
        cells = [cell for cell in cells if cell]
        starts = (k for k in range(end, len(printed)) if printed[k : k + len(cells)] == cells)
        start = next(starts, None)
        assert start is not None, f"{label}: {cells}"
        end = start + len(cells) if table != "text" else 0


HALF = "CIFAR-100 (50% of classes) CIFAR-100"
OTHER_HALF = f"{HALF} (other 50% of classes)"
LWF_HALF = "CIFAR-100+ (1/2) -> CIFAR-100"
SAME = [
    ("renofeation", "table2", "DELTA clean", "table4", "DELTA clean"),
    ("renofeation", "table2", "DELTA ASR", "table4", "DELTA ASR"),
    ("renofeation", "table3", "Renofeation clean", "table4", "Renofeation clean"),
    ("renofeation", "table3", "Renofeation ASR", "table4", "Renofeation ASR"),
    ("renofeation", "table2", "DELTA clean", "table6", "ResNet-18 DELTA clean"),
    ("renofeation", "table2", "DELTA ASR", "table6", "ResNet-18 DELTA ASR"),
    ("renofeation", "table2", "Re-training clean", "table6", "ResNet-18 Re-training clean"),
    ("renofeation", "table2", "Re-training ASR", "table6", "ResNet-18 Re-training ASR"),
    ("renofeation", "table3", "Renofeation clean", "table6", "ResNet-18 Renofeation clean"),
    ("renofeation", "table3", "Renofeation ASR", "table6", "ResNet-18 Renofeation ASR"),
    ("shafahi", "table1", "CIFAR-10+ robust", "table7", "CIFAR-10+ robust lambda_d NA"),
    ("shafahi", "table1", "CIFAR-100+ robust", "table5", "CIFAR-100+ robust lambda_d NA"),
    ("shafahi", "table2", "CIFAR-100 CIFAR-10 natural", "table4", "CIFAR-100+ -> CIFAR-10+ natural lambda_d NA"),
    ("shafahi", "table2", "CIFAR-100 CIFAR-10 robust", "table4", "CIFAR-100+ -> CIFAR-10+ robust lambda_d NA"),
    ("shafahi", "table2", f"{OTHER_HALF} natural", "table6", f"{LWF_HALF}+ (other 1/2) natural lambda_d NA"),
    ("shafahi", "table2", f"{OTHER_HALF} robust", "table6", f"{LWF_HALF}+ (other 1/2) robust lambda_d NA"),
]


@pytest.mark.parametrize(("study", "table", "label", "other_table", "other_label"), SAME)
def test_rows_that_stand_in_two_tables(study, table, label, other_table, other_label):
    cells = row(study, table, label)
    assert row(study, other_table, other_label)[: len(cells)] == cells


def test_cells_that_stand_in_two_tables():
    best = [cell for k in (4, 6, 8) for cell in row("cartl", "table2", f"Case-{k} lambda = 0.005")[-2:]]
    assert row("cartl", "table3", "AT + FDM NEFT") == best
    vanilla = row("cartl", "table4", "CIFAR-10 SVHN WRN 28-4 (k = 6)")[2:4]
    assert row("cartl", "table1", "CIFAR-10 -> SVHN (k = 6) W b")[2:] == vanilla
    for task in ("CIFAR-10", "CIFAR-100"):
        empirical, certified = (row("vaishnavi", table, task) for table in ("table2", "table3"))
        assert row("vaishnavi", "table4", f"{task} AT", blank=True) == [*empirical[2:4], "", "", ""]
        assert row("vaishnavi", "table4", f"{task} CR", blank=True) == ["", "", *certified[3:6]]
        assert row("vaishnavi", "table4", f"{task} SimCLR") == [*empirical[4:], *certified[6:]]


# ---- the papers' arithmetic ----------------------------------------------------------------------------------------


def test_renofeations_averages():
    for label, *cells in read("renofeation", "table6")[1]:
        if label.endswith("ASR"):
            *sets, average = map(float, cells)
            # Half a last digit of the average, and as much again because the five are rounded themselves.
            assert np.mean(sets) == pytest.approx(average, abs=0.01), label


@pytest.mark.parametrize(
    ("network", "delta", "renofeation"),
    # The paper's introduction.
    [("ResNet-18", 74.3, 6.9), ("ResNet-50", 65.7, 4.4), ("ResNet-101", 70.3, 4.9), ("MobileNetV2", 50.75, 6.9)],
)
def test_renofeations_headline(network, delta, renofeation):
    printed = published_table("renofeation", "table6")
    assert printed[f"{network} DELTA ASR", "Average"] == pytest.approx(delta, abs=0.0501)
    assert printed[f"{network} Renofeation ASR", "Average"] == pytest.approx(renofeation, abs=0.0501)


def test_shafahis_averages_over_the_halves_of_cifar100():
    same = [float(cell) for cell in row("shafahi", "table2", f"{HALF} (same 50% of classes) robust")]
    other = [float(cell) for cell in row("shafahi", "table2", f"{OTHER_HALF} robust")]
    distilled = [float(cell) for cell in row("shafahi", "table6", f"{LWF_HALF} (other 1/2) robust lambda_d 0.01")]
    assert np.mean([same, other], axis=0) == pytest.approx([61.72, 20.51], abs=0.00501)  # footnote 4
    assert np.mean([same, distilled], axis=0) == pytest.approx([64.14, 20.42], abs=0.00501)  # appendix C


def test_cartls_differences():
    printed = published_table("cartl", "table1")
    all_tuned, frozen = (f"CIFAR-100 -> CIFAR-10 (k = 8) {free}" for free in ("-", "W b"))
    assert printed[all_tuned, "W b Acc."] - printed[frozen, "W b Acc."] == pytest.approx(0.47)  # section 6
    assert [printed[label, "W b Rob."] for label in (all_tuned, frozen)] == [14.36, 17.41]
    table2, table3 = (published_table("cartl", table) for table in ("table2", "table3"))
    # Sections 7.2 and 7.3.
    assert [table2["Case-8 lambda = 0.005", f"NEFT beta = {beta} Rob."] for beta in ("1.0", "0.4")] == [17.62, 29.34]
    assert [table3[f"AT {transfer}", "Case-8 Rob."] for transfer in ("TL", "NEFT")] == [18.54, 29.97]


def improvement(table, start, metric):
    """Each task's relative improvement over random initialisation, in per cent."""
    header, rows = read("vaishnavi", table)
    before, after = (header.index(f"{init} {metric}") for init in ("Random Init.", start))
    return np.array([100 * (float(cells[after]) / float(cells[before]) - 1) for cells in rows])


@pytest.mark.parametrize(
    ("table", "start", "metric", "r2"),
    [
        ("table2", "Sup. Pre-Training", "RA", 0.98),
        ("table2", "Self-Sup. Pre-Training", "RA", 0.94),
        ("table3", "Sup. Pre-Training", "RA", 0.92),
        ("table3", "Self-Sup. Pre-Training", "RA", 0.89),
        ("table3", "Sup. Pre-Training", "ACR", 0.94),
        ("table3", "Self-Sup. Pre-Training", "ACR", 0.86),
    ],
)
def test_vaishnavis_r2(table, start, metric, r2):
    """Of the straight line with intercept through the twelve tasks' relative improvements, SA against RA or ACR."""
    r = np.corrcoef(improvement(table, start, "SA"), improvement(table, start, metric))[0, 1]
    assert r**2 == pytest.approx(r2, abs=0.00501)


@pytest.mark.parametrize(
    ("table", "start", "metric", "mean"),
    [
        ("table2", "Sup. Pre-Training", "SA", 11.4),
        ("table2", "Sup. Pre-Training", "RA", 12.6),
        ("table2", "Self-Sup. Pre-Training", "SA", 14.1),
        ("table2", "Self-Sup. Pre-Training", "RA", 9.9),
        ("table3", "Sup. Pre-Training", "SA", 7.1),
        ("table3", "Sup. Pre-Training", "RA", 7.5),
        ("table3", "Sup. Pre-Training", "ACR", 7.3),
        ("table3", "Self-Sup. Pre-Training", "SA", 9.9),
        ("table3", "Self-Sup. Pre-Training", "RA", 9.1),
        ("table3", "Self-Sup. Pre-Training", "ACR", 6.9),
    ],
)
def test_vaishnavis_mean_improvements(table, start, metric, mean):
    # Half a last digit of the mean, and as much again because the tables' own entries are rounded (9.97 and 9.848 are
    # printed as 9.9).
    assert improvement(table, start, metric).mean() == pytest.approx(mean, abs=0.1)


@pytest.mark.parametrize(
    ("task", "images"),
    [("Food", 505), ("SUN397", 508), ("Cars", 502), ("Aircraft", 555), ("Flowers", 512), ("DTD", 470)],
)
def test_vaishnavis_percentages_are_of_other_numbers_of_images_than_the_texts_500(task, images):
    printed = published_table("vaishnavi", "table3")
    percentages = {}
    for (row, column), value in printed.items():
        if not column.endswith("ACR"):
            percentages.setdefault(row, []).append(value)

    def fits(name, count):
        possible = {round(100 * right / count, 1) for right in range(count + 1)}
        return possible.issuperset(percentages[name])

    assert {name for name in percentages if fits(name, 500)} == {"CIFAR-10", "CIFAR-100"}
    assert fits(task, images)
