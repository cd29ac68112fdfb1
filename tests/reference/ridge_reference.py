#!/usr/bin/env python3
"""Prints the ridge regression that tests/learn_decision_test.cc expects of learn/fit_linear.h.

The rows are x[i, c] = sin(1.3 i + 2.1 c + 0.4 i c), the labels y[i] = x[i] . (1, -0.5, 0.25) + cos(0.7 i) - 8, and every
fiftieth label is -30: labels below their 2 % quantile (the element of that rank) are lifted to it.
"""
import numpy as np

N, COLUMNS, RIDGE = 200, 3, 20.0

i, c = np.arange(N, dtype=np.float64)[:, None], np.arange(COLUMNS, dtype=np.float64)[None]
x = np.sin(1.3 * i + 2.1 * c + 0.4 * i * c)
y = x @ np.array([1, -0.5, 0.25]) + np.cos(0.7 * i[:, 0]) - 8
y[::50] = -30
y = np.maximum(y, np.sort(y)[int(0.02 * N)])
a = np.concatenate([x, np.ones((N, 1))], 1)
w = np.linalg.solve(a.T @ a + RIDGE * np.diag([1.0] * COLUMNS + [0.0]), a.T @ y)
shift = np.log(np.exp(y).mean() / np.exp(a @ w).mean())
print("weights", *(f"{v:.6f}" for v in w[:-1]), "bias", f"{w[-1] + shift:.6f}")
