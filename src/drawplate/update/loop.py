"""The loop: look, keep the champion, pin, build, compare, decide.

Each step reads what the ones before it left on the disk and in MLflow, so that running again after
a kill goes on where it ended. The champion's alias moves last but one, and what is needed to hold
something against it is kept before a build may replace it.
"""

import fcntl
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from drawplate.artifacts.files import read_json
from drawplate.build import gpus
from drawplate.build.hardware import identity
from drawplate.build.plan import Plan, json_or_none
from drawplate.build.workflow import git_commit, load_build, make_plan
from drawplate.config.build import Build
from drawplate.errors import DrawplateError
from drawplate.progress import say
from drawplate.sources import newer
from drawplate.sources.fetch import describe
from drawplate.track import registry
from drawplate.track.server import tracking_uri
from drawplate.update import champion as kept
from drawplate.update import story as told
from drawplate.update.build import failures, run_build
from drawplate.update.candidate import Candidate, chosen, noted_by_a_build, tags_of
from drawplate.update.compare import (
    Pair,
    champion_evaluation,
    compared_quality,
    compared_speed,
    same_tokenizer,
)
from drawplate.update.pin import write_pin
from drawplate.update.verdict import judge

LOCK = Path(".drawplate/update.lock")


def look(words: dict[str, Any], root: Path) -> tuple[bool, str]:
    """Whether the base's source has something newer, and that in words; nothing is changed."""
    base = load_build(words, root).base
    found = _newer(base)
    name = describe(base["source"])
    if found is None:
        return False, f"nothing new: {name} is the newest"
    unsure = "" if found.differs else " (whether its files differ shows when they are here)"
    return True, f"new: {name} has {found.words}{unsure}"


def _newer(base: dict[str, Any]) -> newer.Revision | None:
    """What is newer than a base's pin, None if nothing is.

    Raises:
        DrawplateError: If the source cannot be asked, or what is there cannot be a base.
    """
    newer.refuse_no_base(base["source"])
    return newer.look(base["source"], base["follow"])


def update(
    words: dict[str, Any], root: Path, *, build: bool = True, propose: bool = False
) -> list[str]:
    """Follow the base's source, and let the best of what comes of it take the champion's place.

    Args:
        words: `experiment`, `overrides`, `hardware`.
        root: The repository, which is the current folder too.
        build: Whether to go on behind the pin.
        propose: Judge and tell, but leave the champion to a later run, after people have looked.

    Returns:
        What came of it, in lines.

    Raises:
        DrawplateError: If the source, the store or the build fails. The champion is as it was.
    """
    with _alone(root / LOCK):
        configured = load_build(words, root)
        store = tracking_uri(configured.track["tracking_uri"])
        present = _present(store, configured.model)
        moved = _follow(words, configured, root)
        if not build:
            return ["pinned" if moved else "nothing new to pin"]
        plan = make_plan(words, root)
        if any(True for _ in plan.stale(root)) or moved:
            _build(words, configured.model)
            plan, configured = make_plan(words, root), load_build(words, root)
        elif _settled(configured, present, propose):
            return [f"nothing new: {describe(configured.base['source'])} is built and judged"]
        if _taken_back(configured, present):
            return ["the champion stays: the candidate was champion, and somebody took it back"]
        return _decide(words, configured, plan, store, present, root, propose)


def _follow(words: dict[str, Any], build: Build, root: Path) -> bool:
    """Pin what is newer; whether there was something."""
    source = build.base["source"]
    found = _newer(build.base)
    name = describe(source)
    pin = newer.pin(source, found) if found else None
    if pin is None:
        same = f"; {found.words} has the same files" if found else ""
        say(f"update: nothing new at {name}{same}")
        return False
    files = write_pin(words, pin, root)
    say(f"update: {name} has {found.words if found else 'moved'}")
    for entry, value in pin.items():
        places = ", ".join(map(str, files))
        say(f"update: {entry} was {source.get(entry)}, is {value} (in {places})")
    return True


def _build(words: dict[str, Any], model: str) -> None:
    status = run_build(words)
    if status != 0:
        why = "; ".join(failures(model)) or "see what it printed above"
        raise DrawplateError(
            f"the build ended with status {status}, so the champion stays: {why}",
            "mend that and run drawplate update again, which goes on from there; or take the new "
            "pin back with git",
        )


def _present(store: str, model: str) -> dict[str, Any] | None:
    """What is known of the champion, its engine kept; None if there is none yet."""
    version = registry.version_of(store, model, registry.CHAMPION)
    if version is None:
        record = kept.last_champion(model)
        if record is None:
            return None
        say("update: the store names no champion, the last one kept here is registered in it")
        version = registry.register(store, model, record["digest"], tags_of(record), None)
        registry.point(store, model, registry.CHAMPION, version.number)
    engine = kept.find_engine(version.digest, model)
    record = kept.noted(model, version.digest) or noted_by_a_build(model, engine, version)
    kept.keep(engine, model, record)
    return {**record, "version": version.number}


def _last(build: Build) -> dict[str, Any]:
    """What the update before told; empty if there was none."""
    return json_or_none(Path("results") / build.model / "update.json") or {}


def _digests(
    build: Build, present: dict[str, Any] | None, last: dict[str, Any]
) -> tuple[tuple[str | None, str | None], tuple[str | None, str | None]]:
    """Of candidate and champion: now, and when the last candidate was judged."""
    try:
        digest = chosen(build).record["digest"]
    except DrawplateError:
        digest = None
    judged = (last.get("candidate") or {}).get("digest"), (last.get("champion") or {}).get("digest")
    return (digest, present["digest"] if present else None), judged


