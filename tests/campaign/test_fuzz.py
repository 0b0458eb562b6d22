"""Hostile configs and data files, seeded: each ends in a plan, or a data set, that is sound, or in a sentence.

`python -m pytest -m campaign tests/campaign/test_fuzz.py -s` says how many there were and how they ended.
"""

import json
import os
import random
import re
import traceback
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from robust_transfer.canonical import canonical_json
from robust_transfer.data import tensors
from robust_transfer.errors import UserError
from robust_transfer.plan import layers
from robust_transfer.plan.graph import Plan
from robust_transfer.stages import prepare
from robust_transfer.stages.node import KINDS
from robust_transfer.studies import STUDIES, make_plan
from workspace import REPOSITORY, planned

pytestmark = pytest.mark.campaign
CONFIGS, DATA_FILES = 600, 260
WORKFLOW = REPOSITORY / "workflow"


def counted(what, count, attempt):
    """Make so many attempts (of a number, which is their seed) and say how they ended; an exception is a failure."""
    ended, faults = Counter(), []
    for number in range(count):
        try:
            ended[attempt(number)] += 1
        except UserError as error:
            str(error).encode()  # any terminal can show it
            assert len(str(error)) > 20, error
            ended["refused in a sentence"] += 1
        except Exception as error:
            faults.append(f"{what} {number}: {''.join(traceback.format_exception(error, limit=-3))}")
    print(f"\n{count} {what}: {dict(ended)}, {len(faults)} other exceptions")
    assert not faults, "\n\n".join(faults)
    return ended


# ---- configs -------------------------------------------------------------------------------------------------------

VALUES = """
null|~|true|no|on|Off|''|' '|0|-1|1|2|3|-0.0|0.5|1.5|1e308|1e-308|1e-400|1e400|-1e400|.inf|-.inf|.nan|.5|5.|+1
1_000|010|0o17|0x1F|0b11|12:30|190:20:30|2020-01-01|2020-01-01 10:00:00|18446744073709551616
-9223372036854775808|NINES|1e-4|'1e-4'|8/255|0/255|8/0|0/0|-8/255|/|8/|/255|1/2/3|eps/4|eps/0|eps/-1|eps/1e400
eps/eps|eps|eps*2|125.3|255|64|nan|inf|infinity|[]|{}|[[]]|[null]|[0]|[1, 2, 3]|[true]|['']|[a, a]|{a: b}
{'': 1}|{1: 2}|{null: 1}|{true: 1}|{1.5: 2}|[{}, {}]|{a: {a: {a: 1}}}|!!set {a, b}|!!omap [a: 1]
!!binary aGVsbG8=|!!python/object/apply:os.system [ls]|!!int x|!!float y|!!bool 2|!!str 1|!!null x|!own z
&a [*a]|&a {a: *a}|*unknown|&a 1|"\\ud800"|"\\0"|"\\x07"|"a\\nb"|"é"|"日本語"|"\\u202e"|LONG|DEEP|WIDE|'{'|'['
'"'|'%'|'@x'|'`'|- a|digits|digits-low|digits-high|mine|resnet|densenet|davchev|custom|paper|code|corrected
{D15: code}|{D15: {paper: 1, code: 2}}|{D99: code}|{D15: {paper: {}, code: []}}|{paper: 1}|all|head|stem
{last: 1}|{last: 0}|{last: 999, of: blocks}|linf|l2|pgd|fgsm|free|test|validation|train|steps|cosine|plateau
best_validation|last|../../etc/passwd|/etc/passwd|/dev/zero|~|$HOME|a/b|-x|a.b|'a b'|':'
{source: npz, file: mine.npz}|{source: npz, file: ''}|{source: npz, file: /}
{source: folder, folder: '', size: 8}|{source: sklearn-digits, test: 0.999}
{source: sklearn-digits, classes: [0, 99]}|{source: sklearn-digits, limit: 1}
{source: sklearn-digits, validation: 0}|{source: torchvision, name: cifar10}
{source: collection, name: imagenet}|{family: cifar-resnet, depth_per_stage: [1], width: 1}
{family: cifar-densenet, layers_per_block: [1], growth: 1}|{family: timm, name: vit_tiny_patch16_224}
{family: timm, name: x, options: {global_pool: ''}}|{family: torchvision, name: resnet18}
{algorithm: pgd, eps: 0.1, steps: 1, step_size: eps/4, random_start: true}
{algorithm: square, eps: 0.1, norm: l2, queries: 5}|{algorithm: apgd, eps: 0, steps: 1}
{algorithm: fgsm, eps: 1}|{algorithm: autoattack, eps: 0.1}|{algorithm: feature, eps: 0.1}
{epochs: 1, batch_size: 20, lr: 0.1}|{epochs: 1, iterations: 1, batch_size: 20, lr: 0.1}
{iterations: 1, batch_size: 20, lr: 0.1}|{sigma: 64}|{sigma: 0.25, n: 10}
{sigma: 0.25, n: 10, n0: 1, images: 1}|{mean: 125.3}|{mean: [0.5, 0.5], std: 0.5}|per-image
"""
SPELT_OUT = {"NINES": "9" * 5000, "LONG": "x" * 5000, "DEEP": "[" * 60 + "]" * 60, "WIDE": f"[{'1, ' * 3000}1]"}
VALUES = [SPELT_OUT.get(text, text) for line in VALUES.strip().splitlines() for text in line.split("|")]
NUMBERS = ["0", "1", "2", "3", "7", "100", "0.01", "0.3", "1.0", "1e-3", "8/255", "true", "null"]
"""What may be meant where a number stands."""

