"""Sets of the Hugging Face hub, by the parquet files of their repositories."""

import json
import re
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from robust_transfer import store
from robust_transfer.data.shards import are_of_one_set, shards
from robust_transfer.errors import UserError
from robust_transfer.specs.datasets import Dataset, Facts
from robust_transfer.specs.fields import Count, Number

if TYPE_CHECKING:
    import numpy as np

    from robust_transfer.data.raw import Arrays
    from robust_transfer.data.sources import Source

FOLDER, MANIFEST = "huggingface", "fetched.json"
"""Below data_root, where the sets lie; and beside a set's files, what was fetched."""
SplitOrShare = Annotated[
    Annotated[Number, Field(gt=0, lt=1), Tag("share")] | Annotated[str, Tag("split")],
    Discriminator(lambda value: "split" if isinstance(value, str) else "share"),
]


class HuggingFace(Dataset):
    """A set of images of the Hugging Face hub at a commit of its repository, from the parquet files that lie there.

    `robust-transfer data --fetch` puts them below data_root/huggingface by huggingface_hub (the extra `hub`); a job
    reads them there, without a connection. A repository without parquet files has them at a commit of its branch
    refs/convert/parquet.
    """

    fetches: ClassVar[bool] = True

    reader: Literal["huggingface"]
    repo: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$")]
    """The repository, like uoft-cs/cifar10."""
    revision: Annotated[str, Field(pattern="^[0-9a-f]{40}$")]
    """Its commit, 40 hex digits: a branch would move."""
    config: Annotated[str, Field(pattern=r"^(\.|\w[\w.-]*(/\w[\w.-]*)*)$")] = "data"
    """The folder of the files there: data, or mostly the name of the configuration, like plain_text; a point is the
    repository's own.
    """
    train: str = "train"
    """The split to train on."""
    test: SplitOrShare = "test"
    """The split to test on; of a set without one a share, held out class by class."""
    image: str = "image"
    """The column with the images."""
    target: str = "label"
    """The column with the labels."""
    size: Count | None = None
    """Side in pixels; images are scaled to it by the shorter side and cropped at the centre. Unless given they are
    taken as they are, and must all be of one size.
    """

    @model_validator(mode="after")
    def _tests_on_others(self):
        if self.test == self.train:
            raise ValueError("test: it is the split to train on; give a share, like 0.2")
        return self

    @property
    def base(self) -> str:
        name = re.sub(r"[^a-z0-9-]+", "-", self.repo.rpartition("/")[2].lower())
        return f"hf-{name}" + (f"-{self.size}px" if self.size else "")

    @property
    def _root(self) -> str:
        return f"{FOLDER}/{self.repo.replace('/', '--')}/{self.revision}"

    @property
    def files(self) -> list[str]:
        return [f"{self._root}/{self._below}".rstrip("/")]

    @property
    def fetch_key(self) -> tuple[str, ...]:
        return *self.files, *self._splits.values()

    @property
    def _below(self) -> str:
        """What the names of its files begin with."""
        return "" if self.config == "." else f"{self.config}/"

    def files_in(self, data_root: Path) -> list[str]:
        """The parquet files of its splits, with those that are missing by what was fetched or the others' numbers."""
        names = self._names(data_root)
        found = [f"{self._root}/{name}" for split in self._splits for name in self._of(split, names)]
        return found or self.files

    @property
    def remedy(self) -> str:
        return f"`robust-transfer data --fetch {self.base}` fetches it"

    @property
    def test_share(self) -> float:
        return 0.0 if isinstance(self.test, str) else self.test

    @property
    def _splits(self) -> dict[str, str]:
        """Our name of a split -> theirs."""
        return {"train": self.train} | ({"test": self.test} if isinstance(self.test, str) else {})

    def _of(self, split: str, names: Collection[str]) -> list[str]:
        """The files of a split among those below the root, and those that are missing by their numbers."""
        return shards(f"{self._below}{self._splits[split]}", names)

    def _files_of(self, split: str, names: Collection[str], where: object) -> list[str]:
        """The same, of which there must be some."""
        if found := self._of(split, names):
            if are_of_one_set(f"{self._below}{self._splits[split]}", found):
                return found
            twice = ", ".join(name.removeprefix(self._below) for name in found)
            raise UserError(
                f"{where} has files of one split more than once ({twice}); keep those of one form and count"
            )
        theirs = [name.removeprefix(self._below) for name in names if name.startswith(self._below)]
        theirs = [name for name in theirs if name.endswith(".parquet")]
        there = ", ".join(sorted({re.sub(r"(-\d+-of-.*|/.*|)\.parquet$", "", name) for name in theirs}))
        if there:
            found_instead = f"it has {there}; set train and test to its splits, or test to a share"
        else:
            folders = sorted({name.rpartition("/")[0] or "." for name in names if name.endswith(".parquet")})
            found_instead = f"parquet files are in {', '.join(folders) or 'none of its folders'}; set config to one"
        raise UserError(f"{where} has no files of a split {self._splits[split]!r} in {self.config}; {found_instead}")

    # ---- where it comes from ---------------------------------------------------------------------------------------

    def source(self, data_root: Path) -> "Source":
        """Its page; its licence and size once it was fetched."""
        from robust_transfer.data.sources import Source

        held = self._fetched(data_root)
        page = f"https://huggingface.co/datasets/{self.repo}/tree/{self.revision}"
        size = sum(each["bytes"] or 0 for each in held.get("files", {}).values())
        terms = held.get("licence") or ("none stated" if held else "as its page says, which --fetch writes down")
        return Source(page, terms, max(1, round(size / 1e6)) if size else None)

    def _fetched(self, data_root: Path) -> dict[str, Any]:
        """What is or was to be fetched: licence and files, each with its bytes and sha256 as far as they are known."""
        try:
            held = json.loads((data_root / self._root / MANIFEST).read_text(encoding="utf-8"))
            return dict(held) if {*map(type, (held["files"], *held["files"].values()))} == {dict} else {}
        except (OSError, LookupError, *store.MALFORMED):
            return {}

    def fetch(self, data_root: Path) -> None:
        """Download its parquet files, and write down its licence and their digests; before, what they are, so that
        it is known what is missing where that was interrupted.

        Raises:
            UserError: where huggingface_hub is missing, or the hub has no such repository, commit, folder or split.
        """
        try:
            from huggingface_hub import HfApi, hf_hub_download
        except ImportError:
            raise UserError(
                f"{self.repo} is of the Hugging Face hub, and huggingface_hub is not installed: "
                f"pip install huggingface_hub, or put its parquet files into {data_root / self.files[0]} by hand"
            ) from None
        root = data_root / self._root
        held: dict[str, Any] = self._fetched(data_root).get("files", {})
        try:
            info = HfApi().dataset_info(self.repo, revision=self.revision, files_metadata=True)
            there = {each.rfilename: each for each in info.siblings or ()}
            where = f"{self.repo} at {self.revision}"
            names = [name for split in self._splits for name in self._files_of(split, there, where)]
            for name in names:
                lfs = there[name].lfs if name in there else None
                held[name] = {"bytes": None, "sha256": lfs.sha256 if lfs else None}
            self._write_down(root, info, held)
            for name in names:
                hf_hub_download(self.repo, name, repo_type="dataset", revision=self.revision, local_dir=root)
                sha256 = held[name]["sha256"] or store.sha256_of(root / name)
                held[name] = {"bytes": (root / name).stat().st_size, "sha256": sha256}
            self._write_down(root, info, held)
        except UserError:
            raise
        except Exception as error:  # of the library, which lets those of its own library for HTTP through, or the disk
            reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise UserError(
                f"{self.repo} can't be fetched ({reason}); see whether the hub has it, and the commit"
            ) from None

    def _write_down(self, root: Path, info: Any, held: dict[str, Any]) -> None:
        licence = info.card_data.get("license") if info.card_data else None
        licence = ", ".join(licence) if isinstance(licence, list) else licence
        manifest = {"repo": self.repo, "revision": self.revision, "licence": licence, "files": held}
        with store.replacing(root / MANIFEST) as temporary:
            temporary.write_text(json.dumps(manifest, indent=2), encoding="utf-8")

    # ---- reading ---------------------------------------------------------------------------------------------------

    def look(self, data_root: Path) -> Facts:
        """From the files' schemas, their labels and the first image; nothing where files are missing.

        Raises:
            UserError: where a file is damaged, or a split or column is missing or of no form that is taken.
        """
        import numpy as np

        from robust_transfer.data import examine, parquets

        self._must_be_known(data_root)
        if self.absent_from(data_root):
            return Facts()
        files = self._paths(data_root)
        labels, _ = self._labels(files)
        numbers, _ = examine.numbered(labels, self.base, [])
        counts = {split: np.unique(each[each >= 0], return_counts=True) for split, each in numbers.items()}
        images = {split: dict(zip(*(each.tolist() for each in pair), strict=True)) for split, pair in counts.items()}
        height, width, channels = parquets.first_image(files["train"], self.image) or (None, None, None)
        classes = len({n for each in images.values() for n in each})
        if channels == 1:  # where the first is grey, the others may not be
            channels = None
        return Facts(channels, self.size or height, self.size or width, classes, images)

    def read(self, data_root: Path) -> "Arrays":
        """All images, grey where all are, held against the digests where these were written down.

        Raises:
            UserError: where files are missing, damaged or others than were fetched, or hold no images and labels.
        """
        from robust_transfer.data import parquets
        from robust_transfer.data.raw import Arrays, Splits

        if absent := self.absent_from(data_root):
            raise UserError(f"{self.base}: {', '.join(absent)} missing; {self.remedy}")
        self._must_be_known(data_root)
        self._must_be_as_fetched(data_root)
        splits: Splits = {}
        done: Counter[str] = Counter()
        all_grey = True
        paths = self._paths(data_root)
        labels_of, names = self._labels(paths)
        for split, files in paths.items():
            labels = labels_of[split]
            images, grey, changes = parquets.images_of(files, self.image, len(labels), self.size)
            splits[split] = images, labels
            all_grey &= grey
            done += changes
        if all_grey:
            splits = {split: (images[..., :1].copy(), labels) for split, (images, labels) in splits.items()}
        notes = tuple(f"{count} pictures {what}" for what, count in done.items())
        return Arrays(self.base, splits, dict(enumerate(names)), notes)

    def _labels(self, paths: "dict[str, list[Path]]") -> tuple[dict[str, "np.ndarray"], list[str]]:
        """The labels of each split, and the names of the classes, where its files tell them.

        Raises:
            UserError: where the splits have other classes, or as parquets.labels_of.
        """
        from robust_transfer.data import parquets

        found = {split: parquets.labels_of(files, self.target) for split, files in paths.items()}
        (_, first), *others = found.values()
        for labels, names in others:
            if names != first and labels.dtype.kind != "U" and found["train"][0].dtype.kind != "U":
                told = parquets.other_names(self.target, first, names)
                raise UserError(f"{self.base}: {told}, in the split to test on; take other splits")
        return {split: labels for split, (labels, _) in found.items()}, first

    def _paths(self, data_root: Path) -> dict[str, list[Path]]:
        """The files of each split, which are all there."""
        root, names = data_root / self._root, self._names(data_root)
        return {split: [root / name for name in self._files_of(split, names, root)] for split in self._splits}

    def _names(self, data_root: Path) -> list[str]:
        """The parquet files that are there, or were to be fetched."""
        return sorted({*_names_below(data_root / self._root), *self._fetched(data_root).get("files", {})})

    def _must_be_known(self, data_root: Path) -> None:
        """Refuse what was fetched where the digests of it are damaged."""
        path = data_root / self._root / MANIFEST
        if path.exists() and not self._fetched(data_root):
            raise UserError(f"{path} is damaged; delete it, and fetch the set again")

    def _must_be_as_fetched(self, data_root: Path) -> None:
        held: dict[str, Any] = self._fetched(data_root).get("files", {})
        for path in (path for paths in self._paths(data_root).values() for path in paths):
            expected = held.get(str(path.relative_to(data_root / self._root)), {}).get("sha256")
            if expected and (found := store.sha256_of(path)) != expected:
                raise UserError(
                    f"{path} is another file: sha256 {found}, and {expected} was fetched; delete it, and fetch it again"
                )


def _names_below(root: Path) -> list[str]:
    """The parquet files below a folder, by their paths in it."""
    return [path.relative_to(root).as_posix() for path in sorted(root.rglob("*.parquet")) if path.is_file()]
