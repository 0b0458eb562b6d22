"""The verdicts on claims as products of a plan, and what Snakemake makes of them."""

import re
from hashlib import sha256

import pytest
from test_custom import SECTION

from pretend import pretend_numbers
from robust_transfer.claims import spec
from robust_transfer.errors import UserError
from robust_transfer.plan import claims, freeze
from robust_transfer.run.products import studies_of
from robust_transfer.studies import PAPERS
from workspace import TINY, merged, planned

FIRST = next(iter(PAPERS))


@pytest.fixture(scope="module")
def plan():
    return planned(FIRST, studies=list(PAPERS))


@pytest.mark.parametrize("study", PAPERS)
def test_the_verdicts_of_a_study_read_what_its_claims_name(plan, study):
    product = plan.products[f"claims/{study}"]
    named = {
        part.table
        for claim in spec.read(claims.file_of(study)).values()
        for part in spec.parts(claim.holds)
        if isinstance(part, spec.Cell) and "{" not in part.table
    }
    assert {cell["table"] for cell in product.spec["cells"]} == named
    shown = {
        node
        for stem, other in plan.products.items()
        if stem.split("/")[0] in ("tables", "figures") and other.study == study and other.name in named
        for node in other.nodes
    }
    assert set(product.nodes) == shown


def test_those_of_all_are_those_of_each_together(plan):
    whole, each = plan.products["claims"], [plan.products[f"claims/{study}"] for study in PAPERS]
    assert whole.key == "all"
    assert whole.spec["claims"] == {
        study: product.spec["claims"][study] for study, product in zip(PAPERS, each, strict=True)
    }
    assert whole.spec["cells"] == [cell for product in each for cell in product.spec["cells"]]


def test_they_are_told_in_the_order_of_the_config(tmp_path):
    order = ["vaishnavi", "davchev", "cartl"]
    frozen = freeze.thaw(freeze.freeze(planned(FIRST, studies=order, main_study="cartl"), tmp_path))
    assert studies_of(frozen.products["claims"].spec) == order


def test_those_of_one_study_can_be_read_alone(said, tmp_path, monkeypatch):
    """As where it alone was made; away from any config."""
    pretend_numbers(planned("davchev", **TINY), tmp_path / "results", ("claims/davchev",))
    monkeypatch.chdir(tmp_path)
    code, text = said("claims", "davchev")
    assert code == 0 and "\ndavchev: " in text
    assert "there are those of davchev: `robust-transfer claims davchev`" in said("claims")[0]
    assert "is not made yet" in said("claims", "cartl")[0]


def test_another_claim_is_another_product(plan, monkeypatch, tmp_path):
    own = tmp_path / "cartl.yaml"
    own.write_bytes(claims.file_of("cartl").read_bytes() + b"C99: {}\n")
    there = claims.file_of
    monkeypatch.setattr(claims, "file_of", lambda study: own if study == "cartl" else there(study))
    again = planned(FIRST, studies=list(PAPERS))
    changed = {stem for stem, product in plan.products.items() if product.param != again.products[stem].param}
    assert changed == {"claims/cartl", "claims"}
    digest = claims.digest_of(own.read_bytes())
    own.write_bytes(b"# a comment\n\n" + own.read_bytes())
    assert claims.digest_of(own.read_bytes()) == digest
    digest = sha256(there("cartl").read_bytes()).hexdigest()
    with pytest.raises(UserError, match="has changed since the plan was made"):
        claims.claims_of("cartl", digest)


# ---- claims of one's own ---------------------------------------------------------------------------------------------

CLAIM = {
    "where": "here",
    "claim": "so",
    "each": {"r": "any"},
    "holds": {"less": ["table1 | {r} | PGD-20", "table1 | {r} | clean"]},
}


def test_claims_of_a_study_of_ones_own():
    plan = planned("custom", custom=merged(SECTION, {"claims": {"X1": CLAIM}}))
    product = plan.products["claims/custom"]
    assert product.spec["claims"] == plan.products["claims"].spec["claims"] == {"custom": {"X1": CLAIM}}
    assert {cell["table"] for cell in product.spec["cells"]} == {"table1"}
    (claim,) = claims.claims_of("custom", product.spec["claims"]["custom"]).values()
    assert claim.predicate == "table1[{r}, PGD-20] < table1[{r}, clean]; all r"
    assert "claims" not in planned("custom", custom=SECTION).products


def test_mistakes_in_them_are_told_with_all_others():
    wrong = merged(SECTION, {"claims": {"X1": CLAIM | {"holds": {"less": ["table1 | PGD-20"]}}}})
    said = "custom.claims.X1.holds.of.0: 'table1 | PGD-20' names no cell; write `table | row | column`"
    with pytest.raises(UserError, match=re.escape(said)):
        planned("custom", custom=wrong)
