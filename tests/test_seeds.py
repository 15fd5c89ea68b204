import subprocess
import sys

import numpy as np

from hpsbench.seeds import noise_bytes, rng_of

PINNED_FLOATS = [0.11516951993375235, 0.7908897364467072, 0.3968325923471663]
PINNED_BYTES = [[21, 93, 34], [204, 221, 100]]


def test_equal_words_give_equal_draws():
    assert rng_of(7, "a/b", "patch").random() == rng_of(7, "a/b", "patch").random()


def test_every_word_counts():
    draws = {rng_of(*words).random() for words in ((7, "a"), (8, "a"), (7, "b"), (7, "a", ""), ("7a",))}
    assert len(draws) == 5


def test_the_stream_is_pinned():
    rng = rng_of(0, "3dpw/test/downtown_bar_00/00012/0", "truncation-window")
    assert [rng.random() for _ in range(3)] == PINNED_FLOATS
    assert noise_bytes(rng_of("noise"), (2, 3)).tolist() == PINNED_BYTES


def test_another_process_draws_the_same():
    code = "from hpsbench.seeds import rng_of; print(repr(float(rng_of(1, 'x').random())))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert float(out) == rng_of(1, "x").random()


def test_noise_is_uniform_below_255():
    noise = noise_bytes(rng_of("uniform"), (300, 400, 3))
    assert noise.dtype == np.uint8
    assert noise.shape == (300, 400, 3)
    assert noise.max() == 254
    counts = np.bincount(noise.ravel(), minlength=255)
    assert abs(noise.mean() - 127) < 0.5
    assert counts[1:].min() > 1000
    assert counts[1:].max() < 1900
