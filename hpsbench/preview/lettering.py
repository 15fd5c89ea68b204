"""Tiles with text below, in rows: a sheet. Text is wrapped, never cut."""

import re
from collections.abc import Sequence

import cv2
import numpy as np

_FONT, _SCALE, _INK = cv2.FONT_HERSHEY_SIMPLEX, 0.4, (30, 30, 30)
_PIECE = re.compile(r"\s*(?:[^\s/_]+[/_]?|[/_])")
_LINE_PX = 15
_WHITE = 255


def wrapped(text: str, width: int) -> list[str]:
    """The lines of a text that fit into ``width`` px, broken at spaces and behind / and _; a piece that is too long is broken anywhere."""
    lines = [""]
    for piece in _PIECE.findall(text):
        if _fits(lines[-1] + piece, width):
            lines[-1] += piece
            continue
        lines += [""] if lines[-1] else []
        for letter in piece.strip():
            if lines[-1] and not _fits(lines[-1] + letter, width):
                lines.append("")
            lines[-1] += letter
    return lines


def _fits(text: str, width: int) -> bool:
    return cv2.getTextSize(text, _FONT, _SCALE, 1)[0][0] <= width - 4


def written(lines: Sequence[str], width: int, count: int | None = None) -> np.ndarray:
    """A white strip of lines of text, as high as ``count`` lines (None: as these)."""
    strip = np.full((_LINE_PX * (len(lines) if count is None else count) + 4, width, 3), _WHITE, dtype=np.uint8)
    for k, line in enumerate(lines):
        cv2.putText(strip, line, (2, _LINE_PX * k + 12), _FONT, _SCALE, _INK, 1, cv2.LINE_AA)
    return strip


def row_of(pictures: Sequence[np.ndarray], texts: Sequence[Sequence[str]], side: int, gap: int) -> np.ndarray:
    """Pictures (H, side, 3) beside one another, each with its paragraphs below it."""
    lines = [[line for paragraph in text for line in wrapped(paragraph, side)] for text in texts]
    count = max(map(len, lines))
    tiles = [np.concatenate([picture, written(own, side, count)]) for picture, own in zip(pictures, lines, strict=True)]
    spaced = [np.pad(tile, ((0, 0), (0, gap), (0, 0)), constant_values=_WHITE) for tile in tiles]
    return np.concatenate(spaced, axis=1)[:, : len(tiles) * (side + gap) - gap]