TEXTS = [
    b"a: &a [1, 2]\nb: *a\n",
    b"x: &x {seed: 1}\n<<: *x\n",
    b"<<: [1]\n",
    b"<<: {seed: 2}\nseed: 3\n",
    b"seed: 1\nseed: 2\n",
    b"? [seed]\n: 1\n",
    b"? {seed: 1}\n: 1\n",
    b"? seed\n",
    b"\tseed: 1\n",
    b"seed:\t1\n",
    b"seed: 1\n---\nseed: 2\n",
    b"---\nseed: 1\n...\n",
    b"%YAML 1.1\n---\nseed: 010\n",
    b"%TAG ! tag:x,2000:\n---\nseed: !y 1\n",
    b"\xef\xbb\xbfseed: 1\n",
    "seed: 1\n".encode("utf-16"),
    b"seed: \xff\n",
    b"seed: 1\x00\n",
    b"seed: 1\x85\n",
    "séed: 1\n".encode(),
    b"",
    b"\n\n# nothing\n",
    b"null\n",
    b"[]\n",
    b"- seed: 1\n",
    b"text\n",
    b"1\n",
    b"{",
    b"seed: [1\n",
    b"seed: 'x\n",
    b"seed: |\n",
    b"seed: >2\n  1\n",
    b"[" * 100_000,
    b"{a: " * 100_000,
    b"- " * 100_000,
    b"? " * 100_000,
    b"a: &a [x, x, x, x, x, x, x, x, x, x]\nb: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]\n"
    b"c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]\nd: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c]\n"
    b"e: &e [*d, *d, *d, *d, *d, *d, *d, *d, *d, *d]\nf: [*e, *e, *e, *e, *e, *e, *e, *e, *e, *e]\n",
    b"davchev: &d {attacks: *d}\n",
    b"extends: digits\n",
    b"scale: ../../config.yaml\n",
    b"scale: config.yaml\n",
    b"scale: no.yaml\n",
    b"!!python/object/new:os.system [ls]\n",
    b"seed: 0b1\n",
    b"1: 2\n",
    b"null: 1\n",
    b"'': 1\n",
    b"true: 1\n",
    b"davchev.seed: 1\n",
]

SHORT = "{epochs: 2, batch_size: 20, lr: 0.1}"
OWN = f"""
custom:
  sources: {{Low: {{data: digits-low, network: resnet, recipe: {{schedule: {SHORT}}}}}}}
  targets: {{High: digits-high}}
  methods: {{Head: {{recipe: {{trainable: head, schedule: {SHORT}}}}}}}
  attacks: {{PGD: {{algorithm: pgd, eps: 0.25, steps: 20, step_size: eps/4, random_start: true}}}}
  certification: {{RS: {{sigma: 0.25, n: 100, images: 5}}}}
"""


def paths_of(values, path=()):
    """Every place in a config, as its keys, and the value there."""
    if isinstance(values, dict):
        for key, value in values.items():
            yield (*path, key), value
            yield from paths_of(value, (*path, key))


@pytest.fixture(scope="module")
def places():
    """For each study the places of a config: its own section's and those of all."""
    found = {}
    for study in STUDIES:
        section = {"custom": layers.read_assignments([f"custom={OWN.strip().partition('custom:')[2]}"])["custom"]}
        values = planned(study, **(section if study == "custom" else {})).origin["config"]
        found[study] = list(paths_of({k: v for k, v in values.items() if k == study or k not in STUDIES}))
    return found


