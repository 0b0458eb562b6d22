"""The config's layers: how they are read and laid, and where each value comes from."""

import json
import re

import pytest

from robust_transfer.errors import UserError
from robust_transfer.plan import reading
from robust_transfer.plan.effective import as_lines, narrowed
from robust_transfer.plan.layers import SHIPPED_SCALES, Layer, of_user, stack
from robust_transfer.plan.reading import read_assignments, read_text, read_yaml
from robust_transfer.studies import PAPERS, effective, make_plan
from workspace import DAVCHEV, REPOSITORY, merged, shipped

WORKFLOW = REPOSITORY / "workflow"
SHIPPED = shipped()


def values(*layers, study="davchev"):
    """path -> Value of one study's config under mappings laid over config.yaml in turn."""
    alone = {"studies": [study], "main_study": study}
    user = [Layer("config.yaml", SHIPPED | alone), *(Layer(f"layer{i}", layer) for i, layer in enumerate(layers))]
    return {value.path: value for value in effective(user, WORKFLOW)}


def below(found, path):
    """The values at and below a path, by the rest of their paths."""
    return {name.removeprefix(f"{path}."): v.value for name, v in found.items() if f"{name}.".startswith(f"{path}.")}


def mistakes_of(*layers, study="davchev"):
    with pytest.raises(UserError) as caught:
        values(*layers, study=study)
    return str(caught.value)


# ---- laying --------------------------------------------------------------------------------------------------------


def attacks(**of):
    return {"davchev": {"attacks": {name.replace("_", "-"): attack for name, attack in of.items()}}}


def test_a_changed_tag_replaces_the_whole_mapping():
    found = values(attacks(WB_PGD={"algorithm": "fgsm", "eps": 0.1}))
    assert below(found, "davchev.attacks.WB-PGD") == {
        "algorithm": "fgsm",
        "eps": 0.1,
        "norm": "linf",
        "labels": "true",
    }


def test_the_same_tag_is_laid_key_by_key():
    found = below(values(attacks(WB_PGD={"algorithm": "pgd", "eps": 0.1})), "davchev.attacks.WB-PGD")
    assert (found["eps"], found["steps"], found["step_size"]) == (0.1, 20, "eps/4")


def test_a_changed_tag_must_give_the_whole():
    said = mistakes_of({"networks": {"resnet": {"family": "wide-resnet"}}})
    assert "networks.resnet.depth: missing; add it" in said and "depth_per_stage" not in said


def test_tags_of_data_sets_and_networks():
    layer = {
        "datasets": {"digits-low": {"reader": "npz", "file": "mine.npz"}},
        "networks": {"resnet": {"family": "wide-resnet", "depth": 10, "widen": 1}},
    }
    found = values(layer)
    assert "datasets.digits-low.appearance" not in found
    assert found["datasets.digits-low.validation"].layer == "default"
    assert "networks.resnet.depth_per_stage" not in found


def test_a_reader_goes_by_its_earlier_name_too():
    earlier, now = ({"datasets": {"digits-low": {key: "npz", "file": "mine.npz"}}} for key in ("source", "reader"))
    assert below(values(earlier), "datasets.digits-low") == below(values(now), "datasets.digits-low")
    again = {"datasets": {"digits-low": {"source": "sklearn-digits"}}}
    assert below(values(now, again), "datasets.digits-low")["classes"] is None  # those of the scale went with the npz


def test_names_are_no_tags_even_if_they_are_spelt_like_one():
    renamed = {"datasets": {"npz": {"reader": "sklearn-digits"}, "folder": {"reader": "sklearn-digits"}}}
    found = values(renamed, {"davchev": {"source": "npz"}}, {"davchev": {"source": "folder"}})
    assert found["davchev.source"].value == "folder" and found["davchev.target"].value == "digits-high"
    found = values({"cartl": {"main": {"source": "High"}}, "davchev": {}}, study="cartl")
    assert below(found, "cartl.main") == {"source": "High", "target": "High"}


def test_null_takes_away_an_entry():
    found = values({"cartl": {"targets": {"Low turned": None}, "comparison": [TURNED]}}, study="cartl")
    assert set(below(found, "cartl.targets")) == {"High", "Negative", "Turned", "Low negative"}
    found = values({"datasets": {"digits-high-coarse": None}, "networks": {"wide": None}})
    assert not below(found, "datasets.digits-high-coarse") and not below(found, "networks.wide")
    assert below(values({"switches": {"D15": "code"}}, {"switches": {"D15": None}}), "switches") == {"switches": {}}


