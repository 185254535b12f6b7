"""Weight-only quantization: grids, GPTQ, allotment of bits, and the walk over a checkpoint."""
