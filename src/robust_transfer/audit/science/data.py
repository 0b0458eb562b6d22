"""Did test images choose, were they trained on, and are outcomes those of the split's images?"""

from collections.abc import Iterator

import numpy as np

from robust_transfer.audit.science.sound import Sound, note, wrong
from robust_transfer.audit.stored import Finding


def findings(sound: Sound) -> Iterator[Finding]:
    """Test images in anything that chose something or was trained on, and outcomes of other images."""
    yield from (*_chosen_by_test(sound), *_shared(sound), *_of_other_images(sound))


def _chosen_by_test(sound: Sound) -> Iterator[Finding]:
    watched = [
        node.id
        for node, recipe in sound.of("pretrain", "transfer")
        if recipe.schedule.decay == "plateau" and recipe.schedule.watch == "test"
    ]
    if watched:
        sentence = f"the accuracy on test images ended the training of {len(watched)} models, or let their rate fall"
        yield note(f"{sentence}: their test accuracies flatter (switch D9)", tuple(watched))
    chosen = [node.id for node, spec in sound.of("choose") if spec.split == "test"]
    if chosen:
        sentence = f"{len(chosen)} choices among candidates were made on test images"
        yield note(f"{sentence}: test accuracies of what was chosen flatter (switch D18)", tuple(chosen))
    for node, spec in sound.of("choose"):
        for role, parent in node.parents.items():
            if role.startswith("attacked") and spec.split != "test":
                split = sound.outcomes[parent].split if parent in sound.outcomes else spec.split
                if split != spec.split:
                    sentence = f"chose by {role}, whose images are of the {split} split, though it says {spec.split}"
                    yield wrong(f"{sound.path(node.id)} {sentence}", (node.id, parent))


# ---- images that were seen before ----------------------------------------------------------------------------------


def _shared(sound: Sound) -> Iterator[Finding]:
    """Test images among the training images of the same set, or of a set that a transfer to it goes back to."""
    from robust_transfer.data.examine import duplicate_notes
    from robust_transfer.data.overlap import in_both, overlap_notes

    for node, _ in sound.of("prepare"):
        shared, tests = in_both(sound.path(node.id), sound.path(node.id))
        for sentence in duplicate_notes(len(shared), tests, sum(own != other for own, other in shared)):
            yield note(f"{node.slug}: {sentence}", (node.id,))
    pairs: dict[tuple[str, str], list[str]] = {}
    for node, _ in sound.of("transfer"):
        data = node.parents["data"]
        starts = [parent for role, parent in node.parents.items() if role != "data"]
        for source in sound.plan.ancestry(starts):
            if source.kind == "prepare" and source.id != data and source.id in sound.nodes:
                pairs.setdefault((source.id, data), []).append(node.id)
    for (source_id, data), nodes in pairs.items():
        slugs = sound.nodes[source_id].slug, sound.nodes[data].slug
        for sentence in overlap_notes(sound.path(source_id), sound.path(data), slugs):
            yield note(sentence, tuple(nodes))


# ---- outcomes ------------------------------------------------------------------------------------------------------


def _of_other_images(sound: Sound) -> Iterator[Finding]:
    """Outcomes whose rows are not the images of their split, in order, with their labels."""
    for each in sound.outcomes.values():
        labels, found = sound.labels(each.data, each.split), sound.table(each.node.id)
        if not (np.array_equal(found["index"], np.arange(len(labels))) and np.array_equal(found.label, labels)):
            yield wrong(
                f"{sound.path(each.node.id)}: its rows are not the {each.split} images with their labels",
                (each.node.id,),
            )
