"""The folder of one protocol while it is filled: parts of consecutive frames, each there whole or not at all, and its finished files."""

import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpsbench.errors import ResultError
from hpsbench.generated import IMAGE_LINES, MANIFEST, PLANS, canonical, read_manifest, sealed, zipped
from hpsbench.store import sha256_of_bytes, sync_files, write_bytes, write_text

_PARTS, _RUN = "parts", "run.json"


@dataclass(frozen=True)
class Run:
    """One protocol's folder ``out``. ``identity``: what two runs share whose parts fit together, in plain JSON.

    ``frames_to_a_part`` may be another one when a killed run goes on: parts of another size are done again.
    """

    out: Path
    identity: Mapping[str, Any]
    frames_to_a_part: int = 1

    def finished(self) -> dict[str, Any] | None:
        """The manifest where this very run is finished already. Raises ResultError where the folder is another's, or holds other files."""
        if (self.out / MANIFEST).is_file():
            manifest = read_manifest(self.out)
            same_run(self.out, manifest, self.identity)
            return manifest
        if self._note.is_file():
            same_run(self.out, _begun(self._note), self.identity)
        elif self.out.is_dir() and any(path.name != _PARTS for path in self.out.iterdir()):
            raise ResultError(f"{self.out} holds files that `hpsbench generate` did not write. Name a new or an empty folder.")
        return None

    def begin(self) -> None:
        """Make the folder ready."""
        if not self._note.is_file():
            write_text(self._note, canonical(self.identity))

    @property
    def _note(self) -> Path:
        return self.parts / _RUN

    @property
    def parts(self) -> Path:
        """The folder of the parts."""
        return self.out / _PARTS

    def has(self, part: int) -> bool:
        """Whether a part is done."""
        return self._part(part, PLANS).is_file()

    def add(self, part: int, plans: Sequence[str], views: Sequence[str]) -> None:
        """Keep the lines of a part, whose images are written: those of the plans last."""
        if self.identity["with_images"]:
            sync_files(self.out / name for name in dict.fromkeys(json.loads(line)["image"] for line in views))
            write_text(self._part(part, IMAGE_LINES), "".join(f"{line}\n" for line in views))
        write_text(self._part(part, PLANS), "".join(f"{line}\n" for line in plans))

    def lines(self, part: int) -> tuple[bytes, bytes]:
        """The lines of a part: of its plans, and of its images."""
        plans, views = (self._part(part, name) for name in (PLANS, IMAGE_LINES))
        return plans.read_bytes(), views.read_bytes() if views.is_file() else b""

    def _part(self, part: int, name: str) -> Path:
        return self.parts / f"{part:06d}-of-{self.frames_to_a_part}.{name.removesuffix('.gz')}"

    def finish(self, counts: Mapping[str, Any], texts: Sequence[tuple[bytes, bytes]]) -> dict[str, Any]:
        """Write the final files out of the lines of all parts, the manifest last; then the parts go."""
        plans, views = (b"".join(text) for text in zip(*texts, strict=True)) if texts else (b"", b"")
        counts = {**counts, "written": plans.count(b"\n")} | _skipped(plans)
        manifest = dict(self.identity) | {"counts": counts, "plans": _write_zipped(self.out / PLANS, plans)}
        manifest["images"] = None
        if self.identity["with_images"]:
            count = len({json.loads(line)["image"] for line in views.splitlines()})
            manifest["images"] = _write_zipped(self.out / IMAGE_LINES, views) | {"count": count}
        for torn in self.out.rglob(".*.part"):
            torn.unlink()
        manifest = sealed(manifest)
        write_text(self.out / MANIFEST, json.dumps(manifest, sort_keys=True, indent=1, allow_nan=False) + "\n")
        shutil.rmtree(self.parts, ignore_errors=True)
        return manifest


def same_run(out: Path, found: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    """Raises ResultError where a folder's run is another one."""
    different = [key for key, value in identity.items() if found.get(key) != value]
    if different:
        raise ResultError(
            f"{out} belongs to another run of `hpsbench generate`: its {' and '.join(different)} differ"
            f"{'s' if len(different) == 1 else ''} from what is asked for now ({_short(identity)}; found: {_short(found)}). "
            "Name another folder, or remove this one."
        )


def _begun(note: Path) -> dict[str, Any]:
    try:
        return json.loads(note.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ResultError(f"{note} is broken: {error}. Remove the folder {note.parent.parent}, or name another one.") from error


def _short(run: Mapping[str, Any]) -> str:
    data, (index, number), crops = run["dataset"], run["shard"], run.get("crops")
    kind = "plans only" if not run["with_images"] else "images" if crops is None else f"crops of {crops['side']} px"
    return f"{run['protocol']['id']}, {data['name']}/{data['split']} {data['fingerprint'][:8]}, {kind}, shard {index + 1}/{number}"


def _skipped(plans: bytes) -> dict[str, dict[str, int]]:
    """How many plans say, and for which reasons, that their case is not possible; nothing where none does."""
    lines = plans.splitlines() if b'"skipped"' in plans else ()
    reasons = Counter(json.loads(line)["skipped"] for line in lines if b'"skipped"' in line)
    return {"skipped": dict(sorted(reasons.items()))} if reasons else {}


def _write_zipped(path: Path, text: bytes) -> dict[str, str]:
    """Write text gzipped; the hashes of the file, and of the text, which no version of zlib can change."""
    data = zipped(text)
    write_bytes(path, data)
    return {"sha256": sha256_of_bytes(data), "text_sha256": sha256_of_bytes(text)}
