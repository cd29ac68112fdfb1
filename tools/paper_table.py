"""Prints the Markdown table of tools/reproduce_paper.sh from its JSON files: paper_table.py OUT_DIR MODEL.gguf..."""

import json
import pathlib
import sys

TASKS = ("hellaswag", "openbookqa", "arc_challenge")
# kv -> what the paper calls it
ARMS = {"f16": "FP16", "q4": "static 4-bit", "q3": "8 levels", "rule": "rule", "paper": "paper's controller",
        "learned": "learned"}
# (accuracy %, latency as printed) of the paper on HellaSwag, OpenBookQA, ARC-Challenge
PAPER = {
    "135M": {"f16": ("37.20 / 3.45", "29.00 / 1.97", "28.20 / 2.57"), "q4": ("33.60 / 2.93", "27.60 / 1.72", "25.00 / 2.25"),
             "rule": ("29.90 / 3.21", "23.80 / 1.59", "25.50 / 2.20"), "paper": ("36.90 / 2.25", "28.60 / 1.00", "27.00 / 2.08")},
    "360M": {"f16": ("41.50 / 3.50", "31.00 / 2.20", "32.00 / 2.90"), "q4": ("33.60 / 2.93", "30.40 / 1.81", "30.00 / 2.83"),
             "rule": ("29.90 / 3.21", "22.00 / 1.60", "23.50 / 2.70"), "paper": ("41.20 / 2.41", "30.50 / 1.40", "31.50 / 2.43")},
    "1.7B": {"f16": ("49.00 / 2.15", "33.00 / 1.50", "33.50 / 2.45"), "q4": ("41.10 / 1.89", "30.00 / 1.10", "32.30 / 2.15"),
             "rule": ("27.50 / 1.96", "25.00 / 1.25", "26.00 / 2.21"), "paper": ("48.60 / 1.58", "31.60 / 1.00", "33.00 / 1.90")},
}  # fmt: skip


def rows_by_policy(path):
    """Rows of a JSON file by the policy's kind: learned@2.75 is learned."""
    if not path.exists():
        sys.exit(f"paper_table: {path}: is missing")
    return {row["kv"].split("@")[0].split(":")[0]: row for row in json.loads(path.read_text())["rows"]}


def accuracy(row):
    low, high = row["ci95"]["acc"]
    interval = f"{100 * row['acc']:.2f} [{100 * low:.1f}, {100 * high:.1f}]"
    return interval if row["kv"] == "f16" else f"{interval} p {row['vs_f16']['acc']['mcnemar_p']:.2f}"


def table(out, model):
    name = pathlib.Path(model).stem
    tasks = {task: rows_by_policy(out / f"{name}.{task}.json") for task in TASKS}
    bench = rows_by_policy(out / f"{name}.bench.json")
    paper = next((rows for size, rows in PAPER.items() if size.lower() in name.lower()), {})
    n = {task: rows["f16"]["n"] for task, rows in tasks.items()}
    yield f"\n### {name}\n"
    yield "| policy | " + " | ".join(f"{task}, {n[task]} items" for task in TASKS) + " | bits | ms a token at 2,048 | " + " | ".join(
        f"paper: {task}" for task in TASKS) + " |"  # fmt: skip
    yield "|---" * (2 * len(TASKS) + 3) + "|"
    for arm, label in ARMS.items():
        bits = tasks["hellaswag"][arm]["bits_per_element"]
        cells = [accuracy(tasks[task][arm]) for task in TASKS]
        cells += [f"{bits:.2f}", f"{1000 / bench[arm]['decode_tok_per_s']:.2f}"]
        yield f"| {label} | " + " | ".join([*cells, *paper.get(arm, "---")]) + " |"


def main():
    out = pathlib.Path(sys.argv[1])
    print("acc in per cent with exact binomial 95 % intervals, and McNemar's p against f16; bits per element of the whole cache on")
    print("HellaSwag, exact window included; the paper's cells are accuracy / latency as it prints them.")
    for model in sys.argv[2:]:
        print("\n".join(table(out, model)))


if __name__ == "__main__":
    main()
