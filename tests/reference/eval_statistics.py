"""Prints the figures that tests/statistics_test.cc compares with.

Usage: eval_statistics.py        (needs numpy 1.26.4 and scipy 1.14.1)
"""

import numpy as np
from scipy import stats

SHARES = [(0, 10), (10, 10), (3, 10), (421, 1000), (7799, 7800), (1, 200000), (100000, 200000)]
DISCORDANT = [(0, 1), (0, 6), (1, 8), (12, 30), (30, 12), (480, 520), (5000, 5400)]
VALUES = [3.5, -1.25, 8.0, 0.5, 0.5, 2.75, 100.0]


def main():
    print("binomial intervals: successes, n, level, low, high")
    for level in (0.95, 0.8):
        for k, n in SHARES:
            ci = stats.binomtest(k, n).proportion_ci(level, method="exact")
            print(f"{{{k}, {n}, {level}, {ci.low!r}, {ci.high!r}}},")
    print("McNemar: only_a, only_b, p")
    for a, b in DISCORDANT:
        print(f"{{{a}, {b}, {stats.binomtest(a, a + b, 0.5).pvalue!r}}},")
    print("quantiles of", VALUES)
    for q in (0.0, 0.1, 0.5, 0.77, 0.99, 1.0):
        print(f"{{{q}, {float(np.quantile(VALUES, q))!r}}},")


if __name__ == "__main__":
    main()
