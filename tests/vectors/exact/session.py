"""Published sessions: `python -m tests.vectors.exact.session` runs them and prints what came out, as JSON.

With `--device cuda` on another device; with `--write` into the vectors (a change of the protocol, if they differ).
"""

import argparse
import base64
import json
from pathlib import Path

from pydantic import TypeAdapter

from deepblock.cid import Cid
from deepblock.spec import TaskSpec
from deepblock.training.audit import replay
from deepblock.training.score import score
from deepblock.training.session import run_session
from deepblock.training.state import Work
from deepblock.unixfs import file_cid

FOLDER = Path(__file__).parent
NAMES = ("mlp", "cnn", "residual", "transformer", "transfer")


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


def published(name: str) -> dict:
    return json.loads((FOLDER / f"{name}.json").read_text())


def load(name: str) -> tuple[Work, MemoryFiles]:
    """The session of a vector and the files it needs."""
    vector = published(name)
    spec = TypeAdapter(TaskSpec).validate_python(vector["spec"])
    files = MemoryFiles(
        *(base64.b64decode(vector[name]) for name in ("train", "heldout", "start") if name in vector)
    )
    return Work(spec, bytes.fromhex(vector["seed"]), None), files


def run(name: str, device: str = "cpu") -> dict:
    """What the session gives, in the form of the vector's "result"; the next session starts from its average."""
    work, files = load(name)
    sessions = []
    for seed in (work.seed, work.seed[::-1]):
        this = Work(work.spec, seed, Cid.parse(sessions[-1]["average"]) if sessions else None)
        result = run_session(
            this,
            files,
            on_segment=lambda index, state: None,
            on_step=lambda done, total: None,
            should_stop=lambda: False,
            device=device,
        )
        sessions.append(
            {
                "states": [str(state) for state in result.states],
                "average": str(result.average),
                "loss": result.score.loss,
                "correct": result.score.correct,
            }
        )
        last = work.spec.segments
        assert replay(
            this,
            files,
            start=last - 1,
            state=result.states[-2],
            upto=last,
            on_step=lambda done, total: None,
            should_stop=lambda: False,
            device=device,
        ) == (result.states[-1],)
        assert score(work.spec, files, result.average, device=device, batch=7) == result.score
    return {"sessions": sessions}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    results = {name: run(name, options.device) for name in NAMES}
    print(json.dumps(results))
    if options.write:
        for name, result in results.items():
            vector = published(name) | {"result": result}
            (FOLDER / f"{name}.json").write_text(json.dumps(vector, indent=1) + "\n")


if __name__ == "__main__":
    main()
