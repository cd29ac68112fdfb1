#!/usr/bin/env python3
"""Times llama.cpp and `miser bench` on one file, in turns, and prints ratios with their spread.

usage: llama_cpp.py -m FILE [-d 0,2048] [-p 512] [-n 32] [-r 5] [-t 2] [--kv POLICY ...] [--cache-type TYPE ...]
                    [--miser build/release/miser]

llama.cpp's f16, q8_0 and q4_0 (or each TYPE) stand beside Miser's f16, q8 and q4, and each POLICY beside all of them.

llama.cpp comes as the PyPI package xllamacpp, a prebuilt wheel, into build/peers/venv. Its server runs inside this
process with one slot and flash attention, and its own timings are read. A prompt that begins with the tokens of the
last one is not computed again, so each test starts at the depth. To get there only 512 tokens are computed: the saved
slot is repeated up to the depth (slot_file.py) and restored, as filling a deep cache takes llama.cpp up to an hour.
What cached vectors hold does not change how long they take. Its threads spin at barriers: beside other work it falls to
a hundredth of its speed, so the comparison needs an idle machine.
"""
import argparse
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import urllib.request

import slot_file

ROOT = pathlib.Path(__file__).resolve().parents[2]
VENV = ROOT / "build" / "peers" / "venv"
PACKAGE = "xllamacpp"
TYPES = {"f16": "f16", "q8_0": "q8", "q4_0": "q4"}  # llama.cpp's cache type: Miser's policy
COMPUTED = 512  # tokens of a deep cache that llama.cpp computes itself
FIRST_TOKEN, LAST_TOKEN = 300, 40_000  # ordinary tokens in all vocabularies that are benched


def enter_venv():
    """Goes on in a Python that has the package, installed by name as a wheel."""
    python = VENV / "bin" / "python"
    if pathlib.Path(sys.prefix) == VENV:
        return
    if not (VENV / "installed").exists():
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]
        subprocess.run([*pip, PACKAGE], check=True)
        (VENV / "installed").touch()
    os.execv(python, [python, *sys.argv])


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("-d", "--depth", default="0,2048", help="tokens in the cache before each test")
    parser.add_argument("-p", "--n-prompt", type=int, default=512)
    parser.add_argument("-n", "--n-gen", type=int, default=32)
    parser.add_argument("-r", "--repetitions", type=int, default=5)
    parser.add_argument("-t", "--threads", type=int, default=2)
    parser.add_argument("--kv", action="append", default=[], metavar="POLICY", help="a policy of Miser's to time as well")
    parser.add_argument("--cache-type", action="append", choices=TYPES, help="only these types of llama.cpp's")
    parser.add_argument("--miser", default=ROOT / "build" / "release" / "miser")
    args = parser.parse_args()
    args.types = {cache_type: TYPES[cache_type] for cache_type in args.cache_type or TYPES}
    return args


