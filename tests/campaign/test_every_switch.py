"""Each switch in each of its positions, at the scales that need no data: every training ends, every number is there."""

import pandas as pd
import pytest

from robust_transfer.studies import PAPERS

pytestmark = pytest.mark.campaign


@pytest.mark.parametrize("scale", ["digits", "mnist"])
def test_all_that_compares_protocols_is_made(workspace, scale):
    workspace.lay({"scale": scale, "compare_protocols": True})
    workspace.snakemake("--quiet", "all", "--keep-going", timeout=6 * 3600)
    for study in PAPERS:
        cells = pd.read_parquet(workspace.results / f"tables/{study}/protocols.parquet")
        assert cells.row.nunique() > 1, study
        assert cells[["value", "ci_low", "ci_high"]].notna().all(axis=None), study