TURNED = {"source": "Low", "target": "Turned", "k": 4}


def test_null_takes_away_a_value():
    found = values({"datasets": {"digits-low": {"limit": 5, "validation": 0.2}}}, LIMIT_NULL)[
        "datasets.digits-low.limit"
    ]
    assert (found.value, found.layer) == (None, "default")
    found = values({"datasets": {"digits-low": {"validation": None}}})["datasets.digits-low.validation"]
    assert (found.value, found.layer) == (0.1, "default")


LIMIT_NULL = {"datasets": {"digits-low": {"limit": None}}}


def test_what_was_taken_away_can_be_given_anew():
    found = values(attacks(WB_PGD=None), attacks(WB_PGD={"algorithm": "fgsm", "eps": 0.1}))
    assert "davchev.attacks.WB-PGD.steps" not in found


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ({"cartl": {"targets": {"Hihg": None}}}, "cartl.targets.Hihg: an empty value is not allowed; wanted: text"),
        ({"cartl": {"targets": {"Turned": None}}}, "cartl.batch_norm[1].target: unknown target 'Turned'"),
        (
            {"renofeation": {"targets": {"Negative": None}}},
            "unknown target 'Negative'; write one of High, or Negative: null",
        ),
        ({"cartl": {"targets": None}}, "cartl.targets: an empty value is not allowed; wanted: `key: value` lines"),
        ({"cartl": {"attack": {"eps": None}}}, "cartl.attack.eps: an empty value is not allowed"),
    ],
)
def test_what_cannot_be_taken_away(layer, words):
    (study,) = layer
    assert words in mistakes_of(layer, study=study)


SCHEDULE = "davchev.schedules.transfer"


def schedule(**keys):
    return {"davchev": {"schedules": {"transfer": keys}}}


@pytest.mark.parametrize("decay", ["constant", "cosine"])
def test_another_decay_does_away_with_milestones(decay):
    assert values(schedule(decay=decay))[f"{SCHEDULE}.milestones"][1:3] == ([], "default")


def test_another_decay_does_away_with_patience():
    found = values(schedule(decay="plateau", patience=3), schedule(decay="steps", milestones=[4]))
    assert found[f"{SCHEDULE}.patience"].value is None and found[f"{SCHEDULE}.milestones"].value == [4]


def test_iterations_replace_epochs_and_what_is_counted_in_them():
    found = values(schedule(warm_up=2), schedule(iterations=300, milestones=[100]))
    shown = {key: found[f"{SCHEDULE}.{key}"][1:3] for key in ("epochs", "iterations", "milestones", "warm_up")}
    assert shown == {
        "epochs": (None, "default"),
        "iterations": (300, "layer1"),
        "milestones": ([100], "layer1"),
        "warm_up": (0, "default"),
    }
    assert values(schedule(iterations=300, milestones=[9]), schedule(epochs=9, decay="cosine"))[f"{SCHEDULE}.epochs"]
    said = mistakes_of(schedule(iterations=300))
    assert f"{SCHEDULE}.milestones: decay: steps wants the iterations at which lr falls" in said


def test_one_switch_set_apart_leaves_another():
    found = values({"switches": {"D16": "code"}}, {"switches": {"D15": "paper"}})
    assert below(found, "switches") == {"D16": "code", "D15": "paper"}
    assert found["switches.D15"].layer == "layer1"
    assert "D15: unknown key" in mistakes_of({"D15": {"paper": 1, "code": 1, "corrected": 1}})


# ---- scales --------------------------------------------------------------------------------------------------------


