"""From a target in parameters or decoding speed to what has to go. Pure functions of counts.

The speed is a prediction, which the benchmark then checks: a decoder on a CPU reads every weight
once for each token, so that a token takes the weights' bytes over the rate at which they are read,
and a fixed time for each layer.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from drawplate.errors import DrawplateError

TARGETS = ("target_parameters", "target_decode_speedup")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Counts:
    """What the weights of a decoder are made of.

    Attributes:
        channels: MLP channels of a layer.
        layers: Their number.
        outside: Parameters outside the layers.
        looked_up: Those of them of which a token reads one row: an embedding that is no head.
        layer: Parameters of one layer.
        channel: Parameters of one MLP channel of one layer.
        bytes_per_parameter: As stored.
    """

    channels: int
    layers: int
    outside: int
    looked_up: int
    layer: int
    channel: int
    bytes_per_parameter: int

    def left(self, channels: int, layers: int) -> "Counts":
        """With so many channels in each of so many layers."""
        layer = self.layer - (self.channels - channels) * self.channel
        return dataclasses.replace(self, channels=channels, layers=layers, layer=layer)

    @property
    def parameters(self) -> int:
        """All of them."""
        return self.outside + self.layers * self.layer

    def token_ms(self, settings: Mapping[str, Any]) -> float:
        """Predicted time of decoding one token in milliseconds.

        Args:
            settings: With `bandwidth_gb_per_s` and `layer_overhead_ms`.
        """
        read = (self.parameters - self.looked_up) * self.bytes_per_parameter
        per_ms = settings["bandwidth_gb_per_s"] * 1e6
        return float(read / per_ms + self.layers * settings["layer_overhead_ms"])


def has_target(settings: Mapping[str, Any]) -> bool:
    """Whether a prune step is told a budget and not shares."""
    return any(settings.get(name) for name in TARGETS)


def least_removal(whole: Counts, settings: Mapping[str, Any]) -> Counts:
    """What is left after the least removal that meets a target.

    Args:
        whole: Of the parent.
        settings: Of the prune step; see `prune.options.PruneOptions`.

    Raises:
        DrawplateError: If no removal meets it, or none is needed.
    """
    for left in _candidates(whole, settings):
        if _meets(whole, left, settings):
            break
    else:
        raise _out_of_reach(whole, left, settings)
    if left == whole:
        raise DrawplateError("the parent meets the target as it is", "leave the prune step out")
    return left


def speedup(whole: Counts, left: Counts, settings: Mapping[str, Any]) -> float:
    """Predicted decoding speed over that of the whole model."""
    return whole.token_ms(settings) / left.token_ms(settings)


def _candidates(whole: Counts, settings: Mapping[str, Any]) -> Iterator[Counts]:
    """What may be left, from the whole model down."""
    yield whole
    if settings["direction"] == "depth":
        yield from (whole.left(whole.channels, layers) for layers in range(whole.layers - 1, 1, -1))
    else:
        step = settings["multiple_of"]
        most = (whole.channels - 1) // step * step
        yield from (whole.left(channels, whole.layers) for channels in range(most, 0, -step))


def _meets(whole: Counts, left: Counts, settings: Mapping[str, Any]) -> bool:
    """Whether what is left meets the target."""
    if settings["target_decode_speedup"] is not None:
        return speedup(whole, left, settings) >= settings["target_decode_speedup"]
    target = settings["target_parameters"]
    return left.parameters <= (target * whole.parameters if target < 1 else target)


def _out_of_reach(whole: Counts, left: Counts, settings: Mapping[str, Any]) -> DrawplateError:
    """The refusal of a target that the last candidate does not meet."""
    name = next(name for name in TARGETS if settings[name] is not None)
    other = "width" if settings["direction"] == "depth" else "depth"
    *_, least = _candidates(whole, {**settings, "direction": other})
    if _meets(whole, least, settings):
        remedy = f"write direction: {other}, which can"
    elif left == whole:
        remedy = "lower multiple_of, with which nothing can go"
    elif name == "target_parameters":
        remedy = f"write at least {left.parameters}"
    elif (most := int(speedup(whole, left, settings) * 100) / 100) > 1:
        remedy = f"write at most {most}"
    else:
        remedy = "leave it out: no removal makes a token faster by this prediction"
    return DrawplateError(
        f"{name}: {settings[name]} is out of reach of direction: {settings['direction']}", remedy
    )
