"""`make gpu-check` in its smallest form, on the CPU."""

import json

import gpu_check
import numpy as np
import pytest


@pytest.mark.slow
def test_it_runs_here_on_the_cpu(tmp_path, capsys):
    words = ["--device", "cpu", "--tiny", "--minutes", "60", "--output", str(tmp_path / "check")]
    assert gpu_check.main(words) == 0, capsys.readouterr().out
    report = json.loads((tmp_path / "check.json").read_text())
    parts = {part["name"]: part for part in report["parts"]}
    assert all(part["well"] for part in parts.values()), parts
    assert parts["tests"]["figures"]["passed"] >= 6
    assert parts["determinism"]["figures"] == {"artifacts": 6, "different": []}
    assert {row["peer"] for row in parts["speed"]["figures"]} >= {"textbook PyTorch", "stock advertorch"}
    assert parts["Davchev et al., Table 1"]["figures"]["networks"] == 24
    page = (tmp_path / "check.md").read_text()
    assert "- determinism: well" in page
    assert "| training step, PGD-7 |" in page
    assert "| R_pgd->pgd 56 " in page


def test_without_a_gpu_it_says_so(capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert gpu_check.main([]) == 1
    assert "no CUDA GPU" in capsys.readouterr().err


def test_different_bits_are_not_well(monkeypatch):
    said = iter(['{"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}', '{"a": 1, "b": 9, "c": 3, "d": 4, "e": 5}'])

    def run(*words, **more):
        return type("Done", (), {"returncode": 0, "stdout": next(said)})

    monkeypatch.setattr(gpu_check, "run", run)
    part = gpu_check.timed("determinism", lambda part: gpu_check.determinism(part, "cpu", True, 0))
    assert part.well is False
    assert part.figures["different"] == ["b"]


def test_what_goes_wrong_is_told_and_the_rest_is_looked_at():
    part = gpu_check.timed("x", lambda part: 1 / 0)
    assert (part.well, part.words) == (False, "ZeroDivisionError: division by zero")


def test_one_set_is_halved_and_two_are_source_and_target(tmp_path):
    for name, test in (("one", "test"), ("two", "val")):
        labels = {"train_labels": np.arange(4), f"{test}_labels": np.arange(4)}
        np.savez(tmp_path / f"{name}.npz", **labels)
    one, two = (gpu_check.npz(tmp_path / f"{name}.npz") for name in ("one", "two"))
    alone = gpu_check.config("cuda", [one], False)["datasets"]
    assert [alone[name]["half"] for name in ("source", "target")] == ["first", "second"]
    both = gpu_check.config("cuda", [one, two], False)["datasets"]
    assert [each["file"].rpartition("/")[2] for each in both.values()] == ["one.npz", "two.npz"]
    assert both["target"]["test"] == "val"
    assert both["source"]["limit"] == 3000
    assert "count" not in both["source"]


def test_a_file_of_another_kind_and_too_much_data_are_refused(tmp_path, capsys, monkeypatch):
    (tmp_path / "text.npz").write_text("no archive")
    assert gpu_check.main(["--device", "cpu", str(tmp_path / "text.npz")]) == 1
    assert "is no .npz file" in capsys.readouterr().err
    np.savez(tmp_path / "other.npz", x=np.arange(3))
    assert gpu_check.main(["--device", "cpu", str(tmp_path / "other.npz")]) == 1
    assert "no train and test labels" in capsys.readouterr().err
    np.savez(tmp_path / "well.npz", train_labels=np.arange(4), test_labels=np.arange(4))
    monkeypatch.setattr(gpu_check, "LARGEST", 10)
    assert gpu_check.main(["--device", "cpu", str(tmp_path / "well.npz")]) == 1
    assert "over 0 MiB" in capsys.readouterr().err
