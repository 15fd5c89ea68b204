"""The exceptions of hpsbench.

    HpsbenchError                  anything a user can mend; the command line exits 1 with its text
    ├── DataError                  a dataset folder, image or annotation is missing, broken or not what it claims
    ├── BodyError                  a body file is missing, broken or of the wrong shape
    ├── WeightsError               a checkpoint that does not fit the model it was given to
    ├── UnsafePickleError          a pickle that asks for something outside the allow-list
    ├── ProtocolError              a protocol file that says too little, too much or something contradictory
    ├── PredictionError            predictions that are NaN, mis-shaped, missing, duplicate or unknown
    ├── ResultError                a results folder that is incomplete, altered or from another run
    ├── MissingExtraError          an optional dependency is not installed
    └── UnknownNameError           no model, dataset, protocol, occluder or metric of that name (did you mean ...?)

Every message says what was found, what was expected and what to do.
"""

import difflib
from collections.abc import Iterable


class HpsbenchError(Exception):
    """Base of every error that hpsbench raises for a mistake outside of its own code."""

    def __reduce__(self):
        # By its text, so that it comes out of a worker process whatever its class takes to be made.
        return _with_text, (type(self), str(self))


def _with_text(kind: type[HpsbenchError], text: str) -> HpsbenchError:
    return kind.__new__(kind, text)


class DataError(HpsbenchError):
    """A dataset folder, image or annotation is missing, broken or not what it claims to be."""


class BodyError(HpsbenchError):
    """A body file is missing, broken or has arrays of the wrong shape."""


class WeightsError(HpsbenchError):
    """A checkpoint does not fit the model that it was given to."""


class UnsafePickleError(HpsbenchError):
    """A pickle asks for a class or function outside the allow-list."""


class ProtocolError(HpsbenchError):
    """A protocol file says too little, too much or something contradictory."""


class PredictionError(HpsbenchError):
    """Predictions are NaN, mis-shaped, missing, duplicate or for unknown samples."""


class ResultError(HpsbenchError):
    """A results or generated folder is incomplete, altered or belongs to another run."""


class MissingExtraError(HpsbenchError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, extra: str, purpose: str):
        super().__init__(
            f"{purpose} needs the package '{package}', which is not installed. Install it with: pip install 'hpsbench[{extra}]'"
        )


class UnknownNameError(HpsbenchError):
    """No plug-in, file or metric of that name; the message offers the nearest ones."""

    def __init__(self, name: str, kind: str, known: Iterable[str], hint: str = ""):
        known = sorted(known)
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        guess = f" Did you mean '{near[0]}'?" if near else ""
        listed = ", ".join(known) or "none"
        super().__init__(f"No {kind} named '{name}'.{guess} Known: {listed}.{' ' + hint if hint else ''}")
