"""Local stand-ins for what is out there: a hub, a package index, a GGUF file."""

import contextlib
import hashlib
import http.server
import json
import math
import struct
import threading
import zipfile

from tokenizers import Tokenizer, models

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = "someone/tiny"


def write_safetensors(path, tensors):
    """A safetensors file of float32 tensors given as name -> (shape, values)."""
    header, body = {}, b""
    for name, (shape, values) in tensors.items():
        data = struct.pack(f"<{len(values)}f", *values)
        offsets = [len(body), len(body) + len(data)]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": offsets}
        body += data
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


LLAMA = {
    "vocab_size": 4,
    "hidden_size": 8,
    "intermediate_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "tie_word_embeddings": True,
}


def llama_tensors(layers=2):
    """The tensors of `LLAMA` as name -> (shape, values)."""
    square = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"]
    square += ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
    shapes = {"model.embed_tokens.weight": [4, 8], "model.norm.weight": [8]}
    for layer in (f"model.layers.{n}" for n in range(layers)):
        shapes |= {f"{layer}.{name}.weight": [8, 8] for name in square}
        shapes |= {f"{layer}.input_layernorm.weight": [8]}
        shapes |= {f"{layer}.post_attention_layernorm.weight": [8]}
    return {name: (shape, range(1, math.prod(shape) + 1)) for name, shape in shapes.items()}


def write_checkpoint(folder, **config):
    """A Llama small enough to write by hand."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], **LLAMA, **config}
    (folder / "config.json").write_text(json.dumps(settings))
    Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a")).save(
        str(folder / "tokenizer.json")
    )
    write_safetensors(folder / "model.safetensors", llama_tensors())
    return folder


def write_wheel(folder, package="drawtext", version="1.0", members=None):
    """A wheel that pip accepts; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{package}-{version}.dist-info"
    files = {
        **(members or {f"{package}/a.txt": "one\n\ntwo\n", f"{package}/b.md": "left out"}),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    path = folder / f"{package}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in files.items():
            wheel.writestr(zipfile.ZipInfo(name), text)
        wheel.writestr(zipfile.ZipInfo(f"{info}/RECORD"), "")
    return path


class HubHandler(http.server.BaseHTTPRequestHandler):
    """The part of the hub's interface that a download of one revision uses.

    `hub_server` makes a subclass with `files`, `truncate` and `asked`.
    """

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(with_body=False)

    def do_GET(self):
        self.answer(with_body=True)

    def answer(self, with_body):
        path = self.path.split("?")[0]
        self.asked.append(path)
        if path.startswith(f"/api/models/{REPO}/revision/"):
            siblings = [{"rfilename": name} for name in self.files]
            self.send_json({"id": REPO, "sha": COMMIT, "siblings": siblings})
        elif path.startswith(f"/api/models/{REPO}/tree/"):
            self.send_json(
                [
                    {"type": "file", "path": n, "size": len(b), "oid": etag(b)}
                    for n, b in self.files.items()
                ]
            )
        elif path.startswith(f"/{REPO}/resolve/{COMMIT}/"):
            # The real hub answers with a redirect for large files; so does the stand-in.
            name = path.split(f"{COMMIT}/")[1]
            self.send_response(302)
            self.send_header("Location", f"/cdn/{name}")
            self.file_headers(name, "X-Linked-Size", "X-Linked-Etag")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif path.startswith("/cdn/"):
            self.send_file(path.removeprefix("/cdn/"), with_body)
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def file_headers(self, name, size, tag):
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header(size, str(len(self.files[name])))
        self.send_header(tag, f'"{etag(self.files[name])}"')

    def send_file(self, name, with_body):
        self.send_response(200)
        self.file_headers(name, "Content-Length", "ETag")
        self.end_headers()
        if with_body:
            body = self.files[name]
            self.wfile.write(body[: len(body) // 2] if self.truncate else body)

    def send_json(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def etag(body):
    return hashlib.sha1(body).hexdigest()


@contextlib.contextmanager
def hub_server(files, truncate=False):
    """A hub with one repository; yields its address and the list of paths asked for."""
    handler = type("Handler", (HubHandler,), {"files": files, "truncate": truncate, "asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", handler.asked
    finally:
        server.shutdown()
        server.server_close()
