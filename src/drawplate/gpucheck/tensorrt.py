"""TensorRT on the GPU, where it can be imported: a small network compiled, run, compared."""

import importlib
from typing import Any

import torch


def check(device: torch.device) -> dict[str, Any]:
    """Compile and run `silu(x W)` in float16.

    Returns:
        `library`, and `largest_difference` from PyTorch with `agrees`; or `not_run`, why.
    """
    for name in ("tensorrt_rtx", "tensorrt"):
        try:
            trt = importlib.import_module(name)
        except (ImportError, OSError):
            continue
        if device.type != "cuda":
            return {"library": f"{name} {trt.__version__}", "not_run": "there is no GPU"}
        return {"library": f"{name} {trt.__version__}", **_compared(trt, device)}
    return {"not_run": "neither tensorrt_rtx nor tensorrt can be imported"}


def _compared(trt: Any, device: torch.device) -> dict[str, Any]:
    torch.manual_seed(0)
    weight = (torch.randn(256, 512) / 16).half()
    inputs = torch.randn(8, 256, device=device).half()
    logger = trt.Logger(trt.Logger.ERROR)
    plan = compiled(trt, logger, weight)
    engine = trt.Runtime(logger).deserialize_cuda_engine(plan)
    context = engine.create_execution_context()
    output = torch.empty(8, 512, dtype=torch.float16, device=device)
    context.set_tensor_address("x", inputs.data_ptr())
    context.set_tensor_address("y", output.data_ptr())
    stream = torch.cuda.current_stream(device)
    if not context.execute_async_v3(stream.cuda_stream):
        return {"not_run": "TensorRT could not run the engine"}
    stream.synchronize()
    expected = torch.nn.functional.silu(inputs.float() @ weight.to(device).float())
    difference = float((output.float() - expected).abs().max())
    return {"largest_difference": difference, "agrees": difference < 0.02}


def compiled(trt: Any, logger: Any, weight: torch.Tensor) -> Any:
    """The serialized engine of `y = silu(x weight)`, x [8, 256] float16."""
    builder = trt.Builder(logger)
    flag = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(flag)
    x = network.add_input("x", trt.float16, (8, weight.shape[0]))
    values = weight.contiguous().numpy()
    constant = network.add_constant(tuple(values.shape), trt.Weights(values)).get_output(0)
    none = trt.MatrixOperation.NONE
    product = network.add_matrix_multiply(x, none, constant, none).get_output(0)
    gate = network.add_activation(product, trt.ActivationType.SIGMOID).get_output(0)
    result = network.add_elementwise(product, gate, trt.ElementWiseOperation.PROD).get_output(0)
    result.name = "y"
    network.mark_output(result)
    return builder.build_serialized_network(network, builder.create_builder_config())
