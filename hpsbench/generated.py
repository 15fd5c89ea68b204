"""A generated folder: what lies in it, how it is checked, and how it is read back.

manifest.json      the protocol in full, the data's fingerprint, counts and hashes
plans.jsonl.gz     a plan per line, in the dataset's order and each sample's cases, with what it hid: "coverage" (of the window or the
                   person's box), "coverage_canvas", "coverage_box", where asked for "coverage_mask" (of the true mesh's
                   silhouette), "occluded" and "outside" joints
images.jsonl.gz    where images were written: per line an image's file, hash and size, and the box, window and camera in it
images/<id>.png    the image that a model gets, of a protocol with cases <id>@<case>.png; of occluders of crop space the canvas alone
"""

import gzip
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np

from hpsbench import __version__
from hpsbench.datasets.base import Dataset
from hpsbench.errors import ResultError, UnknownNameError
from hpsbench.image import read_image
from hpsbench.occlude import apply_plan
from hpsbench.occluders.base import occluder
from hpsbench.skeleton import joint_names
from hpsbench.store import sha256_of_bytes, sha256_of_file
from hpsbench.types import Hidden, OcclusionPlan, Sample, View, view_id_of

MANIFEST, PLANS, IMAGE_LINES, IMAGES = "manifest.json", "plans.jsonl.gz", "images.jsonl.gz", "images"
FORMAT = 1
_SHOWN = 5


_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)
_text = json.encoder.encode_basestring_ascii


def canonical(record: Any) -> str:
    """One line of JSON, the same bytes for the same record."""
    return _canonical.encode(record)


def zipped(text: bytes) -> bytes:
    """Text as gzip bytes without time or name, the same bytes for the same text."""
    memory = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=memory, compresslevel=6, mtime=0) as stream:
        stream.write(text)
    return memory.getvalue()


def plan_line(plan: OcclusionPlan, hidden: Hidden, skeleton: str) -> str:
    """A line of plans.jsonl.gz: the plan, and what it hid of its sample, whose joints are of a skeleton.

    It is ``canonical``: its keys stand here in their order, since sorting them for each plan takes longer than all the rest.
    """
    names, skipped = _quoted(skeleton), f',"skipped":{_text(plan.skipped)}' if plan.skipped else ""
    case = f'"case":{_text(plan.case)},' if plan.case else ""
    occlusions = [{"kind": one.kind, "space": one.space, "params": dict(one.params)} for one in plan.occlusions]
    mask = "" if hidden.coverage_mask is None else f'"coverage_mask":{round(hidden.coverage_mask, 6)!r},'
    return (
        f'{{{case}"coverage":{round(hidden.coverage, 6)!r},"coverage_box":{round(hidden.coverage_box, 6)!r},'
        f'"coverage_canvas":{round(hidden.coverage_canvas, 6)!r},{mask}"occluded":[{",".join(compress(names, hidden.occluded.tolist()))}],'
        f'"occlusions":{canonical(occlusions)},"outside":[{",".join(compress(names, hidden.outside.tolist()))}],'
        f'"protocol_id":{_text(plan.protocol_id)},"sample_id":{_text(plan.sample_id)},"seed":{plan.seed}{skipped}}}'
    )


@cache
def _quoted(skeleton: str) -> tuple[str, ...]:
    """The joint names of a skeleton as JSON."""
    return tuple(map(_text, joint_names(skeleton)))


def view_record(view: View, plan: OcclusionPlan) -> dict[str, Any]:
    """What a line of images.jsonl.gz says of a plan's view, beside its image."""
    window = view.window_xyxy
    return ({"case": plan.case} if plan.case else {}) | {
        "sample_id": plan.sample_id,
        "bbox_xyxy": np.asarray(view.bbox_xyxy, dtype=np.float64).tolist(),
        "window_xyxy": None if window is None else np.asarray(window, dtype=np.float64).tolist(),
        "intrinsics": np.asarray(view.intrinsics, dtype=np.float64).tolist(),
    }


