"""Published sessions: `python -m tests.vectors.exact.session` runs them and prints what came out, as JSON.

With `--device cuda` on another device; with `--write` into the vectors (a change of the protocol, if they differ).
"""

import argparse
import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter

from deepblock.cid import Cid
from deepblock.data import pack_split
from deepblock.spec import TaskSpec, label_shape
from deepblock.tensors import split_manifest, unpack
from deepblock.training.audit import replay
from deepblock.training.score import score
from deepblock.training.session import SessionResult
from deepblock.training.state import Work
from deepblock.training.step import Trainer
from deepblock.unixfs import file_cid
from tests.session_vectors import MakeTrainer, whole_session

FOLDER = Path(__file__).parent
NAMES = ("mlp", "cnn", "residual", "transformer", "transfer", "wide-residual", "wide-transformer")

LAYOUTS = {
    "scored one by one": (1, False),
    "scored in sevens": (7, False),
    "scored backwards": (None, True),
    "scored backwards in threes": (3, True),
}
"""How else the held-out split is scored: examples at a time (None: as many as fit), and whether the last is first."""


class MemoryFiles:
    """Files by CID, in memory."""

    def __init__(self, *files: bytes) -> None:
        self._files = {file_cid(data): data for data in files}

    def get_file(self, cid: Cid, max_size: int) -> bytes:
        assert len(self._files[cid]) <= max_size
        return self._files[cid]

    def put_file(self, data: bytes) -> Cid:
        cid = file_cid(data)
        self._files[cid] = data
        return cid


def published(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text())


def load(name: str) -> tuple[Work, MemoryFiles]:
    """The session of a vector and the files it needs."""
    vector = published(name)
    spec = TypeAdapter(TaskSpec).validate_python(vector["spec"])
    files = MemoryFiles(
        *(base64.b64decode(vector[name]) for name in ("train", "heldout", "start") if name in vector)
    )
    return Work(spec, bytes.fromhex(vector["seed"]), None), files


def run(name: str, device: str = "cpu", make_trainer: MakeTrainer = Trainer) -> dict[str, Any]:
    """What the vector's sessions give, in the form of its "result"; the second starts from the first's average.

    Under "again" what has to be equal to that: `repeated`.
    """
    work, files = load(name)
    sessions, again = [], []
    for seed in (work.seed, work.seed[::-1]):
        this = Work(work.spec, seed, Cid.parse(sessions[-1]["average"]) if sessions else None)
        result = whole_session(this, files, device, make_trainer)
        sessions.append(
            {
                "states": [str(state) for state in result.states],
                "average": str(result.average),
                "loss": result.score.loss,
                "correct": result.score.correct,
            }
        )
        again.append(repeated(this, files, result, device, make_trainer))
    return {"sessions": sessions, "again": again}


def repeated(
    work: Work,
    files: MemoryFiles,
    result: SessionResult,
    device: str,
    make_trainer: MakeTrainer = Trainer,
) -> dict[str, Any]:
    """The last segment, done again from the state before; the average, scored in all `LAYOUTS`."""
    (last,) = replay(
        work,
        files,
        start=work.spec.segments - 1,
        state=result.states[-2],
        upto=work.spec.segments,
        on_step=lambda done, total: None,
        should_stop=lambda: False,
        trainer=make_trainer(work, files, torch.device(device)),
    )
    found: dict[str, Any] = {"last segment again": str(last)}
    there_and_back = work.spec, replace(work.spec, heldout=files.put_file(_backwards(work.spec, files)))
    for layout, (batch, backwards) in LAYOUTS.items():
        scored = score(there_and_back[backwards], files, result.average, device=device, batch=batch)
        found[layout] = [scored.loss, scored.correct]
    return found


def _backwards(spec: TaskSpec, files: MemoryFiles) -> bytes:
    """The held-out split, its last example first."""
    manifest = split_manifest(spec.input_shape, spec.n_heldout, label_shape(spec))
    split = unpack(files.get_file(spec.heldout, 1 << 30), manifest)
    return pack_split(split["inputs"][::-1], split["labels"][::-1])


def wanted(name: str) -> dict[str, Any]:
    """What `run` has to give."""
    sessions = published(name)["result"]["sessions"]
    again = [
        {"last segment again": one["states"][-1]}
        | {layout: [one["loss"], one["correct"]] for layout in LAYOUTS}
        for one in sessions
    ]
    return {"sessions": sessions, "again": again}


def first_difference(found: dict[str, Any], expected: dict[str, Any]) -> str | None:
    """Between two of what `run` gives, in words; None where there is none."""
    for (what, ours), (_, theirs) in zip(_facts(found), _facts(expected), strict=True):
        if ours != theirs:
            return f"{what} is {ours}, published is {theirs}"
    return None


def _facts(found: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """In the order in which they come about."""
    for number, (one, again) in enumerate(zip(found["sessions"], found["again"], strict=True), 1):
        for segment, state in enumerate(one["states"], 1):
            yield f"session {number}: state {segment}", state
        for what in ("average", "loss", "correct"):
            yield f"session {number}: {what}", one[what]
        yield from ((f"session {number}: {what}", again[what]) for what in ("last segment again", *LAYOUTS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    results = {name: run(name, options.device) for name in NAMES}
    print(json.dumps(results))
    if options.write:
        for name, result in results.items():
            write(published(name), result)


def write(vector: dict[str, Any], result: dict[str, Any]) -> None:
    """A vector's file, with this result."""
    whole = vector | {"result": {"sessions": result["sessions"]}}
    (FOLDER / f"{vector['spec']['name']}.json").write_text(json.dumps(whole, indent=1) + "\n")


if __name__ == "__main__":
    main()
