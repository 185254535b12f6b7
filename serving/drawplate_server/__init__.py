"""The server inside the image: the OpenAI API over one engine folder, and nothing of the build.

It runs on FastAPI and uvicorn. A runtime is one module of `backends/`: token ids in, logits out.
"""
