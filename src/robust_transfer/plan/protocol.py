"""The places where a paper and its authors' code disagree, as named switches.

A value that depends on a switch is written in the YAML files as a mapping with the switch's name as its only key:

    batch_size: {D12: {paper: 100, code: 128, corrected: 100}}

`protocol` in config.yaml sets every switch; `switches` sets single ones. `paper` does what the text says, `code` what
the authors' code did, `corrected` what is methodically right.
"""

from typing import Any, Literal, get_args

Protocol = Literal["paper", "code", "corrected"]
PROTOCOLS: tuple[str, ...] = get_args(Protocol)

SWITCHES: dict[str, str] = {
    "D1": "renofeation: the attack's space (text: eps 0.1 in pixels; code: 0.1 in normalised units, with a clip at 2.2 "
    "that leaves the budget; corrected: the code's size, in pixels and kept)",
    "D2": "renofeation: the attack's loss (text: squared distance to the target vector; code: the rest of it averaged)",
    "D3": "renofeation: learning rate (text: constant; code: cosine to zero), dropout while averaged weights get their "
    "statistics (code: on)",
    "D4": "cartl: learning without forgetting (text: as Shafahi et al. 2020, l2 distance, batch norm held; code: l1 "
    "distance, batch norm trained, another length, best epoch kept)",
    "D5": "cartl: batch norm statistics of the frozen part in NEFT (text: held, as in plain fine-tuning; code: drift)",
    "D6": "cartl: what the text leaves open (code: new head from U[0, 1), CIFAR-100's normalisation for all sources, "
    "rotations by 15 degrees, last epoch kept)",
    "D7": "shafahi: learning without forgetting (text: l2 distance, learning rate 0.01 as in its appendix, batch norm "
    "not trained; code: l1 distance, 0.001 as in the text's section 6, batch norm trained, its statistics held; "
    "corrected: as the code, to which the printed lambda_d belong)",
    "D8": "vaishnavi: the evaluation (text: auto-PGD, and certificates of 500 evenly spaced images; code: up to 5 runs "
    "of auto-PGD, as in corrected, then Square, which is not run here; certificates of one image in every whole step)",
    "D9": "vaishnavi: length of adversarial training on a target (text: none, so a fixed schedule here; code: lr falls "
    "and training ends by robust accuracy on the test set; corrected: on a validation split)",
    "D10": "vaishnavi: normalisation on a target (text: none, so that of the source; code: mean 0 and standard "
    "deviation 1, but for CIFAR)",
    "D11": "vaishnavi: batch norm statistics where the last layer alone trains (code lets them drift)",
    "D12": "davchev: examples in a batch (text: 100 clean + 100 adversarial; code: 128 + 128)",
    "D13": "davchev: whose label FGSM training ascends (text: the predicted, against label leaking; code: the true)",
    "D14": "davchev: what `12` unfreezes (text: 12 layers; code: the whole last stage, 18 convolutions in ResNet-56)",
    "D15": "davchev: PGD at test (text and code: 7 steps, no random start; corrected: 20 steps, random start)",
    "D16": "batch norm statistics of the frozen part (davchev's code lets them drift)",
    "D17": "renofeation: penalty on the head (text: beta times the squared length; code: half of it)",
    "D18": "renofeation: where values are chosen (text and code know no split but training and test; corrected: on "
    "validation images held out of the training part)",
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