class LlamaCpp:
    """One model with one cache type, its cache filled to `depth`. Idle threads spin: keep none beside another."""

    def __init__(self, args, cache_type, depth):
        import xllamacpp  # here, as only the Python of the venv has it

        params = xllamacpp.CommonParams()
        params.model.path = args.model
        params.n_ctx = -(-(depth + args.n_prompt + args.n_gen + 2) // 256) * 256
        params.n_parallel = 1
        params.n_gpu_layers = 0
        params.n_batch = params.n_ubatch = 512
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = args.threads
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED
        params.cache_type_k = params.cache_type_v = getattr(xllamacpp.ggml_type, "GGML_TYPE_" + cache_type.upper())
        params.cache_ram_mib = 0
        self.slots = tempfile.TemporaryDirectory()
        params.slot_save_path = self.slots.name + os.sep
        self.server = xllamacpp.Server(params)
        self.args = args
        self.random = random.Random(depth)
        self.depth = depth
        self.fill()

    def fill(self):
        self.tokens = self.draw(min(max(self.depth, 1), COMPUTED))  # it needs a prompt: depth 0 decodes after one token
        self.complete(self.tokens, 1)  # a token that is drawn last is not in the cache
        if self.depth <= COMPUTED:
            return
        self.slot("save")
        file = pathlib.Path(self.slots.name) / "slot"
        self.tokens = slot_file.repeat(file, self.depth)
        self.slot("restore")
        file.unlink()

    def slot(self, action):
        request = urllib.request.Request(f"{self.server.listening_address}/slots/0?action={action}",
                                         json.dumps({"filename": "slot"}).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as reply:
            reply.read()

    def draw(self, n):
        return [self.random.randint(FIRST_TOKEN, LAST_TOKEN) for _ in range(n)]

    def complete(self, prompt, n_predict):
        request = {"prompt": prompt, "n_predict": n_predict, "ignore_eos": True, "samplers": ["top_k"], "top_k": 1,
                   "cache_prompt": True, "id_slot": 0}
        reply = self.server.handle_completions(request)
        if "timings" not in reply:
            sys.exit(f"llama.cpp: {reply}")
        return reply["timings"]

    def prefill(self):
        """Tokens per second of n_prompt fresh tokens after `depth` others."""
        timings = self.complete(self.tokens[:self.depth] + self.draw(self.args.n_prompt), 1)
        if timings["prompt_n"] != self.args.n_prompt:
            sys.exit(f"llama.cpp: computed {timings['prompt_n']} tokens, expected {self.args.n_prompt}")
        return 1000 * timings["prompt_n"] / timings["prompt_ms"]

    def decode(self):
        """Tokens per second of n_gen tokens. The first token comes with the prompt, so one more is asked for."""
        timings = self.complete(self.tokens, self.args.n_gen + 1)
        return 1000 * (timings["predicted_n"] - 1) / timings["predicted_ms"]


def time_miser(args, depth):
    """{policy: (prefill, decode)} of one repetition."""
    command = [args.miser, "bench", "-m", args.model, "-d", depth, "-p", args.n_prompt, "-n", args.n_gen, "-r", 1,
               "-t", args.threads, "--json"]
    policies = [*args.types.values(), *args.kv]
    for policy in policies:
        command += ["--kv", policy]
    run = subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE)
    rows = json.loads(run.stdout)["rows"]
    # In the order of the command line: a row names its policy in full, as random with its seed.
    return {policy: (row["prefill_tok_per_s"], row["decode_tok_per_s"])
            for policy, row in zip(policies, rows, strict=True)}


def time_llama_cpp(args, depth):
    """{cache type: (prefill, decode)} of one repetition."""
    speeds = {}
    for cache_type in args.types:
        peer = LlamaCpp(args, cache_type, depth)
        speeds[cache_type] = (peer.prefill(), peer.decode())
        del peer
    return speeds


def show(values):
    median = statistics.median(values)
    return f"{median:.1f} ± {statistics.median(abs(value - median) for value in values):.1f}"


def compare(args, depth):
    ours, theirs = [], []
    for repetition in range(args.repetitions):
        print(f"depth {depth}: repetition {repetition + 1} of {args.repetitions}", file=sys.stderr)
        ours.append(time_miser(args, depth))
        theirs.append(time_llama_cpp(args, depth))
    pairs = [*args.types.items(), *((cache_type, policy) for policy in args.kv for cache_type in args.types)]
    for cache_type, policy in pairs:
        for i, test in enumerate((f"pp{args.n_prompt}", f"tg{args.n_gen}")):
            a = [run[policy][i] for run in ours]
            b = [run[cache_type][i] for run in theirs]
            ratios = [x / y for x, y in zip(a, b)]
            print(f"| {depth} | {test} | {policy} | {show(a)} | {cache_type} | {show(b)} | "
                  f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |", flush=True)


def main():
    args = parse_arguments()
    enter_venv()
    print("| depth | test | miser | t/s | llama.cpp | t/s | ratio (least to most) |")
    print("| ---: | ---: | --- | ---: | --- | ---: | ---: |")
    for depth in args.depth.split(","):
        compare(args, int(depth))
    print("\nt/s: median ± median absolute deviation; ratio: miser over llama.cpp, median over repetitions")


if __name__ == "__main__":
    main()
