"""The report: what it shows, that names in it stay names, and that it works in a browser and loads nothing."""

import json
import shutil
import struct
import sys
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from browser import Browser, program
from pretend import pretend_numbers
from robust_transfer import audit, report
from robust_transfer.cli import main
from robust_transfer.plan.graph import Plan
from robust_transfer.results.trace import Traces
from robust_transfer.run import command
from workspace import planned

TABLE, FIGURE, PRINTED = "tables/davchev/table1", "figures/davchev/fig2", "figures/davchev/fig2_published"
HOSTILE = "</script><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">&amp;{{ 7*7 }}"
CLICKED = "document.querySelector('button[data-cell]')"


@pytest.fixture(scope="module")
def plan() -> Plan:
    """The plan of a study with a hostile row of ours, and a hostile title."""
    plan = planned("davchev")
    for stem in (TABLE, FIGURE):
        spec = plan.products[stem].spec
        ours = {**spec["cells"][0], "row": HOSTILE, "ours": True}
        # The figure is drawn before: its panels would miss the row.
        cells = [*spec["cells"], ours] if stem == TABLE else spec["cells"]
        plan.products[stem] = replace(plan.products[stem], spec=spec | {"cells": cells, "title": f"Title {HOSTILE}"})
    return plan


@pytest.fixture(scope="module")
def pristine(plan, tmp_path_factory):
    results = tmp_path_factory.mktemp("reported") / "results"
    pretend_numbers(plan, results, (TABLE, FIGURE, PRINTED, "claims"))
    return results


@pytest.fixture(scope="module", autouse=True)
def _no_science():
    """The audit of science reads tensors, which made-up artifacts are not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(audit, "LEVELS", ("integrity", "currency"))
        yield


@pytest.fixture(scope="module")
def page(pristine, tmp_path_factory):
    """The report's file."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    report.write(pristine, path)
    return path