def with_scale(tmp_path, scale, **files):
    """The layers' names where tmp_path/my.yaml names a scale, beside other files."""
    for name, text in files.items():
        (tmp_path / f"{name}.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "my.yaml").write_text(f"scale: {scale}\n", encoding="utf-8")
    return stack(of_user(REPOSITORY / "config.yaml", [tmp_path / "my.yaml"]), WORKFLOW)


def test_a_scale_by_its_path_from_the_file_that_names_it(tmp_path):
    layers = with_scale(tmp_path, "./own.yaml", own="extends: digits\nseed: 3\n")
    assert [layer.name.rsplit("/")[-1] for layer in layers[-4:]] == [
        "digits.yaml",
        "own.yaml",
        "config.yaml",
        "my.yaml",
    ]
    assert layers[-3].values == {"seed": 3}
    assert [layer.shipped for layer in layers[-4:]] == [True, False, False, False]


def test_a_scale_over_a_scale_over_a_scale(tmp_path):
    layers = with_scale(tmp_path, "a.yaml", a="extends: b.yaml\nseed: 1\n", b="extends: digits\nseed: 2\n")
    assert [layer.name.rsplit("/")[-1] for layer in layers[-5:]] == [
        "digits.yaml",
        "b.yaml",
        "a.yaml",
        "config.yaml",
        "my.yaml",
    ]


def test_captions_call_an_own_scale_by_its_name(tmp_path):
    (tmp_path / "quick.yaml").write_text("extends: digits\n", encoding="utf-8")
    plan = make_plan(SHIPPED | DAVCHEV | {"scale": str(tmp_path / "quick.yaml")}, WORKFLOW)
    assert plan.products["tables/davchev/table1"].spec["measured"].startswith("Measured at scale quick: ")


@pytest.mark.parametrize(
    ("scale", "files", "words"),
    [
        ("a.yaml", {"a": "extends: b.yaml\n", "b": "extends: a.yaml\n"}, "circle, a -> b -> a; end it"),
        ("a.yaml", {"a": "extends: a.yaml\n"}, "circle, a -> a; end it"),
        (
            "a.yaml",
            {"a": "extends: digit\n"},
            "extends: 'digit' is unknown; write one of cifar, digits, mnist, paper",
        ),
        ("none.yaml", {}, "scale: there is no file"),
        ("a.yaml", {"a": "seed: 1\nseed: 2\n"}, "a.yaml, line 2, column 1: the key 'seed' is given twice"),
    ],
)
def test_scales_that_cannot_be_read(tmp_path, scale, files, words):
    with pytest.raises(UserError) as caught:
        with_scale(tmp_path, scale, **files)
    assert words in str(caught.value)


def test_the_shipped_scales_are_there():
    assert all((WORKFLOW / f"scales/{scale}.yaml").exists() for scale in SHIPPED_SCALES)


# ---- reading -------------------------------------------------------------------------------------------------------

MEANT = {
    "010": 10,
    "0o10": 8,
    "0x1F": 31,
    "1:30": "1:30",
    "2020-01-02": "2020-01-02",
    "yes": "yes",
    "no": "no",
    "on": "on",
    "off": "off",
    "1e-4": 1e-4,
    "5E3": 5000.0,
    ".5": 0.5,
    "-3": -3,
    "1_000": "1_000",
    "=": "=",
    "True": True,
    "~": None,
    "": None,
    "8/255": "8/255",
    "'010'": "010",
    "!!str 12": "12",
    "{no: on, 010: 1, 1e3: 2}": {"no": "on", "010": 1, "1e3": 2},
    "? a\n? b": {"a": None, "b": None},
    "\ufeffa: 1": {"a": 1},
}


@pytest.mark.parametrize("text", MEANT)
def test_yaml_as_a_person_means_it(text):
    found = read_text(text, "text")
    assert found == MEANT[text] and type(found) is type(MEANT[text])


REFUSED = {
    "seed: !!set {a, b}": "line 1, column 7: could not determine a constructor",
    "seed: !!int x": "line 1, column 7: 'x' cannot be read as int",
    "seed: !!bool maybe": "'maybe' cannot be read as bool",
    f"seed: {'9' * 5000}": "cannot be read as int",
    "? [a, b]\n: 1": "line 1, column 3: a key must be a word or a number",
    "? {a: b}\n: 1": "a key must be a word or a number",
    '"": 1': "a key must be a word or a number",
    "a: &x {b: *x}": "more than 50 levels, or an anchor that refers to itself",
    "a: &x [*x]": "more than 50 levels, or an anchor that refers to itself",
    "a: " + "[" * 60 + "]" * 60: "more than 50 levels",
    "a: " + "[" * 5000 + "]" * 5000: "nested too deep",
    "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
        f"{new}: &{new} [{','.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcde", "bcdef", strict=True)
    ): "more than 100,000 values",
    "a: 1\n---\nb: 1": "expected a single document",
    "a: \x00": "line 1: the character #x0000 is not allowed",
    'a: "\\ud800"': "cannot be read as str",
    "a: {<<: 3}": "`<<` wants a mapping",
    "a:\n\tb: 1": "line 2, column 1: found character '\\t'",
    "a: 1\n12: 1\n'12': 2": "line 3, column 1: the key '12' is given twice",
}  # fmt: skip


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: repr(text[:20]))
def test_yaml_that_is_refused_in_one_sentence(text):
    with pytest.raises(UserError) as caught:
        read_text(text, "text")
    said = str(caught.value)
    assert said.startswith("text") and REFUSED[text] in said and "\n" not in said


