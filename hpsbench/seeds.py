"""Randomness that depends on what is drawn, and on nothing else."""

import hashlib

import numpy as np


def rng_of(*words: str | int) -> np.random.Generator:
    """A generator fixed by the words alone: equal words, equal draws, on any machine and in any order.

    The words are joined by a character that none may hold, hashed (SHA-256) and fed to PCG64. Callers take floats by
    ``random()`` and pixels by ``noise_bytes``, whose streams do not depend on the version of numpy.
    """
    parts = [str(word) for word in words]
    assert not any("\x1f" in part for part in parts), parts
    digest = hashlib.sha256("\x1f".join(parts).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))


def noise_bytes(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Independent uint8 values of the distribution floor(255 U), U uniform on [0, 1), straight from the bit generator's 16-bit words."""
    count = int(np.prod(shape))
    words = rng.bit_generator.random_raw((count + 3) // 4).astype("<u8").view("<u2")[:count]
    return ((words.astype(np.uint32) * 255) >> 16).astype(np.uint8).reshape(shape)
