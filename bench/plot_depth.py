#!/usr/bin/env python3
"""Time of a decoded token against depth: a line for each policy, and its slope beside that of the bytes that are read.

usage: plot_depth.py BENCH.json OUT.svg     (of miser bench -p 0 -d 0,2048,4096,6144,8192 --kv f16 --kv q4 --json)

Prints a Markdown table of least-squares lines through the medians and writes the plot: points are medians of the
samples, bars reach from the fastest to the slowest.
"""
import html
import json
import pathlib
import sys

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 760, 400, 60, 44, 16, 230
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")  # Okabe and Ito


def fit(xs, ys):
    """(intercept, slope) of the least-squares line."""
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys)) / sum((x - mean_x) ** 2 for x in xs)
    return mean_y - slope * mean_x, slope


def ms(tok_per_s):
    return 1000 / tok_per_s


def table(bench, by_policy):
    lines = ["| `--kv` | ms at depth 0 | us for 1,000 tokens of depth | KB read for them | GB/s | farthest off it |",
             "|---|---|---|---|---|---|"]
    for kv, rows in by_policy.items():
        depths = [row["depth"] for row in rows]
        times = [ms(row["decode_tok_per_s"]) for row in rows]
        start, slope = fit(depths, times)
        _, bytes_slope = fit(depths, [row["bytes_per_token"] for row in rows])
        farthest = max(abs(t / (start + slope * d) - 1) for d, t in zip(depths, times))
        lines.append(f"| `{kv}` | {start:.2f} | {1e6 * slope:.0f} | {bytes_slope:.1f} | "
                     f"{bytes_slope / slope / 1e6:.1f} | {100 * farthest:.1f} % |")
    return "\n".join(lines) + f"\n\nBandwidth measured in the same run: {bench['bandwidth_gb_per_s']:.1f} GB/s."


def text(x, y, words, anchor="start"):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(words)}</text>'


def plot(by_policy):
    deepest = max(row["depth"] for rows in by_policy.values() for row in rows)
    slowest = max(ms(min(row["samples"]["decode_tok_per_s"])) for rows in by_policy.values() for row in rows)
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 10000) if slowest / s <= 8)

    def x(depth):
        return LEFT + depth / deepest * (WIDTH - LEFT - RIGHT)

    def y(time):
        return HEIGHT - BOTTOM - time / slowest * (HEIGHT - BOTTOM - TOP)

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
           'font-size="12" role="img"><title>Time of a decoded token against depth</title>',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>']
    for tick in range(0, int(slowest) + 1, step):
        out.append(f'<path d="M{LEFT} {y(tick):.1f}H{x(deepest):.1f}" stroke="#ddd"/>')
        out.append(text(LEFT - 6, y(tick) + 4, f"{tick}", "end"))
    for depth in sorted({row["depth"] for rows in by_policy.values() for row in rows}):
        out.append(text(x(depth), HEIGHT - BOTTOM + 18, f"{depth:,}", "middle"))
    out.append(text(x(deepest / 2), HEIGHT - 8, "tokens in the cache", "middle") + text(8, TOP, "ms"))
    for (kv, rows), colour in zip(by_policy.items(), COLOURS):
        start, slope = fit([row["depth"] for row in rows], [ms(row["decode_tok_per_s"]) for row in rows])
        end = start + slope * deepest
        out.append(f'<g stroke="{colour}" fill="{colour}">')
        out.append(f'<path d="M{x(0):.1f} {y(start):.1f}L{x(deepest):.1f} {y(end):.1f}"/>')
        for row in rows:
            fastest, least = (y(ms(f(row["samples"]["decode_tok_per_s"]))) for f in (max, min))
            at = x(row["depth"])
            out.append(f'<path d="M{at:.1f} {least:.1f}V{fastest:.1f}"/>'
                       f'<circle cx="{at:.1f}" cy="{y(ms(row["decode_tok_per_s"])):.1f}" r="3" stroke="none"/>')
        out.append("</g>" + text(x(deepest) + 8, y(end) + 4, kv))
    return "\n".join(out) + "\n</svg>\n"


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    bench = json.loads(pathlib.Path(sys.argv[1]).read_text())
    by_policy = {}
    for row in bench["rows"]:
        by_policy.setdefault(row["kv"], []).append(row)
    if len(by_policy) > len(COLOURS) or any(len(rows) < 3 for rows in by_policy.values()):
        sys.exit(f"{sys.argv[1]}: expected 3 depths or more, and at most {len(COLOURS)} policies")
    pathlib.Path(sys.argv[2]).write_text(plot(by_policy))
    print(table(bench, by_policy))


if __name__ == "__main__":
    main()
