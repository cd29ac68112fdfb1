"""Prints the Markdown tables of tools/ablations.sh from the scores of its fits: ablations_table.py FITS_DIR"""

import json
import math
import pathlib
import random
import sys

BUDGETS = (1.75, 2.25, 2.75, 3.25, 4.25)
PAIRED = (2.25, 2.75, 3.25)  # budgets at which a fit is compared with the one of everything
RESAMPLES = 2000


def cost(score, arm, bits):
    """Relative to fixed widths at the same bytes; None where the ladder has no such budget."""
    return score[arm][score["bits"].index(bits)] if bits in score["bits"] else None


def number(value):
    return "" if value is None else f"{value:.4f}"


def mean(values):
    return sum(values) / len(values)


def nats(score, bits):
    """Expected cost of learned widths themselves: fixed widths differ where centres do."""
    return score["learned"][score["bits"].index(bits)] * score["fixed_cost"][score["bits"].index(bits)]


def ratio(score, reference, bits):
    """Geometric mean over held-out contexts of the cost over that of the reference, with a 95 % bootstrap interval."""
    if bits not in score["bits"]:
        return ""
    logs = [math.log(nats(a, bits) / nats(b, bits))
            for a, b in zip(score["by_context"], reference["by_context"], strict=True)]  # fmt: skip
    source = random.Random(1)
    means = sorted(mean(source.choices(logs, k=len(logs))) for _ in range(RESAMPLES))
    low, high = (math.exp(means[int(q * RESAMPLES)]) for q in (0.025, 0.975))
    return f"{math.exp(mean(logs)):.3f} [{low:.3f}, {high:.3f}]"


def table(head, rows):
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows]) + "\n"


def one_change(scores):
    """Fits of the same traces (or fewer of them), each beside the one of everything."""
    reference = scores["all"]
    rows = [[arm, *(number(cost(reference, arm, bits)) for bits in BUDGETS), "", *[""] * len(PAIRED)]
            for arm in ("static", "oracle")]  # fmt: skip
    for name, score in scores.items():
        correlation = "{:.3f}, {:.3f}".format(*score["correlation_within_heads"])
        rows.append([name, *(number(cost(score, "learned", bits)) for bits in BUDGETS), correlation,
                     *(ratio(score, reference, bits) for bits in PAIRED)])  # fmt: skip
    head = ["", *(f"{bits}" for bits in BUDGETS), "correlation K, V", *(f"over all at {bits}" for bits in PAIRED)]
    return table(head, rows)


def windows(scores):
    rows = []
    for name, score in scores.items():
        rows.append([name.removeprefix("window-"), *(number(cost(score, "learned", bits)) for bits in BUDGETS),
                     *(number(cost(score, "static", bits)) for bits in PAIRED),
                     *(number(cost(score, "oracle", bits)) for bits in PAIRED),
                     *(f"{score['fixed_cost'][score['bits'].index(bits)]:.3g}" for bits in PAIRED)])  # fmt: skip
    head = ["window", *(f"learned {bits}" for bits in BUDGETS)]
    head += [f"{arm} {bits}" for arm in ("static", "oracle", "fixed, nats") for bits in PAIRED]
    return table(head, rows)


def kinds(scores):
    pairs = {tuple(name.removeprefix("kind-").split("-on-")): score for name, score in scores.items()}
    trained, tested = (list(dict.fromkeys(pair[i] for pair in pairs)) for i in (0, 1))
    rows = [[kind, *(number(cost(pairs[kind, on], arm, bits))
                     for on in tested for arm in ("learned", "static") for bits in (2.25, 2.75))]
            for kind in trained]  # fmt: skip
    head = [f"{arm} on {on}, {bits}" for on in tested for arm in ("learned", "static") for bits in (2.25, 2.75)]
    return table(["trained on", *head], rows)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    files = sorted(pathlib.Path(sys.argv[1]).glob("*.json"), key=lambda path: path.stat().st_mtime_ns)
    results = {path.stem: json.loads(path.read_text()) for path in files}
    scores = {name: result["score"] for name, result in results.items()}
    of = lambda *prefixes: {name: score for name, score in scores.items() if name.startswith(prefixes)}  # noqa: E731
    base = results["all"]
    print(f"Expected cost on {len(scores['all']['by_context'])} held-out contexts of {base['context']} tokens, relative to "
          f"fixed pairs of widths mixed to the same stored bits, by budget; {base['contexts']} contexts to learn from, "
          f"{base['samples']} samples. Brackets: 95 % by bootstrap over held-out contexts, paired.\n")
    apart = ("window-", "kind-")
    print(one_change({name: score for name, score in scores.items() if not name.startswith(apart)}))
    paper = scores["all"]["paper"]
    print(f"The paper's controller: {paper['cost']:.3f} of fixed widths at its own {paper['bits']:.2f} bits.\n")
    if of("window-"):
        print(f"{results[next(iter(of('window-')))]['contexts']} contexts to learn from\n")
        print(windows(of("window-")))
    if of("kind-"):
        print(kinds(of("kind-")))


if __name__ == "__main__":
    main()
