"""Log-likelihoods of multiple-choice endings: prompts, requests and metrics of lm-evaluation-harness itself, a NumPy model.

Usage: harness_scores.py MODEL.gguf DATA_FOLDER [--items N] > tests/data/harness_scores.json
Needs the PyPI packages lm_eval==0.4.13, gguf, tokenizers and numpy. DATA_FOLDER holds {hellaswag_dev,openbookqa,...}.jsonl.gz.

Prints {"tasks": {task: [{"index" or "item", "logprobs", "acc", "acc_norm"}]}}: items of the data folder go by index (no
text of theirs is written), those of harness_items.py are written in full. The model is float32; what attention reads is
rounded to binary16, as a cache of 16 bits stores it (--float32: not).
"""

import argparse
import gzip
import json
import sys
import tempfile
from pathlib import Path

import gguf
import lm_eval
import numpy as np
from harness_items import ITEMS
from llama_reference import Model, exact_attention, forward, log_softmax
from lm_eval.api.model import TemplateLM
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks._yaml_loader import load_yaml
from tokenizers import Tokenizer, models, pre_tokenizers

FILES = {name: f"{name}.jsonl.gz" for name in ("openbookqa", "arc_challenge", "winogrande")}
FILES["hellaswag"] = "hellaswag_dev.jsonl.gz"
CONFIGS = {
    "hellaswag": "hellaswag/hellaswag",
    "openbookqa": "openbookqa/openbookqa",
    "arc_challenge": "arc/arc_challenge",
    "arc_easy": "arc/arc_easy",
    "piqa": "piqa/piqa",
    "winogrande": "winogrande/default",
    "boolq": "super_glue/boolq/default",
}


class Encoder(TemplateLM):
    """The harness's splitting of context and continuation over the tokenizer of a GGUF file."""

    backend = "causal"

    def __init__(self, path):
        reader = gguf.GGUFReader(path)
        strings = {k: reader.get_field(f"tokenizer.ggml.{k}").contents() for k in ("tokens", "merges", "pre")}
        if strings["pre"] != "smollm":
            sys.exit(f"{path}: pre-tokenizer is {strings['pre']}, expected smollm")
        vocabulary = {s: i for i, s in enumerate(strings["tokens"])}
        merges = [tuple(m.split(" ")) for m in strings["merges"]]
        self.bpe = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
        self.bpe.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )

    def tok_encode(self, string, **_):
        return self.bpe.encode(string).ids  # SmolLM2 begins no text with BOS

    def encode(self, context, continuation):
        return self._encode_pair(context, continuation)

    eot_token_id = prefix_token_id = None

    def _loglikelihood_tokens(self, *_, **__):
        raise NotImplementedError

    loglikelihood_rolling = generate_until = _loglikelihood_tokens


def to_hub_fields(task, doc):
    """An item in the field names of the set on the Hugging Face hub."""
    if task == "hellaswag" and "ctx_a" not in doc:
        activity, context = doc["ctx"].split(": ", 1)
        return {"activity_label": activity, "ctx_a": context, "ctx_b": "", "endings": doc["endings"], "label": str(doc["label"])}
    if task in ("hellaswag", "piqa", "boolq") or isinstance(doc.get("choices"), dict) or "sentence" in doc:
        return doc
    if task == "winogrande":
        first, second = doc["choices"]
        return {"sentence": doc["question"], "option1": first, "option2": second, "answer": str(doc["label"] + 1)}
    labels = "ABCDE"[: len(doc["choices"])]
    field = "question_stem" if task == "openbookqa" else "question"
    return {field: doc["question"], "choices": {"text": doc["choices"], "label": list(labels)}, "answerKey": labels[doc["label"]]}


def make_task(name, docs, folder):
    """The harness's own task object over `docs`."""
    path = Path(folder) / f"{name}.jsonl"
    path.write_text("".join(json.dumps(to_hub_fields(name, doc)) + "\n" for doc in docs))
    config = load_yaml(Path(lm_eval.__file__).parent / "tasks" / f"{CONFIGS[name]}.yaml", resolve_func=True)
    splits = {config[k] for k in ("training_split", "validation_split", "test_split") if config.get(k)}
    config |= {"dataset_path": "json", "dataset_name": None, "dataset_kwargs": {"data_files": {s: str(path) for s in splits}}}
    return ConfigurableTask(config=config)


def rounded_attention(layer, q, k, v):
    return exact_attention(layer, q, *(x.astype(np.float16).astype(x.dtype) for x in (k, v)))


def log_likelihood(model, attention, context, continuation):
    ids = context + continuation
    logits = forward(model, np.array(ids[:-1]), attention)[len(context) - 1 :].astype(np.float64)
    rows = log_softmax(logits)
    return float(rows[np.arange(len(continuation)), continuation].sum()), bool((logits.argmax(-1) == continuation).all())


def score(task, encoder, model, attention):
    task.build_all_requests(rank=0, world_size=1)
    by_doc = {}
    for instance in task.instances:
        by_doc.setdefault(instance.doc_id, []).append(instance)
    for doc_id, instances in sorted(by_doc.items()):
        results = [log_likelihood(model, attention, *encoder.encode(*x.args)) for x in sorted(instances, key=lambda x: x.idx)]
        metrics = task.process_results(instances[0].doc, results)
        yield doc_id, {"logprobs": [ll for ll, _ in results]} | {k: bool(metrics[k]) for k in ("acc", "acc_norm") if k in metrics}
        print(task.config.task, doc_id, end="    \r", file=sys.stderr, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("data", type=Path)
    parser.add_argument("--items", type=int, default=3, help="items of each file of the data folder")
    parser.add_argument("--float32", action="store_true", help="keys and values as they are")
    options = parser.parse_args()
    encoder, model = Encoder(options.model), Model(options.model, np.float32)
    attention = exact_attention if options.float32 else rounded_attention
    out = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, own in ITEMS.items():
            lines = gzip.open(options.data / FILES[name], "rt").readlines()[: options.items] if name in FILES else []
            docs = [json.loads(line) for line in lines] + own
            task = make_task(name, docs, folder)
            out[name] = [
                ({"index": i} if i < len(lines) else {"item": docs[i]}) | scores
                for i, scores in score(task, encoder, model, attention)
            ]
    json.dump({"tasks": out}, sys.stdout, separators=(",", ":"))


if __name__ == "__main__":
    main()
