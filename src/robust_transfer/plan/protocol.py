"""The places where a paper and its authors' code disagree, as named switches.

A value that depends on a switch is written in the YAML files as a mapping with the switch's name as its only key:

    batch_size: {D12: {paper: 100, code: 128, corrected: 100}}

`protocol` in config.yaml sets every switch; `switches` sets single ones. `paper` does what the text says, `code` what
the authors' code did, `corrected` what is methodically right.
"""

from typing import Any, Literal, NamedTuple, get_args

Protocol = Literal["paper", "code", "corrected"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)


class Switch(NamedTuple):
    """A disagreement: the study in whose paper it is, what it is about, and what each position means."""

    study: str
    topic: str
    paper: str
    code: str
    corrected: str


SWITCHES: dict[str, Switch] = {
    "D1": Switch(
        study="renofeation",
        topic="the feature attack's space",
        paper="eps 0.1 in pixels",
        code="0.1 in normalised units, and a clip at ±2.2 that leaves the budget",
        corrected="the code's size (5.8/255), in pixels, kept",
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
    "D4": Switch(
        study="cartl",
        topic="learning without forgetting",
        paper="as Shafahi: l2, batch norm held",
        code="l1, batch norm trained, another length, best epoch kept",
        corrected="as paper",
    ),
    "D5": Switch(
        study="cartl",
        topic="batch norm statistics of the frozen part in NEFT",
        paper="held, as in plain fine-tuning",
        code="drift",
        corrected="held",
    ),
    "D6": Switch(
        study="cartl",
        topic="what the text leaves open",
        paper="PyTorch's head, the source's normalisation",
        code="head from U[0, 1), CIFAR-100's normalisation everywhere, rotations by 15 degrees, last epoch kept",
        corrected="as paper",
    ),
    "D7": Switch(
        study="shafahi",
        topic="learning without forgetting",
        paper="l2, lr 0.01 as in the appendix, batch norm not trained",
        code="l1, lr 0.001 as in section 6, scale and shift trained, statistics held",
        corrected="as code, to which the printed λ belong",
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
        paper="held",
        code="drift",
        corrected="held",
    ),
    "D12": Switch(
        study="davchev",
        topic="batch",
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
        paper="held",
        code="drift",
        corrected="held",
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
        paper="test",
        code="test",
        corrected="validation images held out of the training part",
    ),
}


def is_switched(value: Any) -> bool:
    """Whether a YAML value is of the form {D12: {...}}."""
    return isinstance(value, dict) and len(value) == 1 and _is_name(next(iter(value)))


def _is_name(key: Any) -> bool:
    return isinstance(key, str) and key[:1] == "D" and key[1:].isdigit()


def resolve(value: Any, choices: dict[str, str], mistakes: list[str], path: str = "") -> Any:
    """Replace every switched value, at any depth, by the one its switch selects.

    choices: switch -> protocol. mistakes: sentences are appended here, so that all of them can be shown at once.
    """
    if is_switched(value):
        (switch, options), *_ = value.items()
        if switch not in SWITCHES:
            mistakes.append(f"{path}: unknown switch {switch}; the switches are {', '.join(SWITCHES)}")
            return None
        if not isinstance(options, dict) or set(options) != set(PROTOCOLS):
            mistakes.append(
                f"{path}: switch {switch} wants a value for each of paper, code and corrected, and no other"
            )
            return None
        return resolve(options[choices[switch]], choices, mistakes, path)
    if isinstance(value, dict):
        return {key: resolve(item, choices, mistakes, f"{path}.{key}".strip(".")) for key, item in value.items()}
    if isinstance(value, list):
        return [resolve(item, choices, mistakes, f"{path}[{i}]") for i, item in enumerate(value)]
    return value