def written(path, text):
    """A value at a place, as block YAML."""
    lines = [f"{'  ' * depth}{json.dumps(str(key))}:" for depth, key in enumerate(path)]
    return "\n".join(lines) + f" {text}\n"


def nested(path, text):
    """A value at a place, as a KEY=VALUE of the command line."""
    first, *others = path
    return f"{first}=" + "".join(f"{{{json.dumps(str(key))}: " for key in others) + text + "}" * len(others)


@pytest.fixture
def hostile_config(tmp_path, places):
    """config -> how planning it ended."""

    def attempt(number):
        draw = random.Random(number)
        study = draw.choice(["davchev"] * 4 + ["custom"] * 4 + list(STUDIES))
        base = f"scale: digits\nstudies: [{study}]\nmain_study: {study}\n" + OWN * (study == "custom")
        config, second, assigned = tmp_path / "config.yaml", tmp_path / "second.yaml", []
        over = {"config": b"", "second": b""}
        for _ in range(draw.choice([1, 1, 1, 2, 4])):
            place, value = draw.choice(places[study])
            path = list(place)
            if draw.random() < 0.15:
                path[draw.randrange(len(path))] = draw.choice(["x", "", "12", "label", "Épsilon", "a.b", "a[0]"])
            likely = NUMBERS if isinstance(value, int | float) and draw.random() < 0.7 else VALUES
            text, where = draw.choice(likely), draw.random()
            if where < 0.6:
                over["second"] = written(path, text).encode(errors="surrogatepass")
            elif where < 0.8:
                assigned = [nested(path, text)]
            elif path[0] not in ("scale", "studies", "main_study", "custom"):
                over["config"] = written(path, text).encode(errors="surrogatepass")
        if draw.random() < 0.2:
            over[draw.choice(["config", "second"])] = draw.choice(TEXTS)
        config.write_bytes(base.encode() + over["config"])
        second.write_bytes(over["second"])
        first, *rest = layers.of_user(config, [second], assigned)
        plan = make_plan(first.values, WORKFLOW, rest)
        must_be_sound(plan)
        return "planned"

    return attempt


def must_be_sound(plan):
    """Ids, names, parents, specs and products fit, and the plan comes back from its file."""
    for i, node in plan.nodes.items():
        assert node.id == i and re.fullmatch(r"[A-Za-z0-9_.+-]+\.[0-9a-f]{12}", i) and len(f"{i}.safetensors") < 256, i
        assert i[0] not in ".-", i
        assert all(parent in plan.nodes for parent in node.parents.values())
        kind = KINDS[node.kind]
        assert kind.parse(node.spec).canonical() == node.spec, i
        json.dumps(kind.full(node.spec), allow_nan=False)
    for product in plan.products.values():
        assert all(i in plan.nodes for i in product.nodes)
        assert re.fullmatch(r"[a-z]+(/[A-Za-z0-9_]+)*", product.stem), product.stem
    content = plan.to_json()
    assert canonical_json(Plan.from_json(json.loads(canonical_json(content))).to_json()) == canonical_json(content)


def test_hostile_configs(hostile_config):
    ended = counted("configs", CONFIGS, hostile_config)
    assert ended["planned"] > CONFIGS / 20 and ended["refused in a sentence"] > CONFIGS / 4


# ---- data files ----------------------------------------------------------------------------------------------------


