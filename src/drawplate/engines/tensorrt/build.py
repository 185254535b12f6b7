"""From an ONNX graph to an engine, with one optimization profile.

A second profile, for decoding apart from prefill, nearly doubles the engine (286 and 514 MB for
135 million parameters in float16, TensorRT for RTX 1.7).
"""

import dataclasses
from pathlib import Path
from typing import Any

from drawplate.artifacts.manifest import sha256_file
from drawplate.engines.tensorrt.library import listener
from drawplate.errors import DrawplateError

PORTABLE = "portable"
Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Profile:
    """The sizes that an engine takes.

    Attributes:
        batch: Most rows.
        new: Most tokens of one pass.
        total: Most tokens of a row, those in the cache included.
    """

    batch: int
    new: int
    total: int

    def shapes(self, name: str, heads: int = 0, head_dim: int = 0) -> tuple[Shape, Shape, Shape]:
        """Smallest, usual and largest shape of an input; usual is decoding at batch 1."""
        usual = max(1, self.total // 4)
        if name in ("input_ids", "position_ids"):
            return (1, 1), (1, 1), (self.batch, self.new)
        if name == "attention_mask":
            return (1, 1), (1, usual), (self.batch, self.total)
        sizes = ((1, 0), (1, usual - 1), (self.batch, self.total - 1))
        least, often, most = ((rows, heads, tokens, head_dim) for rows, tokens in sizes)
        return least, often, most


def build(
    trt: Any, graph: Path, profile: Profile, target: str, options: dict[str, Any]
) -> memoryview:
    """Compile.

    Args:
        trt: The library.
        graph: File of the graph, its weights beside it.
        profile: Sizes.
        target: `sm80`, ..., or `portable`.
        options: See `drawplate.engines.tensorrt.compile`.

    Returns:
        The serialized engine.

    Raises:
        DrawplateError: With the library's first complaint.
    """
    log = listener(trt)
    builder = trt.Builder(log)
    network = builder.create_network(_network_flags(trt))
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(str(graph)):
        raise DrawplateError(
            f"TensorRT cannot read the graph ({parser.get_error(0).desc()})",
            "choose another recipe or engine for this target",
        )
    config = builder.create_builder_config()
    _add_profile(builder, network, config, profile)
    _set_target(trt, config, target)
    _set_cache(config, options)
    _set_compatibility(trt, config, options)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        said = log.errors[0] if log.errors else "it gives no reason"
        raise DrawplateError(
            f"TensorRT cannot compile this for {target} ({said})",
            "choose another recipe or target",
        )
    return memoryview(plan)


def _network_flags(trt: Any) -> int:
    """Precision comes from the graph: the only way of TensorRT for RTX, a flag of TensorRT."""
    return 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)


def _add_profile(builder: Any, network: Any, config: Any, profile: Profile) -> None:
    shapes = builder.create_optimization_profile()
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        sizes = tuple(tensor.shape)
        more = (sizes[1], sizes[3]) if len(sizes) == 4 else (0, 0)
        shapes.set_shape(tensor.name, *profile.shapes(tensor.name, *more))
    config.add_optimization_profile(shapes)


def _set_target(trt: Any, config: Any, target: str) -> None:
    """Tell TensorRT for RTX what to compile for; TensorRT compiles for the GPU that is here."""
    if not hasattr(trt, "ComputeCapability"):
        _check_gpu(target)
        return
    if target == PORTABLE:  # what it compiles for if it is told nothing
        return
    known = trt.ComputeCapability.__members__
    if target.upper() not in known:
        able = ", ".join(sorted(name.lower() for name in known if name.startswith("SM")))
        raise DrawplateError(f"TensorRT for RTX does not know {target}", f"it knows {able}")
    config.num_compute_capabilities = 1
    config.set_compute_capability(known[target.upper()], 0)


def _check_gpu(target: str) -> None:
    from drawplate.build import gpus

    here = gpus.targets("gpu")
    if target not in here:
        raise DrawplateError(
            f"TensorRT compiles for {target} on such a GPU alone; here is {', '.join(here) or 'none'}",
            "compile on that machine, or choose engine tensorrt_rtx, which needs no GPU",
        )


def _set_cache(config: Any, options: dict[str, Any]) -> None:
    """Let TensorRT take kernels from a timing cache, which is read and never written."""
    if options["timing_cache"] is None:
        return
    path = Path(options["timing_cache"]).expanduser()
    if not path.is_file():
        raise DrawplateError(f"there is no timing cache {path}", "write timing_cache: null")
    digest = sha256_file(path)
    if digest != options["timing_cache_sha256"]:
        raise DrawplateError(
            f"timing cache {path} has digest {digest}", "write it as timing_cache_sha256"
        )
    if not config.set_timing_cache(config.create_timing_cache(path.read_bytes()), False):
        raise DrawplateError(
            f"timing cache {path} is of another TensorRT or GPU", "write timing_cache: null"
        )


def _set_compatibility(trt: Any, config: Any, options: dict[str, Any]) -> None:
    level = options["hardware_compatibility"]
    if level is None:
        return
    known = trt.HardwareCompatibilityLevel.__members__
    if level.upper() not in known:
        raise DrawplateError(
            f"TensorRT has no hardware compatibility {level!r}",
            f"choose from {', '.join(name.lower() for name in known)}",
        )
    config.hardware_compatibility_level = known[level.upper()]
