"""Making a node: what happens around every stage."""

import datetime
import json
import logging
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from robust_transfer import chain, provenance, store
from robust_transfer.data.overlap import overlap_notes
from robust_transfer.errors import UserError
from robust_transfer.plan import edges
from robust_transfer.plan.graph import Plan
from robust_transfer.recipes import Recipe
from robust_transfer.specs.fields import Spec
from robust_transfer.specs.precision import precision_of
from robust_transfer.stages.job import Job, Stage
from robust_transfer.stages.node import KINDS, Node
from robust_transfer.terms import Terms

log = logging.getLogger("robust_transfer")
MODEL = KINDS["bring"].artifact
COMPOSITES = ("robust_transfer.recipes", "robust_transfer.terms")
"""Modules of specs that every training has; what they decide stands in the spec itself."""


def make(node: Node, plan: Plan, plan_name: str, results: Path, threads: int) -> None:
    """Make a node, and leave artifact and card in its folder, or neither.

    Raises:
        UserError: besides what its stage raises, where what it is made from disagrees, or changes in the meantime.
    """
    started, clock = datetime.datetime.now(datetime.UTC), time.perf_counter()
    kind = KINDS[node.kind]
    stage: Stage = import_module(f"robust_transfer.stages.{node.kind}").run
    # Asked before a run that may take hours, in which files may be edited.
    modules, git = modules_of(node, plan), provenance.git_state()
    code = provenance.fingerprint(*modules)
    spec, data_root = kind.parse(node.spec), Path(plan.origin["data_root"])
    read, files = chain.read_by(node, plan.nodes, results), chain.files_of(spec, data_root)
    folder = results / node.folder
    artifact = folder / kind.artifact
    for name in (store.CARD, *kind.beside):
        (folder / name).unlink(missing_ok=True)
    with store.replacing(artifact) as temporary:
        job = job_of(node, plan, results, threads, temporary)
        job.calm_torch()
        _must_fit(job)
        warnings = [] if node.kind == "prepare" else _seen_before(node, plan, results)
        metrics = _run(stage, job)
        now = chain.files_of(spec, data_root, files or ())
        if files is None and node.kind == "bring":  # it has fetched them
            files = now
        if (chain.read_by(node, plan.nodes, results), now) != (read, files):
            raise UserError("what it is made from changed while it was read; start again when nothing changes any more")
        if warnings:
            metrics["warnings"] = [*metrics.get("warnings", []), *warnings]
        outputs = {artifact.name: store.describe(temporary)}
    beside = {}
    for name, text in job.beside.items():
        with store.replacing(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")
            beside[name] = store.describe(temporary)
    (folder / store.RELEASED).unlink(missing_ok=True)
    store.write_card(
        folder / store.CARD,
        {
            "id": node.id,
            "kind": node.kind,
            "version": kind.version,
            "spec": node.spec,
            "full_spec": kind.full(node.spec),
            "parents": node.parents,
            "read": read,
            "data": chain.data_behind(node, plan.nodes, results, files or []),
            "files": files or [],
            "outputs": outputs,
            "beside": beside,
            "metrics": metrics,
            "plan": plan_name,
            "code": code,
            "modules": modules,
            "git": git,
            "versions": provenance.versions(),
            "machine": provenance.machine() | {"instructions": _vector_instructions()},
            "device": _device_name(job),
            "computed": job.computed,
            "threads": threads,
            "started": started.isoformat(timespec="seconds"),
            "seconds": round(time.perf_counter() - clock, 3),
            "peak_memory_mb": provenance.peak_memory_mb(),
        },
    )
    if node.kind == "prepare":  # long before what is trained on it says so
        _seen_before(node, plan, results)
    job.checkpoint.unlink(missing_ok=True)
    log.info("%s done in %.1f s: %s", node.id, time.perf_counter() - clock, json.dumps(metrics))


def _must_fit(job: Job) -> None:
    """Hold models against the data that they are to see: of brought ones the plan knows neither channels nor classes.

    Raises:
        UserError: where a model is for other images, or is to tell other classes apart.
    """
    models = [role for role, each in job.parents.items() if KINDS[each.kind].artifact == MODEL and role != "tuned"]
    if not (models and job.has("data") and any(job.parents[role].kind == "bring" for role in models)):
        return
    from robust_transfer.data import tensors
    from robust_transfer.models import files

    channels, classes = tensors.form_of(job.parent("data"))
    data = job.parents["data"].slug
    for role in models:
        model, about = job.parents[role], files.metadata(job.parent(role))
        if about["channels"] != channels:
            takes = f"{model.slug} takes images of {about['channels']} channel{'s' * (about['channels'] > 1)}"
            raise UserError(f"{takes}, and {data} has {channels}; give the data set channels: {about['channels']}")
        keeps_head = role == "start" and job.spec.head == "keep"
        if (keeps_head or edges.compares_classes(job.node.kind, job.spec)) and about["classes"] != classes:
            tells = f"{model.slug} tells {about['classes']} classes apart, and {data} has {classes}"
            remedy = "write head: new" if keeps_head else "name a model of the same classes"
            raise UserError(f"{tells}; {remedy}")


def _run(stage: Stage, job: Job) -> dict[str, Any]:
    """Run a stage in the precision of its kind; a training takes its recipe's where it trains, and nowhere else."""
    kind = KINDS[job.node.kind]
    if not kind.gpu:
        return stage(job)
    from robust_transfer.precision import computing_in

    precision = "float32" if isinstance(job.spec, Recipe) else precision_of(job.machine, job.node.kind)
    job.computed["precision"] = precision
    with computing_in(precision):
        return stage(job)


def _seen_before(node: Node, plan: Plan, results: Path) -> list[str]:
    """What is to be said of test images that a source was trained on: of a transfer's sets, or of a set and each with
    which a transfer of the plan chains it, as far as that is there. The log says it, too.
    """
    pairs = _chained(node, plan)
    if node.kind == "prepare":
        pairs = {pair for each in plan.nodes.values() for pair in _chained(each, plan) if node.id in pair}
    notes = []
    for pair in sorted(pairs):
        trained, tested = (plan.nodes[i] for i in pair)
        if is_made(trained, results) and is_made(tested, results):
            files = results / trained.artifact, results / tested.artifact
            notes += overlap_notes(*files, (trained.slug, tested.slug))
    for note in notes:
        log.warning("%s", note)
    return notes


def _chained(node: Node, plan: Plan) -> set[tuple[str, str]]:
    """Of a transfer: each set that what it starts from was trained on, and its own set; their ids."""
    if node.kind != "transfer":
        return set()
    data = node.parents["data"]
    sources = plan.ancestry(parent for role, parent in node.parents.items() if role != "data")
    return {(each.id, data) for each in sources if each.kind == "prepare" and each.id != data}


def is_made(node: Node, results: Path) -> bool:
    """Whether a node's card and artifact are there and whole."""
    try:
        store.checked_artifact(results / node.folder, KINDS[node.kind].artifact)
    except UserError:
        return False
    return True


def job_of(node: Node, plan: Plan, results: Path, threads: int, output: Path) -> Job:
    """What a stage is given to make a node of a plan."""
    parents = {role: plan.nodes[parent] for role, parent in node.parents.items()}
    machine, data_root = plan.origin["machine"], Path(plan.origin["data_root"])
    return Job(node, parents, machine, data_root, results, threads, output)


def modules_of(node: Node, plan: Plan) -> list[str]:
    """The modules whose code makes a node: its stage, those that its own spec names, and its networks' families."""
    spec = KINDS[node.kind].parse(node.spec)
    named = forms_in(spec)
    if isinstance(spec, Recipe):  # a tuned weight brings in a term that its own spec does not have
        named |= {Terms.forms[name].__module__ for name in spec.tuned if name in Terms.forms}
    for parent in plan.parents(node):
        if network := plan.network_of(parent):
            named |= forms_in(network)
    return [f"robust_transfer.stages.{node.kind}", *sorted(named)]


def forms_in(value: Any) -> set[str]:
    """The modules that define the specs in a value, at any depth, but for those that all share."""
    if isinstance(value, Spec):
        own = type(value).__module__
        shared = own.startswith(("robust_transfer.specs.", "robust_transfer.stages.")) or own in COMPOSITES
        return set().union(*(forms_in(item) for _, item in value), set() if shared else {own})
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return set().union(*(forms_in(item) for item in items))


def _vector_instructions() -> str:
    """Those of the processor that torch's kernels use, such as AVX512: with others the last bits are others."""
    import torch

    return torch.backends.cpu.get_cpu_capability()


def _device_name(job: Job) -> str:
    import torch

    return torch.cuda.get_device_name() if job.device.type == "cuda" else "cpu"