IMAGES = [
    lambda x: x.astype(np.uint8),
    lambda x: x.astype(np.uint8),
    lambda x: x.astype(np.uint8),
    lambda x: x.astype(np.uint8),
    lambda x: x.astype(np.uint8)[..., 0],
    lambda x: x.astype(np.uint8).transpose(0, 3, 1, 2),
    lambda x: x.astype(np.uint8).reshape(len(x), -1),
    lambda x: (x / 255).astype(np.float32),
    lambda x: (x / 127.5 - 1).astype(np.float16),
    lambda x: np.where(x > 250, np.nan, x / 255),
    lambda x: np.where(x > 250, np.inf, x),
    lambda x: x > 128,
    lambda x: (x > 128).astype(np.uint8),
    lambda x: (x // 10).astype(np.uint8),
    lambda x: (x * 257).astype(np.uint16),
    lambda x: (x * 2.0**40).astype(np.int64),
    lambda x: x - 128,
    lambda x: x.astype(np.complex64),
    lambda x: x.astype(str),
    lambda x: x.astype(object),
    lambda x: x.astype("datetime64[s]"),
    lambda x: np.float64(0.5),
    lambda x: np.asfortranarray(x.astype(np.uint8)),
    lambda x: x.astype(">i4"),
    lambda x: x.astype(np.uint8)[:, :, :0],
    lambda x: np.zeros(len(x), [("a", np.uint8), ("b", np.uint8)]),
]
LABELS = [
    lambda y, _: y,
    lambda y, _: y,
    lambda y, _: y,
    lambda y, _: y[:, None],
    lambda y, _: y[None],
    lambda y, classes: np.eye(classes, dtype=np.uint8)[y],
    lambda y, classes: np.eye(classes)[y] * 0.9,
    lambda y, _: y + 1,
    lambda y, _: y * 1000,
    lambda y, _: y - 1,
    lambda y, _: -y,
    lambda y, _: y.astype(np.float32),
    lambda y, _: y + 0.5,
    lambda y, _: np.where(y == 1, np.nan, y),
    lambda y, _: y.astype(np.uint64) + np.uint64(2**63),
    lambda y, _: y.astype(bool),
    lambda y, _: y.astype(str),
    lambda y, _: np.array(["", "b", "c", "d"])[y],
    lambda y, _: np.array(["é", "日本", "c", "\ud800"])[y],
    lambda y, _: np.array([b"a", b"\xff", b"c", b"d"])[y],
    lambda y, _: y.astype(object),
    lambda y, _: y[:-1],
    lambda y, _: np.full(len(y), -1),
    lambda y, _: np.int64(3),
    lambda y, _: y.astype(complex),
]


def arrays(draw, random_):
    """Images and labels of a split in one of the forms, right and wrong, in which people have them."""
    strange = draw.choice(["images", "labels", "counts", "nothing"])
    n, size, classes, channels = 40, 8, draw.choice([2, 4]), draw.choice([1, 3])
    if strange == "counts":
        n, size = draw.choice([0, 1, 2, 7, 20]), draw.choice([1, 2, 3])
        classes, channels = draw.choice([1, 2, 4]), draw.choice([1, 2, 3, 4, 5])
    images = random_.randint(0, 256, (n, size, size, channels)).astype(np.uint8)
    labels = np.arange(n) % classes
    if strange == "images":
        images = draw.choice(IMAGES)(images.astype(np.int64))
    if strange == "labels":
        labels = draw.choice(LABELS)(labels, classes)
    return images, labels


def npz(draw, root):
    """An .npz file, whole or damaged, and the data set that names it."""
    random_ = np.random.RandomState(draw.randrange(2**32))
    same = draw.random() < 0.6
    train = arrays(draw, random_)
    test = train if same else arrays(draw, random_)
    content = dict(zip(("train_images", "train_labels", "test_images", "test_labels"), (*train, *test), strict=True))
    if draw.random() < 0.15:
        content.pop(draw.choice(list(content)))
    if draw.random() < 0.1:
        content["train_jpeg"], content["train_offsets"] = (
            np.zeros(9, np.uint8),
            np.array(draw.choice([[0, 9], [0], [9, 0], [-1, 99], [0.5, 1]])),
        )
        content.pop("train_images", None)
    path = root / "mine.npz"
    draw.choice([np.savez, np.savez_compressed])(path, **content)
    damaged(draw, path, 0.25)
    return {"reader": "npz", "file": "mine.npz"}


def damaged(draw, path, share):
    """Damage a file in one of several ways, with some probability."""
    if draw.random() > share:
        return
    content = bytearray(path.read_bytes())
    how = draw.choice(["flip", "flip", "flips", "cut", "empty", "text", "append", "folder", "dangling"])
    for _ in range({"flip": 1, "flips": 50}.get(how, 0)):
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    content = {
        "cut": content[: draw.randrange(len(content))],
        "empty": b"",
        "text": b"no file of this kind",
        "append": content + b"x",
    }.get(how, content)
    path.unlink()
    if how == "folder":
        path.mkdir()
    elif how == "dangling":
        path.symlink_to("nowhere")
    else:
        path.write_bytes(content)


KINDS_OF_PICTURE = """
L.png 1.png P.png RGBA.png LA.png I;16.png CMYK.jpg P.gif RGB.bmp RGB.webp RGB.tiff L.pgm F.tiff I.tiff RGB.JPEG
turned.jpg animated.gif
"""


def picture(draw, path, kind="RGB.png"):
    """One picture file, of some mode and ending, at a path without one."""
    mode, ending = kind.split(".")
    size = draw.choice([(8, 8), (8, 8), (5, 9), (1, 1), (40, 2)])
    noise = np.random.RandomState(draw.randrange(2**32)).randint(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image, about = Image.fromarray(noise), {}
    if mode in ("I;16", "F", "I"):
        image = Image.new(mode, size, draw.randrange(200))
    elif mode == "turned":
        about["exif"] = Image.Exif()
        about["exif"][0x0112] = draw.choice([1, 3, 6, 8, 0, 99])
    elif mode == "animated":
        about = {"save_all": True, "append_images": [Image.new("RGB", size, "red")]}
    else:
        image = image.convert(mode)
    file = path.with_suffix(f".{ending}")
    image.save(file, **about)
    return file


NAMES = ["a", "b", "c", "0", "10", "9", "é", "日本", "-x", "a b", "a.png", "'", "$x", ".hidden", "__MACOSX", "x" * 200]


def folders(draw, root):
    """A folder of pictures, in which something may be strange; and the data set that names it."""
    names = draw.sample(NAMES, 3)
    files, strange = [], draw.choice(["kinds", "oddity", "damage", "counts", "nothing"])
    for split in ("train", "test"):
        for name in names[: draw.choice([1, 2, 3]) if strange == "counts" else 3]:
            of_class = root / "mine" / split / name
            of_class.mkdir(parents=True)
            count = draw.choice([0, 1, 2, 6]) if strange == "counts" else 6
            kinds = (
                ["RGB.png", draw.choice(KINDS_OF_PICTURE.split())] if strange == "kinds" and not files else ["RGB.png"]
            )
            files += [picture(draw, of_class / f"{place}", draw.choice(kinds)) for place in range(count)]
    if strange == "oddity":
        oddity(draw, files[0].parent)
    if strange == "damage":
        damaged(draw, draw.choice(files), 1)
    return {"reader": "folder", "folder": "mine", "size": draw.choice([1, 4, 8, 16])}


def oddity(draw, folder):
    """Something that is no picture, put into a class's folder."""
    how = draw.randrange(11)
    if how == 0:
        (folder / "loop").symlink_to(folder)
    elif how == 1:
        (folder / "gone.png").symlink_to("nowhere")
    elif how == 2:
        Path(os.fsdecode(bytes(folder) + b"/caf\xe9.png")).write_bytes(b"no picture")
    elif how == 3:
        (folder / "deeper").mkdir()
        Image.new("RGB", (8, 8)).save(folder / "deeper" / "1.png")
    elif how == 4:
        (folder / "Thumbs.db").write_bytes(b"x")
    elif how == 5:
        (folder / ".DS_Store").write_bytes(b"x")
    elif how == 6:
        os.mkfifo(folder / "pipe.png")
    elif how == 7:
        (folder / "zero.png").symlink_to("/dev/zero")
    elif how == 8:
        (folder / "text.png").write_text("no picture")
    elif how == 9:
        (folder / "empty.jpg").write_bytes(b"")
    else:
        Image.new("1", (30_000, 30_000)).save(folder / "bomb.png")


@pytest.fixture
def hostile_data(tmp_path):
    """number -> how preparing those data files ended, after a look at them as planning has."""

    def attempt(number):
        draw = random.Random(number)
        root = tmp_path / str(number)
        root.mkdir()
        fields = draw.choice([npz, folders])(draw, root)
        fields["validation"] = draw.choice([0, 0.2, 0.2, 0.5])
        fields |= draw.choice(
            [{}] * 8 + [{"channels": 3}, {"channels": 1}, {"limit": 3}, {"classes": [1, 0]}, {"half": "first"}]
        )
        spec = KINDS["prepare"].parse(fields)
        facts = spec.peek(root)
        output = root / "data.safetensors"
        said = prepare.run(SimpleNamespace(spec=spec, data_root=root, output=output, threads=1))
        must_be_whole(tensors.load(output), facts, said)
        return "prepared"

    return attempt


def must_be_whole(data, facts, said):
    """What was prepared is what was foreseen, and can be learnt from."""
    for name in tensors.SPLITS:
        part = data.split(name)
        assert part.kept.dtype.itemsize == 1 and part.kept.ndim == 4 and part.channels in (1, 3)
        assert len(part.kept) == len(part.labels) == said[name]
        assert not len(part) or 0 <= part.labels.min() <= part.labels.max() < said["classes"]
        if facts.images:
            assert facts.count(name) == len(part), (name, facts)
    assert data.classes >= 2 and len(data.test)
    assert facts.classes in (None, said["classes"]) and facts.channels in (None, data.channels)
    if facts.height:
        assert data.test.kept.shape[2:] == (facts.height, facts.width)


def test_hostile_data_files(hostile_data):
    ended = counted("data files", DATA_FILES, hostile_data)
    assert ended["prepared"] > DATA_FILES / 10 and ended["refused in a sentence"] > DATA_FILES / 4
