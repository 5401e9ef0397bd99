"""Servers to test against: one that plays a script, and one that runs a real model."""

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        behaviour = self.server.next_behaviour(
            {
                "path": self.path,
                "port": self.client_address[1],
                "headers": dict(self.headers),
                "body": json.loads(body),
            }
        )
        # A client that has heard enough leaves in the middle.
        with contextlib.suppress(ConnectionError):
            behaviour(self)

    def answer(self, status, body, kind="application/json", **headers):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        headers = {"content-type": kind, "content-length": str(len(body)), **headers}
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def begin_stream(self):
        # Its end is the end of the connection.
        self.close_connection = True
        self.send_response(200)
        self.send_header("content-type", "text/event-stream; charset=utf-8")
        self.end_headers()

    def log_message(self, *_):
        pass


class Scripted(ThreadingHTTPServer):
    """Meets each request with the next behaviour of its script; the last one stays.

    Attributes:
        url: What stands before ``/chat/completions``.
        requests: The path, port of origin, headers and body of each, as they came.
        script: The behaviours that are left; may be replaced.
        over: Set when the server is shut down; slow behaviours wait for it.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, *behaviours):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/v1"
        self.requests = []
        self.over = threading.Event()
        self.script = list(behaviours)
        self._lock = threading.Lock()

    def next_behaviour(self, request):
        with self._lock:
            self.requests.append(request)
            return self.script.pop(0) if len(self.script) > 1 else self.script[0]

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.shutdown()
        self.server_close()


def says(content="hello", *, finish="stop", tokens=3, **message):
    message = {"role": "assistant", "content": content, **message}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    body = {"choices": [choice], "usage": {"completion_tokens": tokens}}
    return lambda handler: handler.answer(200, body)


def echoes(handler):
    says(handler.server.requests[-1]["body"]["messages"][-1]["content"])(handler)


def fails(status, body=b"", **headers):
    return lambda handler: handler.answer(status, body, **headers)


def piece(content=None, *, finish=None, tokens=None, **delta):
    """One event of a stream."""
    delta = delta if content is None else {**delta, "content": content}
    body = {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    if tokens is not None:
        body["usage"] = {"completion_tokens": tokens}
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


def streams(*events):
    """Send ``events`` as they are, then hang up."""

    def behaviour(handler):
        handler.begin_stream()
        for event in events:
            handler.wfile.write(event)

    return behaviour


def drips(event, seconds=0.0):
    """Send ``event`` again and again: longer than anyone should listen, but not for ever."""

    def behaviour(handler):
        handler.begin_stream()
        end = time.monotonic() + 10
        while time.monotonic() < end and not handler.server.over.wait(seconds):
            handler.wfile.write(event)

    return behaviour


def sleeps(handler):
    handler.server.over.wait()
    handler.close_connection = True


def hangs_up(handler):
    handler.close_connection = True


def write_tiny_chat_model(folder):
    """Write a tiny Qwen3 with random weights and a byte-level tokenizer into ``folder``."""
    import tokenizers
    import torch
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    marks = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=280, special_tokens=marks, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(["the line of names, in order"] * 20, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=marks[2],
        pad_token=marks[0],
    )
    fast.chat_template = (
        "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}"
        "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    fast.save_pretrained(folder)
    config = Qwen3Config(
        vocab_size=len(fast),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=2048,
        # So much at random that what it says depends on what it was told.
        initializer_range=1.0,
        eos_token_id=fast.eos_token_id,
        pad_token_id=fast.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        Qwen3ForCausalLM(config).save_pretrained(folder)


@contextlib.contextmanager
def transformers_server(folder, *, patience=180):
    """Serve the chat model in ``folder`` with ``transformers serve``; yield the URL.

    It needs the packages of ``transformers[serving]``.  Requests must name ``folder`` as
    their model.

    Args:
        folder: Of the model and its tokenizer.
        patience: Seconds until the server must be ready.
    """
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder)]
    command += ["--device", "cpu", "--dtype", "float32", "--default-seed", "0"]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    with tempfile.TemporaryDirectory() as work:
        # Its list of models reads this cache, which must exist.
        offline = {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": work}
        log = Path(work) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, env={**os.environ, **offline}, stdout=output, stderr=output
            )
        try:
            _wait_until_ready(process, port, patience, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_ready(process, port, patience, log):
    deadline = time.monotonic() + patience
    while not _is_healthy(port):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"no server within {patience} seconds:\n{log.read_text()[-4000:]}")
        time.sleep(0.2)


def _is_healthy(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()