def test_libyaml_and_pyyaml_read_the_same(monkeypatch):
    texts = [path.read_text(encoding="utf-8") for path in sorted((REPOSITORY / "workflow").rglob("*.yaml"))]
    texts += ["[no, 010, 12:30, 1e-4, 0o17, 0x1f, .inf, ~, '', 1_000, 2026-01-01, +1.]", "{12: all, a: &x [1], b: *x}"]
    quick = [read_text(text, "text") for text in texts]
    monkeypatch.setattr(reading, "_QuickLoader", reading._CoreLoader)
    assert quick == [read_text(text, "text") for text in texts] and len(texts) > 10


def test_what_only_libyaml_would_take_is_refused():
    with pytest.raises(UserError, match="not allowed"):
        read_assignments(["seed=\udcff"])
    with pytest.raises(UserError, match="line 1, column 3"):
        read_text("a:\t1", "text")


def test_merge_keys_keep_their_order():
    assert list(
        read_text("a: &a {x: 1, y: 2}\nb: &b {z: 0, x: 5}\nc: {w: 1, <<: [*a, *b], y: 3}", "text")["c"].items()
    ) == [
        ("z", 0),
        ("x", 1),
        ("y", 3),
        ("w", 1),
    ]


def test_a_folder_is_no_yaml_file(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        read_yaml(tmp_path)


def test_assignments_of_the_command_line():
    assert read_assignments(["seed=1", "studies=[davchev]", "davchev={target: no}", "label="]) == {
        "seed": 1,
        "studies": ["davchev"],
        "davchev": {"target": "no"},
        "label": None,
    }
    for words, said in (
        (["seed=1", "seed=2"], "'seed' is given twice"),
        (["seed"], "is no KEY=VALUE"),
        (["a=[1"], "--config a, line 1"),
    ):
        with pytest.raises(UserError, match=said):
            read_assignments(words)


# ---- whose mistake -------------------------------------------------------------------------------------------------


def test_the_head_names_the_file_that_has_the_mistake(tmp_path):
    (tmp_path / "own.yaml").write_text("extends: digits\nmachine: {threads: 0}\n", encoding="utf-8")
    user = [
        Layer("config.yaml", SHIPPED | DAVCHEV | {"seed": -1, "scale": str(tmp_path / "own.yaml")}),
        Layer("my.yaml", {"davchev": {"attacks": {"WB-PGD": {"eps": 8}}, "schedules": {"transfer": {"epochs": 16}}}}),
        Layer("--config", {"sed": 1}),
    ]
    with pytest.raises(UserError) as caught:
        effective(user, WORKFLOW)
    parts = re.split(r"^(\S.*):$", str(caught.value), flags=re.MULTILINE)[1:]
    said = dict(zip(parts[::2], parts[1::2], strict=True))
    assert "seed: -1" in said.pop("config.yaml has mistakes")
    assert "WB-PGD.eps: 8 is over 1" in said["my.yaml has mistakes"]
    assert "transfer.milestones: 16 lies" in said.pop("my.yaml has mistakes")
    assert "sed: unknown key" in said.pop("--config has mistakes")
    assert "machine.threads: 0 is not allowed" in said.popitem()[1] and not said


def test_the_head_names_all_files_where_none_has_the_place():
    layers = [Layer("my.yaml", {"datasets": {"digits-high": {"validation": 0}}})]
    with pytest.raises(
        UserError, match=r"^config\.yaml and my\.yaml have mistakes:\n  - davchev\.schedules\.natural\.sel"
    ):
        make_plan(SHIPPED | DAVCHEV, WORKFLOW, layers)


# ---- where values come from ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("study", PAPERS)
def test_the_printed_config_is_a_config_and_plans_the_same(study):
    config = SHIPPED | {"studies": [study], "main_study": study}
    lines = as_lines(effective([Layer("config.yaml", config)], WORKFLOW))
    printed = read_text("\n".join(lines), "printed")
    assert set(printed) > {"scale", "machine", study}
    assert make_plan(printed, WORKFLOW).nodes == make_plan(config, WORKFLOW).nodes


def test_each_value_has_its_layer_and_its_switch():
    found = values({"protocol": "paper", "switches": {"D15": "code"}, "seed": 4})
    steps, labels = found["davchev.attacks.WB-PGD.steps"], found["davchev.attacks.train-FGSM.labels"]
    assert steps[1:] == (7, str(steps.layer), "D15: code") and steps.layer.endswith("workflow/recipes/davchev.yaml")
    assert (labels.value, labels.switch) == ("predicted", "D13: paper")
    assert found["davchev.attacks.WB-PGD.eps"].layer.endswith("workflow/scales/digits.yaml")
    assert found["davchev.attacks.WB-PGD.restarts"][1:] == (1, "default", None)
    assert found["seed"][1:3] == (4, "layer0")
    assert found["davchev.schedules.transfer.seed"][1:3] == (4, "layer0"), "the config's own, unless given"


def test_a_part_of_the_config():
    found = list(values().values())
    assert {value.keys[1] for value in narrowed(found, "davchev.depths")} == {"depths"}
    assert [value.value for value in narrowed(found, "davchev.depths.1")] == ["head"]
    with pytest.raises(UserError, match=r"davchev\.attack is not in the config \(did you mean davchev\.attacks\?\)"):
        narrowed(found, "davchev.attack")


# ---- the command line, and docs/config.md --------------------------------------------------------------------------


def blocks():
    """The code blocks of docs/config.md that are for files of one's own and for the screen."""
    return re.findall(
        r"^```(?:yaml)?\n(.*?)^```$", (REPOSITORY / "docs/config.md").read_text(encoding="utf-8"), re.M | re.S
    )


def test_the_page_says_what_happens(workspace, tmp_path):
    my, quick, shown = blocks()
    file = tmp_path / "my.yaml"
    file.write_text(f"{my}scale: quick.yaml\n", encoding="utf-8")
    (tmp_path / "quick.yaml").write_text(quick, encoding="utf-8")
    printed = workspace.robust_transfer("config", "davchev", "--configfile", str(file)).stdout
    spaceless = re.sub(" +", " ", printed.replace(f"{tmp_path}/", ""))
    assert all(re.sub(" +", " ", line) in spaceless for line in shown.splitlines())
    found = json.loads(workspace.robust_transfer("config", "--json", "--configfile", str(file)).stdout)
    assert found["davchev.schedules.transfer.iterations"] == {"value": 400, "layer": str(file), "switch": None}
    assert found["davchev.schedules.transfer.epochs"]["layer"] == "default"
    assert found["davchev.attacks.WB-FGSM.steps"]["value"] == 1

    # Snakemake plans by the same layers, and a mistake there has the same sentence.
    workspace.snakemake("--dry-run", "--quiet", "--configfile", str(file), "--config", "seed=1")
    (plan,) = (workspace.results / "plans").glob("*.json")
    nodes = make_plan(
        merged(SHIPPED, read_yaml(file)) | {"seed": 1, "scale": str(tmp_path / "quick.yaml")},
        WORKFLOW,
        [Layer("my.yaml", read_yaml(file)), Layer("--config", {"seed": 1, "scale": str(tmp_path / "quick.yaml")})],
    ).nodes
    assert set(json.loads(plan.read_text(encoding="utf-8"))["nodes"]) == set(nodes)


def test_the_same_mistake_in_every_layer(workspace, tmp_path):
    file = tmp_path / "my.yaml"
    file.write_text("seed: -1\n", encoding="utf-8")
    for head, words in ((file, ("--configfile", str(file))), ("--config", ("--config", "seed=-1"))):
        done = workspace.snakemake("--dry-run", *words, check=False)
        assert done.returncode == 1
        wanted = "at least 0 (seed: seed of every initialisation, order, augmentation and random start)"
        assert done.stdout.strip() == f"{head} has mistakes:\n  - seed: -1 is not allowed; wanted: {wanted}"
    file.write_text("seed: 1\nseed: 2\n", encoding="utf-8")
    said = workspace.snakemake("--dry-run", "--configfile", str(file), check=False).stdout.strip()
    assert said == f"{file}, line 2, column 1: the key 'seed' is given twice; mend the YAML there"
    done = workspace.robust_transfer("config", "--configfile", str(file), check=False)
    assert (done.returncode, done.stdout.strip()) == (1, said)
