"""What each stage needs, from the sizes of the model that it works on."""

from collections.abc import Callable

from drawplate.build import costs_of_engines as engines
from drawplate.build import costs_of_steps as steps
from drawplate.build.work import Cost, Work


def cost(stage: str, work: Work) -> Cost:
    """What a job of a stage needs; a stage that is not known here is taken for a rewrite."""
    return COSTS.get(stage, steps.rewrite)(work)


COSTS: dict[str, Callable[[Work], Cost]] = {
    "base": steps.base,
    "prune": steps.prune,
    "quantize": steps.quantize,
    "quantize_library": steps.by_library,
    "sparsify": steps.by_library,
    "teacher": steps.teacher,
    "distill": steps.training,
    "recover": steps.training,
    "compile": engines.compile_engine,
    "verify": engines.verify,
    "evaluate": engines.evaluate,
    "benchmark": engines.benchmark,
    "data": lambda work: Cost(result_bytes=5e6, scratch_bytes=50e6, seconds=6),
    "machine": lambda work: Cost(memory_bytes=0.57e9, seconds=2),
    "proxy": engines.verify,
    # Themselves; what a search builds are jobs of their own.
    "search": lambda work: Cost(memory_bytes=0.3e9, result_bytes=5e6, seconds=10),
    "harvest": lambda work: Cost(memory_bytes=0.1e9, seconds=1),
    "gate": lambda work: Cost(memory_bytes=0.07e9, seconds=1),
    "rootfs": lambda work: Cost(result_bytes=160e6, seconds=80),
    "package": lambda work: Cost(
        memory_bytes=0.3e9, result_bytes=500e6, scratch_bytes=1e9, seconds=60
    ),
    "serve": lambda work: Cost(memory_bytes=2e9, seconds=120),
    "bundle": lambda work: Cost(memory_bytes=0.2e9, seconds=3),
    "bundle_trial": lambda work: Cost(memory_bytes=3e9, seconds=90),
    "sweep": lambda work: Cost(memory_bytes=1e9, seconds=20),
    "deploy": lambda work: Cost(memory_bytes=0.05e9, seconds=1),
    "track": lambda work: Cost(memory_bytes=0.25e9, result_bytes=5e6, seconds=4),
    "report": lambda work: Cost(memory_bytes=0.2e9, result_bytes=5e6, seconds=4),
}