class Elements(HTMLParser):
    """Every element with its attributes, and the texts below each kind of element."""

    def __init__(self, text: str):
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in ("meta", "link", "img", "br", "rect", "path"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if tag in ("rect", "path"):
            return
        assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, text):
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(text)

    def of(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture(scope="module")
def elements(page) -> Elements:
    return Elements(page.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def data(elements):
    """What the script knows."""
    return json.loads(next(text for text in elements.texts["script"] if text.startswith("{")))


# ---- what it shows -------------------------------------------------------------------------------------------------


def test_it_is_well_formed_and_loads_nothing(elements):
    assert elements.open == [], "something is not closed"
    sources = [each.get("src") or each.get("href") for tag, each in elements.found if {"src", "href"} & each.keys()]
    assert sources
    assert all(source.startswith(("data:", "#")) for source in sources)
    policy = next(each["content"] for each in elements.of("meta") if "http-equiv" in each)
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policy


def test_every_link_leads_somewhere(elements):
    names = {each.get("id") for _, each in elements.found}
    links = {each["href"][1:] for each in elements.of("a")}
    assert {"claims", "audit", "protocols", "times"} < links <= names


def test_claims_come_first_then_studies_then_the_audit(elements):
    sections = [each["id"] for each in elements.of("section")]
    assert sections == ["claims", "study-1", "audit", "protocols", "times"]
    text = " ".join(elements.texts["span"])
    assert any(verdict in text for verdict in ("holds", "reversed", "undecided"))


def test_each_cell_of_a_table_is_a_button_with_its_number(elements, plan, data):
    buttons = [each["data-cell"] for each in elements.of("button") if "data-cell" in each]
    assert len(buttons) == len(set(buttons)) == len(plan.products[TABLE].spec["cells"])
    texts = [text for text in elements.texts["button"] if "±" in text]
    assert len(texts) == len(buttons)
    for place, text in zip(buttons, texts, strict=True):
        product, cell = map(int, place.split("."))
        assert f"{data['products'][product]['cells'][cell][3][0]:.1f} ±" in text


def test_figures_are_in_it(elements):
    assert len(elements.of("img")) == 2
    assert all(each["src"].startswith("data:image/") and each["alt"] for each in elements.of("img"))


def test_the_chain_behind_a_cell_is_that_of_trace(pristine, data):
    product = next(each for each in data["products"] if each["key"] == "davchev/table1")
    cell = next(each for each in product["cells"] if each[:2] == ["R_nat->pgd 12", "WB-PGD"])
    (traced,) = Traces(pristine).trace("davchev/table1", "R_nat->pgd 12", "WB-PGD")
    to_see, seen = [index for roles in cell[4] for _, index in roles], set()
    while to_see:
        if (index := to_see.pop()) not in seen:
            seen.add(index)
            to_see += [parent for _, parent in data["nodes"][index][3]]
    assert {data["nodes"][index][0] for index in seen} == set(traced.steps)
    for step in traced.steps.values():
        node = next(each for each in data["nodes"] if each[0] == step.node.id)
        told = data["specs"][node[4]] + data["specs"][node[5]]
        assert sorted(map(str, told)) == sorted(str([path, value]) for path, value, _ in step.values)


def test_what_repeats_is_told_once(data, page, plan):
    assert len({node[0] for node in data["nodes"]}) == len(data["nodes"]) == len(plan.nodes)
    assert len(data["specs"]) < len(data["nodes"]) / 2
    assert len(json.dumps(data["nodes"])) / len(data["nodes"]) < 500, "bytes a node"


def test_what_is_not_made_is_said_with_the_command_that_makes_it(elements, pristine):
    assert f"snakemake --cores all {pristine}/tables/davchev/sources.csv" in elements.texts["code"]


def test_the_switches_of_the_study_and_their_positions(elements):
    names = [text.strip() for text in elements.texts["th"] if text.startswith("D1")]
    assert names == ["D12", "D13", "D14", "D15", "D16"]
    assert len([each for each in elements.of("td") if each.get("class") == "chosen"]) == 5


def test_damage_and_what_is_stale_are_said(pristine, tmp_path):
    results = shutil.copytree(pristine, tmp_path / "results")
    damaged = next(results.glob("evaluate/*/outcomes.parquet"))
    damaged.write_bytes(b"x" * damaged.stat().st_size)
    changed = planned("davchev", davchev={"attacks": {"WB-PGD": {"eps": 0.3}}})
    pretend_numbers(changed, results, ())
    report.write(results, tmp_path / "report.html")
    elements = Elements((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert any(f"{damaged} was edited" in text for text in elements.texts["li"])
    assert any(text.startswith("STALE: it was made for other values") for text in elements.texts["p"])
    assert any("davchev.attacks.WB-PGD.eps" in text for text in elements.texts["p"])


def test_the_command_writes_it_where_it_is_wanted(pristine, tmp_path, monkeypatch, capsys):
    path = tmp_path / "mine.html"
    monkeypatch.setattr(sys, "argv", ["robust-transfer", "--results", str(pristine), "report", "-o", str(path)])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    assert str(path) in capsys.readouterr().out
    first = path.read_text(encoding="utf-8")
    report.write(pristine, path)
    assert path.read_text(encoding="utf-8") == first, "the same results give the same bytes"


# ---- names stay names ----------------------------------------------------------------------------------------------


def test_hostile_names_stay_text(elements, page, data):
    assert len(elements.of("script")) == 2, "the data and the report's own"
    assert not [each for tag, each in elements.found if any(name.startswith("on") for name in each)]
    assert not [each for each in elements.of("img") if each["src"] == "x"]
    assert HOSTILE.replace("->", "→") in elements.texts["th"]
    text = page.read_text(encoding="utf-8")
    assert "{{ 7*7 }}" in text, "no template is made of a name"
    assert text.count("</script>") == 2
    assert any(cell[0] == HOSTILE for product in data["products"] for cell in product["cells"])


# ---- in a browser --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if program() is None:
        pytest.skip("no Chromium is installed here")
    with Browser(tmp_path_factory.mktemp("browser") / "profile") as found:
        yield found


def size_of(png) -> tuple[int, int]:
    """Width and height of a png in pixels."""
    header = png.read_bytes()[:24]
    assert header.startswith(b"\x89PNG")
    return struct.unpack(">II", header[16:24])


@pytest.mark.parametrize(
    ("width", "height", "scheme"), [(1280, 900, "light"), (390, 844, "dark")], ids=["desktop", "phone"]
)
def test_it_works_in_a_browser(browser, page, tmp_path, width, height, scheme):
    browser.complaints.clear()
    browser.requests.clear()
    browser.size(width, height, mobile=width < 500, scheme=scheme)
    browser.open(page)
    browser.screenshot(tmp_path / "page.png")
    assert size_of(tmp_path / "page.png") == (width, height)
    assert browser.js("document.documentElement.scrollWidth") == width, "it is no wider than the window"
    red = int(browser.js("getComputedStyle(document.body).backgroundColor").removeprefix("rgb(").partition(",")[0])
    assert (red < 60) == (scheme == "dark")
    wide = browser.js("[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth).length")
    assert (wide > 0) == (width < 500), "tables scroll by themselves where they are too wide"

    # a cell shows its chain
    browser.js(f"{CLICKED}.click()")
    assert browser.js("document.getElementById('trace').open")
    assert browser.js("document.getElementById('trace-title').textContent") == "davchev/table1: R_nat, clean"
    shown = browser.js("document.getElementById('trace-body').innerText")
    assert browser.js(f"{CLICKED}.innerText").partition(" ")[0] in shown
    for word in ("evaluate", "pretrain", "prepare", "schedule.lr", "davchev.schedules.natural", "commit 0123456789ab"):
        assert word in shown
    browser.screenshot(tmp_path / "trace.png")
    assert size_of(tmp_path / "trace.png") == (width, height)
    assert (tmp_path / "trace.png").read_bytes() != (tmp_path / "page.png").read_bytes()
    browser.js("document.querySelector('#trace form button').click()")
    assert not browser.js("document.getElementById('trace').open")

    assert browser.complaints == []
    assert [each for each in browser.requests if not each.startswith("data:")] == [page.resolve().as_uri()]


def test_headings_sort_and_points_of_figures_are_traced(browser, page):
    browser.size(1280, 900)
    browser.open(page)
    column = "[...document.querySelectorAll('.numbers tbody')][0].rows"
    values = f"[...{column}].map(row => parseFloat(row.cells[1].innerText))"
    before = browser.js(values)
    browser.js("document.querySelectorAll('.numbers thead th')[1].click()")
    assert browser.js(values) == sorted(before)
    browser.js("document.querySelectorAll('.numbers thead th')[1].click()")
    assert browser.js(values) == sorted(before, reverse=True)
    assert browser.js("document.querySelectorAll('.numbers tbody').length") == 2, "ours stay below"

    browser.js("document.querySelector('details.points summary').click()")
    browser.js("new Promise(resolve => setTimeout(resolve, 200))")
    browser.js("document.querySelector('details.points button').click()")
    assert browser.js("document.getElementById('trace-title').textContent").startswith("davchev/fig2: ")
    browser.js("document.getElementById('trace').close()")


def test_hostile_names_do_nothing_in_a_browser(browser, page):
    browser.complaints.clear()
    browser.open(page)
    browser.js("[...document.querySelectorAll('.ours button')][0].click()")
    assert HOSTILE in browser.js("document.getElementById('trace-title').textContent")
    assert browser.js("document.title") == "robust-transfer: report"
    assert browser.complaints == []
    browser.js("document.getElementById('trace').close()")


def test_it_prints(browser, page, tmp_path):
    browser.open(page)
    browser.pdf(tmp_path / "report.pdf")
    pdf = (tmp_path / "report.pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    assert 2 <= pdf.count(b"/Type /Page\n") + pdf.count(b"/Type/Page\n") <= 40 or len(pdf) > 20_000


def test_a_script_that_is_not_the_reports_own_is_refused(browser, page, tmp_path):
    """The page's own policy, which holds even if a name got through."""
    text = page.read_text(encoding="utf-8")
    forged = tmp_path / "forged.html"
    forged.write_text(text.replace("<footer>", "<script>document.title='taken'</script><footer>"), encoding="utf-8")
    browser.complaints.clear()
    browser.open(forged)
    assert browser.js("document.title") == "robust-transfer: report"
    assert browser.complaints, "the browser says that it refused it"
    browser.complaints.clear()


# ---- in the workflow -----------------------------------------------------------------------------------------------


def test_as_a_target_it_waits_for_everything_that_is_planned(tiny):
    jobs = tiny.planned("results/report.html")
    plan = tiny.plan()
    assert "report" in jobs
    assert len(jobs) == len(plan.nodes) + len(plan.products) + 1


def test_the_workflows_own_command_writes_it(pristine, plan, tmp_path):
    results = shutil.copytree(pristine, tmp_path / "results")
    (frozen,) = (results / "plans").iterdir()
    words = ["report", "all", "--results", str(results), "--plan", str(frozen)]
    assert command.make(command.arguments_of(words)) == 0
    assert "robust-transfer: report" in (results / "report.html").read_text(encoding="utf-8")
    assert not any("report.html" in finding.what for finding in audit.findings(audit.Stored(results), ["integrity"]))
