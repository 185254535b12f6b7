"""Quantization and sparsity by llm-compressor, which lives in an environment of its own.

llm-compressor holds transformers back at a version that the rest of Drawplate is past. So it runs
as another process of `.venv-llmcompressor`, which is told what to do in JSON and leaves a folder.
"""