def sealed(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest with the hash of all the rest of it."""
    rest = {key: value for key, value in manifest.items() if key != "sha256"}
    return rest | {"sha256": sha256_of_bytes(canonical(rest).encode())}


def read_manifest(folder: Path | str) -> dict[str, Any]:
    """The manifest of a generated folder. Raises ResultError where there is none, or one that was altered."""
    path = Path(folder) / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ResultError(
            f"{folder} is no finished generated folder: {MANIFEST} cannot be read ({error.strerror}). Run `hpsbench generate` (again)."
        ) from error
    except ValueError as error:
        raise ResultError(f"{path} is broken: {error}. Generate the folder again.") from error
    if isinstance(manifest, dict) and isinstance(manifest.get("format"), int) and manifest["format"] != FORMAT:
        raise ResultError(
            f"{folder} was made by another version, hpsbench {manifest.get('version', 'unknown')}: its format is {manifest['format']}, and "
            f"this one, {__version__}, reads format {FORMAT}. Generate it again, or use that version."
        )
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT or "protocol" not in manifest:
        raise ResultError(f"{path} is no manifest of format {FORMAT} of `hpsbench generate`. Name a folder that it wrote.")
    if sealed(manifest) != manifest:
        raise ResultError(f"{path} was altered: its hash is not that of its content. Generate the folder again.")
    return manifest


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a gzipped file of JSON lines. Raises ResultError where it is missing or broken."""
    try:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                yield json.loads(line)
    except (OSError, EOFError, ValueError) as error:
        raise ResultError(f"{path} cannot be read: {error}. Generate the folder again.") from error


def verify(folder: Path | str) -> str:
    """One line that says what was found to be whole. Raises ResultError, which names what is missing, altered or too much."""
    folder = Path(folder)
    manifest = read_manifest(folder)
    wrong = list(_wrong_protocol(manifest)) + list(_wrong_file(folder, PLANS, manifest["plans"]))
    if not wrong:
        wrong += _wrong_plans(folder, manifest)
    written = manifest["images"]
    if written is not None and not (broken := list(_wrong_file(folder, IMAGE_LINES, written))):
        wrong += _wrong_images(folder, written["count"])
    elif written is not None:
        wrong += broken
    if wrong:
        more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise ResultError(f"{folder} is not what was generated: {'; '.join(wrong[:_SHOWN])}{more}. Generate it again.")
    images = "no images" if written is None else f"{written['count']:,} images"
    part = "" if manifest["shard"] == [0, 1] else f", shard {manifest['shard'][0] + 1} of {manifest['shard'][1]}"
    return f"{folder}: whole. {manifest['protocol']['id']}, {manifest['counts']['written']:,} plans, {images}{part}."


def _wrong_protocol(manifest: Mapping[str, Any]) -> Iterator[str]:
    if sha256_of_bytes(canonical(manifest["protocol"]["content"]).encode()) != manifest["protocol"]["sha256"]:
        yield "the protocol's content has another hash than its own"


def _wrong_file(folder: Path, name: str, about: Mapping[str, Any]) -> Iterator[str]:
    if not (folder / name).is_file():
        yield f"{name} is missing"
    elif sha256_of_file(folder / name) != about["sha256"]:
        yield f"{name} was altered"


def _wrong_plans(folder: Path, manifest: Mapping[str, Any]) -> Iterator[str]:
    ids = [_view_id(record) for record in read_lines(folder / PLANS)]
    if len(ids) != manifest["counts"]["written"] or len(set(ids)) != len(ids):
        yield f"{PLANS} holds {len(set(ids))} plans in {len(ids)} lines, but {manifest['counts']['written']} were written"


def _wrong_images(folder: Path, count: int) -> Iterator[str]:
    hashes = {record["image"]: record["sha256"] for record in read_lines(folder / IMAGE_LINES)}
    if len(hashes) != count:
        yield f"{IMAGE_LINES} names {len(hashes)} images, but {count} were written"
    for name, expected in hashes.items():
        path = folder / name
        if not path.is_file():
            yield f"{name} is missing"
        elif sha256_of_file(path) != expected:
            yield f"{name} was altered"
    found = {path.relative_to(folder).as_posix() for path in (folder / IMAGES).rglob("*") if path.is_file()}
    yield from (f"{name} was not generated" for name in sorted(found - hashes.keys()))


@dataclass(frozen=True)
class Generated:
    """A generated folder beside the dataset that it was made from: its samples with the occluded views.

    ``plans`` and ``views`` (the lines of images.jsonl.gz, empty where no images were written) are keyed by view id. A view
    reads the written image where there is one, and replays its plan where there is none: the same pixels.
    """

    folder: Path
    manifest: Mapping[str, Any]
    dataset: Dataset
    plans: Mapping[str, OcclusionPlan]
    views: Mapping[str, Mapping[str, Any]]

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, i: int) -> Sample:
        sample = self.dataset[i]
        return replace(sample, view=self.view_of(sample))

    @property
    def ids(self) -> list[str]:
        """The dataset's sample ids, in its order."""
        return self.dataset.ids

    def plan_of(self, sample: Sample, case: str = "") -> OcclusionPlan:
        """The plan of a sample under a case. Raises ResultError where the folder (one shard, say) holds none."""
        key = view_id_of(sample.id, case)
        if key not in self.plans:
            raise ResultError(f"{self.folder} holds no plan for '{key}'. Generate it for the whole dataset, or merge its shards.")
        return self.plans[key]

    def plans_of(self, sample: Sample) -> list[OcclusionPlan]:
        """The plans of a sample under every case of the folder's protocol."""
        return [self.plan_of(sample, case) for case in self.cases]

    @cached_property
    def cases(self) -> tuple[str, ...]:
        """The cases that each sample has a plan for."""
        return tuple(dict.fromkeys(plan.case for plan in self.plans.values()))

    def has_image_of(self, plan: OcclusionPlan) -> bool:
        """Whether the image of a plan was written."""
        return plan.view_id in self.views

    def view_of(self, sample: Sample, case: str = "") -> View:
        """The occluded view of a sample as the dataset gives it; without a written image, occluders of crop space are left to be drawn."""
        plan, record = self.plan_of(sample, case), self.views.get(view_id_of(sample.id, case))
        if record is None:
            return apply_plan(sample.view, plan)
        window = record["window_xyxy"]
        return View(
            partial(_read_unaltered, self.folder / record["image"], record["sha256"]),
            f"{self.folder}/{record['image']}",
            np.array(record["bbox_xyxy"]),
            np.array(record["intrinsics"]),
            None if window is None else np.array(window),
        )


