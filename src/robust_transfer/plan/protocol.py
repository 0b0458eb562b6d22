"""The places where a paper and its authors' code disagree, as named switches.

A value that depends on a switch is written in the YAML files as a mapping with the switch's name as its only key:

    batch_size: {D12: {paper: 100, code: 128, corrected: 100}}

`protocol` in config.yaml sets every switch; `switches` sets single ones, or all parts (D6a, D6b, ...) of a compound one
(D6). `paper` does what the text says, `code` what the authors' code does, `corrected` what is methodically right.
`as_published` is what made the paper's own tables, as far as it is known: `code`, but where a switch has that position.
"""

import re
from collections.abc import Mapping
from string import ascii_lowercase
from typing import Any, Literal, NamedTuple, get_args

Protocol = Literal["paper", "code", "corrected", "as_published"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
POSITIONS = PROTOCOLS[:3]
"""Those that every switch has."""


class Switch(NamedTuple):
    """A disagreement: the study in whose paper it is, what it is about, and what each position means."""

    study: str
    topic: str
    paper: str
    code: str
    corrected: str
    as_published: str | None = None

    @property
    def positions(self) -> tuple[Protocol, ...]:
        """Those that it has."""
        return PROTOCOLS if self.as_published else POSITIONS


SWITCHES: dict[str, Switch] = {
    "D1": Switch(
        study="renofeation",
        topic="the feature attack's space",
        paper="eps (0.1) in pixels",
        code="eps in normalised units (5.8/255 of the pixels), and a clip at ±2.2 that leaves the budget",
        corrected="the code's size, in pixels, kept",
    ),
    "D2": Switch(
        study="renofeation",
        topic="the feature attack's loss",
        paper="squared distance to the target vector",
        code="the other features averaged, times 0.1",
        corrected="as paper",
    ),
    "D3": Switch(
        study="renofeation",
        topic="learning rate; dropout while averaged weights get their statistics",
        paper="constant; off",
        code="cosine to zero; on",
        corrected="cosine to zero; off",
    ),
    "D4a": Switch(
        study="cartl",
        topic="batch norm's statistics in learning without forgetting",
        paper="as Shafahi: frozen",
        code="updated",
        corrected="frozen",
    ),
    "D4b": Switch(
        study="cartl",
        topic="length of learning without forgetting",
        paper="as Shafahi: 20,000 iterations, the first half for the head alone",
        code="52 epochs, 25 of them for the head alone",
        corrected="as Shafahi",
    ),
    "D4c": Switch(
        study="cartl",
        topic="weights kept of learning without forgetting",
        paper="the last",
        code="those of the best epoch on *test* images (here on validation images)",
        corrected="the last",
    ),
    "D4d": Switch(
        study="cartl",
        topic="lambda_d of learning without forgetting where the paper names none",
        paper="Shafahi's code's, 0.005",
        code="the same",
        corrected="chosen on validation images by accuracy and robustness",
    ),
    "D5": Switch(
        study="cartl",
        topic="batch norm statistics of the frozen part in NEFT",
        paper="frozen, as in plain fine-tuning",
        code="updated",
        corrected="frozen",
    ),
    "D6a": Switch(
        study="cartl",
        topic="weights of a target's new head",
        paper="not said: PyTorch's",
        code="from U[0, 1)",
        corrected="PyTorch's",
    ),
    "D6b": Switch(
        study="cartl",
        topic="normalisation of sources other than CIFAR-100",
        paper="not said: by their own statistics",
        code="by CIFAR-100's",
        corrected="by their own statistics",
    ),
    "D6c": Switch(
        study="cartl",
        topic="rotation of CIFAR's training images",
        paper="not said: none",
        code="by up to 15 degrees",
        corrected="none",
    ),
    "D6d": Switch(
        study="cartl",
        topic="weights kept of a source",
        paper="not said: the last",
        code="those of the epoch most robust on *training* images (here the last)",
        corrected="those of the epoch most robust on validation images",
    ),
    "D6e": Switch(
        study="cartl",
        topic="beta of NEFT without FDM in table 3",
        paper="not said: that of CARTL, 0.4",
        code="0.6",
        corrected="that of CARTL",
    ),
    "D7a": Switch(
        study="shafahi",
        topic="distance of features in learning without forgetting (cartl's too)",
        paper="l2",
        code="l1",
        corrected="l1, to which the printed λ belong",
    ),
    "D7b": Switch(
        study="shafahi",
        topic="learning rate of learning without forgetting (cartl's too)",
        paper="0.01, as in appendix A.1",
        code="0.001, as in section 6",
        corrected="as code",
    ),
    "D7c": Switch(
        study="shafahi",
        topic="batch norm's scale and shift in learning without forgetting (cartl's too)",
        paper="not trained",
        code="trained",
        corrected="as code",
    ),
    "D8": Switch(
        study="vaishnavi",
        topic="evaluation",
        paper="one run of auto-PGD; 500 evenly spaced images certified",
        code="five runs (and Square, which is not run here); one image in every whole step",
        corrected="five runs; 500 images",
    ),
    "D9": Switch(
        study="vaishnavi",
        topic="length of adversarial training on a target",
        paper="not said: a fixed schedule",
        code="by robust accuracy on the *test* set",
        corrected="the same on a validation split",
    ),
    "D10": Switch(
        study="vaishnavi",
        topic="normalisation on a target",
        paper="not said: the source's",
        code="mean 0, deviation 1 (but CIFAR)",
        corrected="the source's",
    ),
    "D11": Switch(
        study="vaishnavi",
        topic="batch norm statistics where the last layer alone trains",
        paper="frozen",
        code="updated",
        corrected="frozen",
    ),
    "D12": Switch(
        study="davchev",
        topic="batch of adversarial training",
        paper="100 clean + 100 adversarial",
        code="128 + 128",
        corrected="as paper",
    ),
    "D13": Switch(
        study="davchev",
        topic="label that FGSM training ascends",
        paper="predicted (against label leaking)",
        code="true",
        corrected="predicted",
        as_published="predicted: between two commits the code did so, and Table 1 has those runs",
    ),
    "D14": Switch(
        study="davchev",
        topic="what depth 12 trains",
        paper="the last 6 blocks (12 convolutions)",
        code="the whole last stage (18)",
        corrected="as code",
    ),
    "D15": Switch(
        study="davchev",
        topic="PGD at test",
        paper="7 steps, no random start",
        code="the same",
        corrected="20 steps, random start",
    ),
    "D16": Switch(
        study="davchev",
        topic="batch norm statistics of the frozen part",
        paper="frozen",
        code="updated",
        corrected="frozen",
    ),
    "D17": Switch(
        study="renofeation",
        topic="penalty on the head",
        paper="β‖·‖²",
        code="½β‖·‖²",
        corrected="as paper",
    ),
    "D18": Switch(
        study="renofeation",
        topic="where a grid search chooses",
        paper="on test images",
        code="on test images; at paper scale DELTA's and DELTA-R's values are given, as the scripts have them",
        corrected="on validation images, held out of the training images",
    ),
    "D19": Switch(
        study="renofeation",
        topic="L2-SP beside its term",
        paper="the head is free; weight decay as fine-tuning chose it",
        code="the head is pulled to where it began; no weight decay",
        corrected="as paper",
    ),
    "D20": Switch(
        study="renofeation",
        topic="dropout before MobileNetV2's head",
        paper="not said: none",
        code="0.2, as torchvision has it",
        corrected="none",
    ),
    "D21": Switch(
        study="renofeation",
        topic="training images of the feature loss in table 3 and figure 2",
        paper="as they are",
        code="augmented",
        corrected="as they are",
    ),
    "D22": Switch(
        study="renofeation",
        topic="neurons that the attack drives, one at a time",
        paper="not said: neuron 0",
        code="neuron 0",
        corrected="several, drawn by the seed; rates are means over them",
    ),
    "D23": Switch(
        study="shafahi",
        topic='what "fine-tuned with AT" trains in figure 3',
        paper="the last layer, as in appendix A.2",
        code="not released: as paper",
        corrected="the whole network, as Hendrycks et al. 2019, whom section 4.2 follows",
    ),
}


def group_of(switch: str) -> str:
    """The compound switch that a part belongs to: D6 of D6a; a switch without parts is its own."""
    return switch.rstrip(ascii_lowercase)


NAMES = tuple(dict.fromkeys(name for switch in SWITCHES for name in (group_of(switch), switch)))
"""What `switches` may set: every switch, and compound ones with all their parts."""


def parts_of(name: str) -> list[str]:
    """The switches that a name sets."""
    return [switch for switch in SWITCHES if name in (switch, group_of(switch))]


def chosen(protocol: Any, switches: Mapping[str, Any]) -> dict[str, str]:
    """Switch -> protocol. A part that is set stands over its compound switch. A wrong protocol counts as `corrected`,
    so that other mistakes can be found beside it.
    """
    found = dict.fromkeys(SWITCHES, protocol if protocol in PROTOCOLS else "corrected")
    for name in sorted(switches, key=SWITCHES.__contains__):
        if switches[name] in PROTOCOLS:
            found |= dict.fromkeys(parts_of(name), switches[name])
    return found


def set_apart(protocol: Protocol, switches: Mapping[str, Protocol]) -> dict[str, str]:
    """The switches that do not follow the protocol, and what they follow; a compound one whose parts agree is named
    itself.
    """
    choices, apart = chosen(protocol, switches), {}
    for switch, choice in choices.items():
        agree = {choices[part] for part in parts_of(group_of(switch))} == {choice}
        if choice != protocol:
            apart[group_of(switch) if agree else switch] = choice
    return apart


def is_switched(value: Any) -> bool:
    """Whether a YAML value is of the form {D12: {...}}."""
    return isinstance(value, dict) and len(value) == 1 and _is_name(next(iter(value)))


def _is_name(key: Any) -> bool:
    return isinstance(key, str) and re.fullmatch(r"D[0-9]+[a-z]?", key) is not None


def resolve(value: Any, choices: dict[str, str], mistakes: list[str], path: str = "") -> Any:
    """Replace every switched value, at any depth, by the one its switch selects.

    choices: switch -> protocol. mistakes: sentences are appended here, so that all of them can be shown at once.
    """
    if is_switched(value):
        (switch, options), *_ = value.items()
        if switch not in SWITCHES:
            mistakes.append(f"{path}: unknown switch {switch}; the switches are {', '.join(SWITCHES)}")
            return None
        positions = SWITCHES[switch].positions
        if not isinstance(options, dict) or set(options) != set(positions):
            each = f"{', '.join(positions[:-1])} and {positions[-1]}"
            mistakes.append(f"{path}: switch {switch} wants a value for each of {each}, and no other")
            return None
        position = choices[switch]
        return resolve(options[position if position in positions else "code"], choices, mistakes, path)
    if isinstance(value, dict):
        return {key: resolve(item, choices, mistakes, f"{path}.{key}".strip(".")) for key, item in value.items()}
    if isinstance(value, list):
        return [resolve(item, choices, mistakes, f"{path}[{i}]") for i, item in enumerate(value)]
    return value
