#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares the oracles of make.py with the tools that they describe, on the same distributions.

  pip install numpy scipy torch onnxruntime onnx nvidia-modelopt      # with what modelopt imports
  tests/golden/observers/check_tools.py

Prints, for each method, in how many cases the tool gives the oracle's threshold (to a hundredth of a bin: the tools
keep edges in float32, the oracles in float64), and each case that differs, in bins. Recorded with torch
2.15.0, onnxruntime 1.32.0, nvidia-modelopt 0.47.0, scipy 1.17.1, numpy 2.4.6; docs/observers.md says what came out.

modelopt 0.47.0's mse passes the number of bits where its quantizers take a bias, and so gives nonsense for integers and
a TypeError for E4M3; here the arguments are put in their places.
"""

import contextlib
import io
import warnings

import make
import numpy as np
import torch
from modelopt.torch.quantization import tensor_quant
from modelopt.torch.quantization.calib import histogram
from onnxruntime.quantization.calibrate import HistogramCollector
from torch.ao.quantization import HistogramObserver, MovingAverageMinMaxObserver

warnings.simplefilter("ignore")
histogram.fake_tensor_quant = lambda x, amax, bits, unsigned: tensor_quant.fake_tensor_quant(
    x, amax, None, bits, unsigned
)
histogram.scaled_e4m3 = lambda x, amax, e, m: tensor_quant.scaled_e4m3(x, amax, None, e, m)
tally = {}


def count(what, holds):
    total, good = tally.get(what, (0, 0))
    tally[what] = total + 1, good + bool(holds)


def compare(method, case, tool, oracle, width):
    same = all(abs(a - b) <= 0.01 * width for a, b in zip(tool, oracle))
    count(method, same)
    if not same:
        bins = ", ".join(f"{(a - b) / width:+.3f}" for a, b in zip(tool, oracle))
        print(f"{method}, {case}: {bins} bins ({', '.join(f'{a:.7g} for {b:.7g}' for a, b in zip(tool, oracle))})")


def model_optimizer(case, batches):
    def amax(num_bits, unsigned, method, **options):
        c = histogram.HistogramCalibrator(num_bits=num_bits, axis=None, unsigned=unsigned)
        for b in batches:
            c.collect(torch.from_numpy(b))
        return float(c.compute_amax(method, **options))

    h = make.magnitude_histogram(batches, 2048)
    peak = max(abs(x) for x in make.extremes(batches))

    def check(name, tool, limits):
        t = min(tool, peak)  # the last edge of a grown histogram lies beyond what was seen
        compare(name, case, make.clip(batches, -t, t), limits, h.width)

    for p in (99.99, 99.0):
        check(
            "Model-Optimizer percentile", amax(8, False, "percentile", percentile=p), make.percentile_nvidia(batches, p)
        )
    for name, bits, levels in (("int8", 8, 128), ("int4", 4, 8)):
        check(f"Model-Optimizer entropy {name}", amax(bits, False, "entropy"), make.entropy_nvidia(batches, levels)[0])
    for name, bits in (("int8", 8), ("int4", 4), ("fp8_e4m3fn", (4, 3))):
        check(f"Model-Optimizer mse {name}", amax(bits, False, "mse"), make.mse_nvidia(batches, name)[0])


def onnx_runtime(case, batches):
    def run(method, symmetric, bins, levels, percentile):
        c = HistogramCollector(method, symmetric, bins, levels, percentile, "same")
        with contextlib.redirect_stdout(io.StringIO()):
            for b in batches:
                c.collect({"t": b})
            low, high = c.compute_collection_result()["t"][:2]
        return float(low), float(high)

    for p in (99.999, 98.0):
        for symmetric in (True, False):
            h = (
                make.magnitude_histogram(batches, 2048, least=True)
                if symmetric
                else make.symmetric_histogram(batches, 2048)
            )
            name = "onnxruntime percentile " + ("symmetric" if symmetric else "asymmetric")
            compare(
                name,
                case,
                run("percentile", symmetric, 2048, 0, p),
                make.percentile_ort(batches, p, not symmetric),
                h.width,
            )
    for bins in (128, 512):
        h = make.symmetric_histogram(batches, bins)
        compare(
            f"onnxruntime entropy {bins}",
            case,
            run("entropy", False, bins, 128, 0),
            make.entropy_ort(batches, bins)[0],
            h.width,
        )


def torch_observers(case, batches):
    m = MovingAverageMinMaxObserver(averaging_constant=0.01)
    for b in batches:
        m(torch.from_numpy(b))
    compare(
        "torch moving average",
        case,
        (float(m.min_val), float(m.max_val)),
        make.moving_average(batches, 0.01),
        1e-4 * max(abs(x) for x in make.extremes(batches)),
    )
    if len(batches) != 1 or make.extremes(batches)[0] > 0:
        return  # torch's histogram moves counts when it grows, and leaves zero out of the range of positive values
    for bins, dtype, cells in ((512, torch.qint8, 256), (512, torch.quint4x2, 16)):
        o = HistogramObserver(bins=bins, dtype=dtype)
        o.dst_nbins = cells
        o(torch.from_numpy(batches[0]))
        limits, _ = make.mse_pair(batches, cells, bins)
        width = (float(o.max_val) - float(o.min_val)) / bins
        greedy, ours = (
            [round((float(x) - float(o.min_val)) / width) for x in pair]
            for pair in (o._non_linear_param_search(), limits)
        )
        error = [o._compute_quantization_error(s, e - 1) for s, e in (greedy, ours)]
        u = make.UniformError(make.histogram_around_zero(batches, bins).counts)
        oracle = u.errors(ours[0], np.array([ours[1]]), cells)[0] * width**2
        count("torch HistogramObserver: ours is not worse", error[1] <= error[0] * (1 + 1e-4))
        count("torch HistogramObserver: the objective agrees to 1e-3", abs(error[1] / oracle - 1) < 1e-3)
        print(f"torch {case} {cells} cells: greedy {greedy} {error[0]:.6g}, ours {ours} {error[1]:.6g} = {oracle:.6g}")


def main():
    for name, x in make.all_distributions().items():
        for count in (1, make.BATCHES):
            batches = make.pieces(x, count)
            for check in (model_optimizer, onnx_runtime, torch_observers):
                check(f"{name} in {count}", batches)
    for method, (total, equal) in tally.items():
        print(f"{method}: {equal} of {total}")


if __name__ == "__main__":
    main()
