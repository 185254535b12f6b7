"""Search for recipes: an optimizer proposes, nested builds measure, a proxy stops the losers."""

import argparse
import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from drawplate.artifacts.files import finished_folder
from drawplate.artifacts.manifest import read_manifest, stored_bytes
from drawplate.build.job import Job, finish_measurement, run
from drawplate.build.keys import digest_of_key
from drawplate.build.searching import study_key
from drawplate.build.workflow import load_build
from drawplate.config.checking import proposals
from drawplate.errors import DrawplateError
from drawplate.progress import say
from drawplate.search.generation import build_generation, without_refuted
from drawplate.search.run import run_search
from drawplate.search.study import open_study
from drawplate.search.trials import choose, story

STUDY = "study.db"


def main() -> None:
    """Read the job, search, write `search.json` with every trial and the survivors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the job, JSON")
    parser.add_argument("--cores", type=int, help="processors of the nested builds")
    parser.add_argument("--output", type=Path, required=True, help="results/<model>/search/result")
    arguments = parser.parse_args()
    job, root = Job.read(arguments.config), Path.cwd()
    output, settings = arguments.output, job.config

    def work() -> None:
        words = settings["words"]
        build = load_build(words, root)
        if build.search is None:
            raise DrawplateError(f"experiment {words['experiment']} has no search section")
        candidates = proposals(build.search, build.engines, build.base["task"])
        with alone(output.parent / ".lock"):
            candidates = without_refuted(candidates, words, root, arguments.cores)
            study = open_study(output.parent / STUDY, digest_of_key(study_key(job.key)))
            trials = run_search(
                study,
                candidates,
                settings,
                lambda names: build_generation(names, candidates, words, root, arguments.cores),
            )
            base = Path("artifacts") / job.model / "base"
            base_bytes = stored_bytes(read_manifest(base))
            most, limit = settings["survivors"], settings["proxy"]["max_loss"]
            kept, stopped = choose(trials, base_bytes, most, limit)
            say(f"search: {len(kept)} survivors: {', '.join(kept) or 'none'}")
            with finished_folder(output) as folder:
                result = story(trials, kept, stopped, base_bytes, settings["task"])
                finish_measurement(folder, job, result)

    run(job, work)


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold a search's lock, which the kernel frees when its holder dies; wait for another's end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{path} is held by a search that still runs, waiting for it")
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    main()