def _taken_back(build: Build, present: dict[str, Any] | None) -> bool:
    """Whether the candidate took the champion's place already, and that one has it again."""
    last = _last(build)
    now, judged = _digests(build, present, last)
    return judged == now and last.get("decision") == told.PROMOTED


def _settled(build: Build, present: dict[str, Any] | None, propose: bool) -> bool:
    """Whether what is built is the champion, or was judged against it under these limits."""
    last = _last(build)
    now, judged = _digests(build, present, last)
    digest, champion = now
    if digest is not None and digest == champion:
        return True
    # What was proposed, or is half done, is still to be carried out. So is a first champion that
    # the store does not name: where it does, the candidate is the champion, and all was said above.
    unfinished = {told.PROMOTING, told.FIRST} | (set() if propose else {told.PROPOSED})
    return bool(
        last
        and judged == now
        and last["limits"] == build.update
        and last["decision"] not in unfinished
    )


def _decide(
    words: dict[str, Any],
    build: Build,
    plan: Plan,
    store: str,
    present: dict[str, Any] | None,
    root: Path,
    propose: bool,
) -> list[str]:
    """Register the candidate, judge it, move the aliases, tell."""
    model, results = build.model, Path("results") / build.model
    story: dict[str, Any] = {
        "model": model,
        "decision": told.NONE,
        "reasons": [],
        "champion": told.side(present, present["evaluation"], None) if present else None,
        "candidate": None,
        **dict.fromkeys(("paired", "ratio", "measures", "rounds")),
        "limits": build.update,
        "machine": read_json(results / "report.json")["machine"],
        "champion_machine": present["machine"] if present else None,
        "git_commit": git_commit(root),
        "command": _command(words),
    }
    try:
        candidate = chosen(build)
    except DrawplateError as error:
        story["reasons"] = [str(error)]
        return _tell(story, results)
    version = registry.register(
        store,
        model,
        candidate.record["digest"],
        tags_of(candidate.record),
        candidate.variant["mlflow_run_id"],
    )
    registry.point(store, model, registry.CANDIDATE, version.number)
    record = {**candidate.record, "version": version.number}
    own = told.side(record, candidate.evaluation, candidate.variant["performance"])
    story |= {"candidate": own, "decision": told.FIRST}
    if present is not None and present["digest"] == record["digest"]:
        return _tell(story | {"decision": told.UNCHANGED}, results)
    if present is not None:
        story |= _judged(build, plan, present, candidate, record, identity(words["hardware"]))
    if story["decision"] != told.REFUSED and propose:
        return _tell(story | {"decision": told.PROPOSED}, results)
    if story["decision"] != told.REFUSED:
        # Said before it is done: a run that finds this goes on, whoever took the alias back does not.
        told.write_story({**story, "decision": told.PROMOTING}, results)
        registry.point(store, model, registry.CHAMPION, version.number)
        kept.keep(Path(candidate.variant["artifact"]["path"]), model, candidate.record)
    return _tell(story, results)


def _judged(
    build: Build,
    plan: Plan,
    present: dict[str, Any],
    candidate: Candidate,
    record: dict[str, Any],
    machine: dict[str, Any],
) -> dict[str, Any]:
    """What of the story the comparison tells."""
    nodes = next(v for v in plan.variants if v["name"] == candidate.variant["name"])["nodes"]
    pair = Pair(
        candidate=Path(candidate.variant["artifact"]["path"]),
        champion=kept.kept_folder(build.model, present["digest"]),
        evaluate=nodes["evaluate"],
        benchmark=nodes["benchmark"],
        machine=machine,
    )
    # As a job of a build: on a GPU of the engine's kind that nothing else computes on.
    kind = pair.benchmark.gpu
    with gpus.leased(kind) if kind else nullcontext():
        before = champion_evaluation(pair, present["evaluation"])
        speeds = compared_speed(pair, kept.comparison_file(build.model))
    paired = compared_quality(pair, before, candidate.evaluation)
    verdict = judge(
        build.update,
        evaluation=candidate.evaluation,
        paired=paired,
        same_tokens=same_tokenizer(pair),
        benchmark=speeds,
        own_bytes=record["bytes"],
        champion_bytes=present["bytes"],
    )
    return {
        "decision": told.PROMOTED if verdict["passed"] else told.REFUSED,
        "reasons": verdict["reasons"],
        "measures": verdict["measures"],
        "champion": told.side(present, before, speeds["against"]),
        "candidate": told.side(record, candidate.evaluation, speeds["performance"]),
        "paired": paired,
        "ratio": speeds["ratio"],
        "rounds": speeds["tokens"]["repeats"],
    }


def _command(words: dict[str, Any]) -> str:
    command = ["drawplate", "update", "--experiment", words["experiment"]]
    command += [part for override in words["overrides"] for part in ("--override", override)]
    return shlex.join([*command, "--hardware", words["hardware"]])


def _tell(story: dict[str, Any], results: Path) -> list[str]:
    told.write_story(story, results)
    head = f"{story['model']}: {told.HEADS[story['decision']]}"
    reasons = [f"  {reason}" for reason in story["reasons"]]
    return [head, *reasons, f"table: {results / 'update.md'}"]


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the lock of updates, which the kernel frees when its holder dies.

    Raises:
        DrawplateError: If another update runs here.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DrawplateError(
                f"another update runs here (it holds {path.name})", "wait for its end"
            ) from None
        yield
