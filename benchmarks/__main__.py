"""``python -m benchmarks [--write]``: each operation as the field's code does it and as hpsbench does, on one thread, in one run.

What is printed is measured: people per second, best of three, the ratio, and the ratio asked for. ``--write`` puts the table into
README.md.
"""

import argparse
import warnings

import cv2
import torch

from benchmarks import evaluator, generation, gpu, sensitivity
from benchmarks.harness import machine, rows, table, write


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.split("\n")[0])
    parser.add_argument("--write", action="store_true", help="put the table into benchmarks/README.md")
    parser.add_argument("--compile", action="store_true", help="time torch.compile too, which takes minutes and needs a C++ compiler")
    wanted = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    where = machine()
    print(where)
    found = rows(evaluator.alignment, evaluator.vertices, evaluator.bodies, evaluator.hits, evaluator.angles)
    evaluator.memory()
    made = rows(generation.planning, generation.generation)
    slid = rows(sensitivity.fields, sensitivity.two_threads, *[sensitivity.compiled] * wanted.compile, sensitivity.runs)
    if torch.cuda.is_available():
        gpu.report()
    if wanted.write:
        write(f"{where}\n\n{table(found)}\n\n{table(made)}\n\n{table(slid)}")


if __name__ == "__main__":
    main()
