#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Records thresholds of calibration methods on eleven distributions, for tests/calibrate/thresholds_test.cpp.

  pip install numpy scipy
  tests/golden/observers/make.py                    # writes thresholds.inc beside itself
  tests/golden/observers/make.py --tensors          # first writes real_tensors.inc anew, from models/tiny

Every method is written here once more from its definition, with numpy and scipy and nothing of kvant: histograms by
numpy.histogram on explicit edges, divergences by scipy.stats.entropy for one candidate after the other, quantizers as
tables of values, uniform quantization errors by integrating cell by cell.

  tests/golden/observers/check_tools.py             # compares these oracles with the tools that they describe
"""

import argparse
import math
from fractions import Fraction
from pathlib import Path

import numpy as np
from scipy.stats import entropy

HERE = Path(__file__).resolve().parent
MASK = 2**64 - 1
BATCHES, BATCH = 3, 4096


# ---------------------------------------------------------------------------------------------------- distributions
# distributions.hpp repeats these draw for draw. Nothing but +, -, *, / and the square root, which IEEE 754 rounds
# correctly, stands between the integers and the values, so both give the same bits.
class Stream:
    def __init__(self, seed):
        self.state = seed

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        x = self.state
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
        return x ^ (x >> 31)

    def uniform(self):
        return (self.next() >> 11) * 2.0**-53

    def sign(self):
        return -1.0 if self.next() >> 63 else 1.0

    def exponential(self):
        """von Neumann 1951: comparisons alone."""
        whole = 0.0
        while True:
            first = last = self.uniform()
            n = 1
            while (u := self.uniform()) < last:
                last = u
                n += 1
            if n % 2 == 1:
                return whole + first
            whole += 1.0

    def normal(self):
        """|z| is exponential where a second exponential exceeds (|z| - 1)^2 / 2."""
        while True:
            a, b = self.exponential(), self.exponential()
            d = a - 1.0
            if 2.0 * b >= d * d:
                return self.sign() * a

    def student4(self):
        z = self.normal()
        e = self.exponential()
        return z / math.sqrt((e + self.exponential()) / 2.0)

    def lognormal(self):
        y = 1.0 + self.normal() / 1024.0
        for _ in range(10):
            y = y * y
        return y  # (1 + z / 1024)^1024, nearly e^z

    def with_outliers(self):
        far = self.uniform() < 0.001
        z = self.normal()
        return z * 20.0 if far else z

    def sparse(self):
        return 0.0 if self.uniform() < 0.9 else self.normal()

    def bimodal(self):
        s = self.sign()
        return s + self.normal() / 4.0


SYNTHETIC = {
    "normal": lambda s: s.normal() * 0.02,
    "laplace": lambda s: s.sign() * s.exponential() * 0.1,
    "student4": Stream.student4,
    "uniform": lambda s: s.uniform() * 2.0 - 1.0,
    "exponential": Stream.exponential,
    "bimodal": Stream.bimodal,
    "lognormal": Stream.lognormal,
    "outliers": Stream.with_outliers,
    "sparse": Stream.sparse,
}


def synthetic(name):
    stream = Stream(1 + list(SYNTHETIC).index(name))
    return np.array([SYNTHETIC[name](stream) for _ in range(BATCHES * BATCH)]).astype(np.float32)


def real_tensors():
    """The two tensors of real_tensors.inc, bf16."""
    tensors, name = {}, None
    for line in (HERE / "real_tensors.inc").read_text().splitlines():
        if line.startswith("inline constexpr"):
            name = line.split("k", 1)[1].split("{")[0].lower()
            tensors[name] = []
        elif name and line.startswith("    "):
            tensors[name] += [int(x, 16) for x in line.replace(" ", "").strip(",").split(",")]
    return {k: (np.array(v, dtype=np.uint32) << 16).view(np.float32) for k, v in tensors.items()}


def record_tensors():
    import sys

    sys.path.insert(0, str(HERE.parent / "nn"))
    from llama_numpy import Llama

    class Recorder(Llama):
        def linear(self, name, x):
            if name == "model.layers.2.mlp.down_proj":
                self.recorded = x
            return super().linear(name, x)

    model = Recorder(HERE.parents[2] / "models" / "tiny")
    model.logits(np.array([s * 97 % 4096 for s in range(1, 17)]))
    tensors = {
        "Weights": model.t["model.layers.1.mlp.down_proj.weight"][:4],
        "Activations": model.recorded[-4:],  # the product of SwiGLU, of four tokens
    }
    text = [
        "// SPDX-License-Identifier: Apache-2.0",
        "// Recorded by make.py --tensors from models/tiny: 4 rows of layer 1's mlp.down_proj, and the inputs of layer",
        "// 2's mlp.down_proj for 4 tokens, rounded to bf16.",
    ]
    for name, x in tensors.items():
        bits = x.astype(np.float32).reshape(-1).view(np.uint32)
        bits = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
        text.append(f"inline constexpr std::array<std::uint16_t, {len(bits)}> k{name}{{")
        text += ["    " + ", ".join(f"0x{b:04x}" for b in bits[i : i + 14]) + "," for i in range(0, len(bits), 14)]
        text.append("};")
    (HERE / "real_tensors.inc").write_text("\n".join(text) + "\n")


def fnv1a64(x):
    state = 0xCBF29CE484222325
    for byte in x.astype("<f4").tobytes():
        state = ((state ^ byte) * 0x100000001B3) & MASK
    return state


# -------------------------------------------------------------------------------------------------------- histograms
def bins_to(x, edge, width):
    """How many more bins of `width` after `edge` hold x."""
    return int(np.ceil((x - edge) / width))


class Histogram:
    """Edges origin + k * width in float64, k from `first` to `first + n`; grows by whole bins."""

    def __init__(self, low, high, bins):
        self.origin, self.width, self.first = low, (high - low) / bins, 0
        self.counts = np.zeros(bins, dtype=np.int64)
        self.top = high

    def edges(self):
        k = np.arange(self.first, self.first + len(self.counts) + 1)
        e = np.array([float(Fraction(int(i)) * Fraction(self.width) + Fraction(self.origin)) for i in k])
        e[-1] = self.top
        return e

    def grow(self, below, above):
        if below or above:
            self.counts = np.concatenate([np.zeros(below, np.int64), self.counts, np.zeros(above, np.int64)])
            self.first -= below
        if above:
            k = self.first + len(self.counts)
            self.top = float(Fraction(k) * Fraction(self.width) + Fraction(self.origin))

    def coarsen(self):
        """Each two neighbours become one."""
        sums = {}
        for i, n in enumerate(self.counts):
            k = (self.first + i) // 2
            sums[k] = sums.get(k, 0) + n
        self.first, self.width = min(sums), self.width * 2
        self.counts = np.array([sums[k] for k in sorted(sums)], dtype=np.int64)
        self.top = float(Fraction(self.first + len(self.counts)) * Fraction(self.width) + Fraction(self.origin))

    def add(self, x):
        e = self.edges()
        x = np.clip(x.astype(np.float64), e[0], e[-1])
        self.counts += np.histogram(x, bins=e)[0]


def magnitude_histogram(batches, bins, least=False):
    h = None
    for batch in batches:
        x = np.abs(batch)
        high = float(x.max())
        if h is None:
            h = Histogram(float(x.min()) if least else 0.0, high, bins)
        while high > h.top:
            more = bins_to(high, h.top, h.width)
            if len(h.counts) + more <= 4 * bins:
                h.grow(0, more)
            else:
                h.coarsen()
        h.add(x)
    return h


def symmetric_histogram(batches, bins):
    h = None
    for batch in batches:
        limit = float(np.abs(batch).max())
        if h is None:
            h = Histogram(-limit, limit, bins)
        while limit > h.top:
            more = int((limit - h.top) // h.width + 1)
            if len(h.counts) + 2 * more <= 4 * bins:
                h.grow(more, more)
            else:
                h.coarsen()
        h.add(batch)
    return h


def histogram_around_zero(batches, bins):
    h = None
    for batch in batches:
        low, high = min(float(batch.min()), 0.0), max(float(batch.max()), 0.0)
        if h is None:
            h = Histogram(low, high, bins)
        while low < h.edges()[0] or high > h.top:
            below = bins_to(h.edges()[0], low, h.width) if low < h.edges()[0] else 0
            above = bins_to(high, h.top, h.width) if high > h.top else 0
            if len(h.counts) + below + above <= 2 * bins:
                h.grow(below, above)
            else:
                h.coarsen()
        h.add(batch)
    return h


# ------------------------------------------------------------------------------------------------------------ methods
def extremes(batches):
    x = np.concatenate(batches)
    return float(x.min()), float(x.max())


def clip(batches, low, high):
    a, b = extremes(batches)
    return min(max(low, a), b), min(max(high, a), b)


def moving_average(batches, constant):
    def fma(a, b, c):
        return float(Fraction(a) * Fraction(b) + Fraction(c))

    low = high = None
    for batch in batches:
        a, b = float(batch.min()), float(batch.max())
        low = a if low is None else fma(constant, a, (1.0 - constant) * low)
        high = b if high is None else fma(constant, b, (1.0 - constant) * high)
    return clip(batches, low, high)


def lower_edge(h, share):
    cdf = np.cumsum(h.counts / h.counts.sum())
    return float(h.edges()[np.searchsorted(cdf, share)])


def percentile_nvidia(batches, percentile, bins=2048):
    t = lower_edge(magnitude_histogram(batches, bins), percentile / 100)
    return clip(batches, -t, t)


def percentile_ort(batches, percentile, asymmetric, bins=2048):
    if not asymmetric:
        t = lower_edge(magnitude_histogram(batches, bins, least=True), percentile / 100.0)
        return clip(batches, -t, t)
    h = symmetric_histogram(batches, bins)
    cut = (100.0 - percentile) / 200.0
    return clip(batches, lower_edge(h, cut), lower_edge(h, 1.0 - cut))


def nvidia_divergences(counts, levels, start=128):
    counts = counts.copy()
    counts[0] = counts[1]
    result = []
    for i in range(start, len(counts) + 1):
        level = np.arange(i) * levels // i
        if levels & (levels - 1) == 0:
            assert np.array_equal(level, np.digitize(range(i), np.linspace(0, i, levels + 1)) - 1)
        kept = counts[:i]
        filled = kept != 0
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.bincount(level, kept, levels) / np.bincount(level, filled, levels)
            spread = np.where(filled, mean[level], 0.0)
            reference = kept.astype(np.float64)
            reference[-1] += counts[i:].sum()
            d = entropy(reference, spread)
        result.append(np.inf if np.isnan(d) else d)
    return np.array(result)


def entropy_nvidia(batches, levels, bins=2048):
    h = magnitude_histogram(batches, bins)
    d = nvidia_divergences(h.counts, levels)
    t = float(h.edges()[128 + len(d) - 1 - np.argmin(d[::-1])])
    return clip(batches, -t, t), margin(d, last=True)


def smoothed(counts, eps=0.0001):
    zero = counts == 0
    if zero.all():
        return None
    return np.where(zero, eps, counts - eps * zero.sum() / (~zero).sum())


def ort_divergences(counts, levels):
    n, half = len(counts), len(counts) // 2
    result, thresholds = [], []
    for i in range(levels // 2, half + 1):
        begin, end = half - i, min(half + i + 1, n)
        inside = counts[begin:end]
        p = inside.copy()
        p[0] += counts[:begin].sum()
        p[-1] += counts[end:].sum()
        run = len(p) // levels
        q = np.zeros(len(p), np.int64)
        for k in range(levels):
            stop = len(p) if k == levels - 1 else (k + 1) * run
            filled = int((p[k * run : (k + 1) * run] != 0).sum())
            if filled:
                q[k * run : (k + 1) * run] = inside[k * run : stop].sum() // filled
        a, b = smoothed(p), smoothed(q)
        result.append(np.inf if a is None or b is None else entropy(a, b))
        thresholds.append((begin, end))
    return np.array(result), thresholds


def entropy_ort(batches, bins=128, levels=128):
    h = symmetric_histogram(batches, bins)
    d, thresholds = ort_divergences(h.counts, levels)
    begin, end = thresholds[int(np.argmin(d))]
    return clip(batches, float(h.edges()[begin]), float(h.edges()[end])), margin(d)


# Formats as the tables of their values: non-negative halves, and what a plain symmetric scale divides by.
def minifloat(exponent_bits, mantissa_bits, bias, finite_codes):
    values = []
    for code in range(finite_codes):
        e, m = code >> mantissa_bits, code & (2**mantissa_bits - 1)
        values.append(
            math.ldexp(m, 1 - bias - mantissa_bits)
            if e == 0
            else math.ldexp(m + 2**mantissa_bits, e - bias - mantissa_bits)
        )
    return sorted({v for x in values for v in (x, -x)})


NF4 = [
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
]
FORMATS = {
    "int8": (list(range(-128, 128)), 127.5),
    "int4": (list(range(-8, 8)), 7.5),
    "int2": (list(range(-2, 2)), 1.5),
    "uint8": (list(range(256)), 255.0),
    "fp8_e4m3fn": (minifloat(4, 3, 7, 127), 448.0),
    "fp8_e5m2": (minifloat(5, 2, 15, 124), 57344.0),
    "fp4_e2m1": (minifloat(2, 1, 1, 8), 6.0),
    "nf4": (NF4, 1.0),
}


def quantization_error(centres, counts, values, scale):
    """Centres in float32 under a float32 scale, nearest value by distance (at a tie both are as far)."""
    table = np.array(values, dtype=np.float32)
    ratio = (centres / np.float32(scale)).astype(np.float64)
    at = np.searchsorted((table[1:].astype(np.float64) + table[:-1]) / 2, ratio)
    back = (np.float32(scale) * table[at]).astype(np.float64)
    return float(np.sum(counts * (centres.astype(np.float64) - back) ** 2))


def centres_of(h):
    e = h.edges()
    return ((e[1:] + e[:-1]) / 2).astype(np.float32)


def mse_nvidia(batches, name, bins=2048, start=128):
    h = magnitude_histogram(batches, bins)
    c = centres_of(h)
    values = FORMATS[name][0]
    errors = np.array(
        [quantization_error(c, h.counts, values, c[i] / np.float32(max(values))) for i in range(start, len(c))]
    )
    t = float(c[start + int(np.argmin(errors))])
    return clip(batches, -t, t), margin(errors)


def mse_symmetric(batches, name, bins=2048):
    h = histogram_around_zero(batches, bins)
    c = centres_of(h)
    peak = max(abs(v) for v in extremes(batches))
    limits = sorted({peak} | {float(np.float32(min(abs(e), peak))) for e in h.edges()}, reverse=True)
    values, unit = FORMATS[name]
    errors = []
    for t in limits:
        low, high = clip(batches, -t, t)
        covered = max(0.0, -low, high)
        scale = np.float32(covered) / np.float32(unit)
        errors.append(
            quantization_error(c, h.counts, values, scale)
            if scale > 0
            else float(np.sum(h.counts * c.astype(np.float64) ** 2))
        )
    errors = np.array(errors)
    t = limits[int(np.argmin(errors))]
    return clip(batches, -t, t), margin(errors)


class UniformError:
    """Squared error of values that are uniform within their bins, by the moments of each cell; units of one bin."""

    def __init__(self, counts):
        n = counts.astype(np.float64)
        b = np.arange(len(n), dtype=np.float64)
        first = np.concatenate
        self.n, self.size = n, len(n)
        self.m0 = first([[0.0], np.cumsum(n)])
        self.m1 = first([[0.0], np.cumsum(n * (b + 0.5))])
        self.m2 = first([[0.0], np.cumsum(n * (b * b + b + 1 / 3))])

    def moments(self, u):
        b = np.minimum(u.astype(np.int64), self.size - 1)
        f = u - b
        n = self.n[b]
        return (
            self.m0[b] + n * f,
            self.m1[b] + n * (b * f + f * f / 2),
            self.m2[b] + n * (b * b * f + b * f * f + f**3 / 3),
        )

    def errors(self, s, ends, cells):
        """Of the pairs (s, e) for all e of `ends`."""
        w = (ends - s)[:, None] / cells
        border = s + w * np.arange(cells + 1)
        border[:, 0], border[:, -1] = 0, self.size
        centre = s + w * (np.arange(cells) + 0.5)
        m0, m1, m2 = (np.diff(m, axis=1) for m in self.moments(border))
        return np.sum(m2 - 2 * centre * m1 + centre * centre * m0, axis=1)

    def outside(self, s):
        """What lies below s costs this at least, and above."""
        m0, m1, m2 = (m[s] for m in (self.m0, self.m1, self.m2))
        t0, t1, t2 = (m[-1] - m[s] for m in (self.m0, self.m1, self.m2))
        return m2 - 2 * s * m1 + s * s * m0, t2 - 2 * s * t1 + s * s * t0


def mse_pair(batches, cells, bins=2048):
    h = histogram_around_zero(batches, bins)
    e = h.edges()
    u = UniformError(h.counts)
    n = u.size
    all_ends = np.array([k for k in range(1, n + 1) if e[k] >= 0])
    above = np.array([u.outside(int(k))[1] for k in all_ends])
    best, second, where = np.inf, np.inf, None
    whole = u.errors(0, np.array([n]), cells)[0]
    for s in range(n):
        if e[s] > 0:
            break
        below = u.outside(s)[0]
        ends = all_ends[(all_ends > s) & (below + above <= min(best, whole) * (1 + 1e-9))]
        for piece in np.array_split(ends, len(ends) // 256 + 1):
            if len(piece):
                errors = u.errors(s, piece, cells)
                for k in np.argsort(errors)[:2]:
                    if errors[k] < best:
                        best, second, where = errors[k], best, (s, int(piece[k]))
                    else:
                        second = min(second, errors[k])
    return clip(batches, float(e[where[0]]), float(e[where[1]])), (second - best) / best


def margin(d, last=False):
    """How far the least is from the next one, relative to it."""
    d = np.sort(d[np.isfinite(d)])
    return math.inf if len(d) < 2 else (d[1] - d[0]) / d[0] if d[0] > 0 else d[1] - d[0]


# ------------------------------------------------------------------------------------------------------------ recording
def rows_of(batches):
    """(observer, options, format, symmetry, (low, high), margin)"""
    yield "min_max", "", "int8", "symmetric", extremes(batches), math.inf
    for c in (0.01, 0.25):
        yield "moving_average", f"constant={c}", "int8", "symmetric", moving_average(batches, c), math.inf
    for p in (99.99, 99.0):
        yield "percentile", f"percentile={p}", "int8", "symmetric", percentile_nvidia(batches, p), math.inf
    for p in (99.999, 98.0):
        for s in ("symmetric", "asymmetric"):
            limits = percentile_ort(batches, p, s == "asymmetric")
            yield "percentile", f"profile=ort,percentile={p}", "int8", s, limits, math.inf
    for name, levels in (("int8", 128), ("int4", 8), ("uint8", 256), ("fp4_e2m1", 8), ("nf4", 9), ("fp8_e4m3fn", 127)):
        yield "entropy", "", name, "symmetric", *entropy_nvidia(batches, levels)
    yield "entropy", "profile=ort", "int8", "symmetric", *entropy_ort(batches)
    yield "entropy", "profile=ort,bins=512", "int8", "symmetric", *entropy_ort(batches, bins=512)
    for name in ("int8", "int4", "fp8_e4m3fn", "fp4_e2m1", "nf4"):
        yield "mse", "profile=nvidia", name, "symmetric", *mse_nvidia(batches, name)
    for name in ("int8", "int4", "int2", "uint8", "fp8_e4m3fn", "fp8_e5m2", "fp4_e2m1", "nf4"):
        yield "mse", "", name, "symmetric", *mse_symmetric(batches, name)
    for name, cells in (("int8", 256), ("int4", 16), ("uint8", 256)):
        yield "mse", "bins=512" if cells == 256 else "", name, "asymmetric", *mse_pair(
            batches, cells, bins=512 if cells == 256 else 2048
        )


def all_distributions():
    distributions = {name: synthetic(name) for name in SYNTHETIC}
    distributions.update(real_tensors())
    return distributions


def pieces(x, count):
    return np.split(x, count)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tensors", action="store_true")
    if parser.parse_args().tensors:
        record_tensors()
    text = [
        "// SPDX-License-Identifier: Apache-2.0",
        "// Recorded by make.py: the values' hashes, and thresholds as the bits of floats.",
        "inline constexpr Hash kHashes[] = {",
    ]
    distributions = all_distributions()
    for name, x in distributions.items():
        text.append(f'    {{"{name}", {len(x)}, 0x{fnv1a64(x):016x}u}},')
    text += ["};", "inline constexpr Threshold kThresholds[] = {"]
    closest = math.inf
    for name, x in distributions.items():
        for count in (1, BATCHES):
            for observer, options, fmt, symmetry, limits, gap in rows_of(pieces(x, count)):
                low, high = (int(np.float32(v + 0.0).view(np.uint32)) for v in limits)
                text.append(
                    f'    {{"{name}", {count}, "{observer}", "{options}", "{fmt}", '
                    f"kvant::Symmetry::{symmetry}, 0x{low:08x}u, 0x{high:08x}u}},"
                )
                if gap < 1e-6:
                    print(f"close: {name} {count} {observer} {options} {fmt} {symmetry}: {gap:.2g}")
                closest = min(closest, gap)
        print(name, flush=True)
    print(f"closest decision: {closest:.3g} relative")
    text.append("};")
    (HERE / "thresholds.inc").write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