def _read_unaltered(path: Path, sha256: str) -> np.ndarray:
    """The image (H, W, 3) of a file that still has its hash. Raises ResultError where it has another, DataError where it is missing."""
    image = read_image(path)
    if sha256_of_file(path) != sha256:
        raise ResultError(f"{path} was altered: its hash is not that of images.jsonl.gz. Generate the folder again.")
    return image


def load_generated(folder: Path | str, dataset: Dataset) -> Generated:
    """A generated folder, read back beside its dataset.

    Raises ResultError where the folder is unfinished or altered, or was made from other data; an altered image raises when it is read.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    made_from = manifest["dataset"]
    if made_from["fingerprint"] != dataset.fingerprint or made_from["name"] != dataset.name:
        raise ResultError(
            f"{folder} was generated from {made_from['name']}/{made_from['split']} with fingerprint {made_from['fingerprint'][:12]}, but "
            f"the data given is {dataset.name}/{dataset.split} with {dataset.fingerprint[:12]}. Name the data that it was made from."
        )
    files = {PLANS: manifest["plans"]} | ({} if manifest["images"] is None else {IMAGE_LINES: manifest["images"]})
    wrong = [text for name, about in files.items() for text in _wrong_file(folder, name, about)]
    if wrong:
        raise ResultError(f"{folder} is not what was generated: {'; '.join(wrong)}. Generate it again.")
    views = {} if manifest["images"] is None else {_view_id(record): record for record in read_lines(folder / IMAGE_LINES)}
    plans = [_plan_of(record, folder, manifest) for record in read_lines(folder / PLANS)]
    return Generated(folder, manifest, dataset, {plan.view_id: plan for plan in plans}, views)


def _plan_of(record: Mapping[str, Any], folder: Path, manifest: Mapping[str, Any]) -> OcclusionPlan:
    """The plan of a line. Raises ResultError where it lacks what plans have, or names an occluder that is not there."""
    try:
        plan = OcclusionPlan.from_record(record)
        for occlusion in plan.occlusions:
            occluder(occlusion.kind)
    except (KeyError, TypeError, UnknownNameError) as error:
        raise ResultError(
            f"{folder / PLANS} holds a plan for '{record.get('sample_id')}' that hpsbench {__version__} does not know ({error}); it was "
            f"made by hpsbench {manifest['version']}. Generate it again, or use that version and its plug-ins."
        ) from error
    return plan


def _view_id(record: Mapping[str, Any]) -> str:
    return view_id_of(record["sample_id"], record.get("case", ""))
