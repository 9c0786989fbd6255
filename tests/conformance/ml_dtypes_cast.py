# SPDX-License-Identifier: Apache-2.0
"""kvant's formats against the package ml_dtypes, bit for bit: `kvant cast` and `kvant decode` in the profile ieee, with
overflow as each format has it.

    ml_dtypes_cast.py KVANT

Inputs are every float16, every bfloat16, every number of each format and every midpoint with its neighbours, and random
bit patterns of float32. Exits with 77 (skipped) where numpy or ml_dtypes is not installed.
"""
import pathlib
import subprocess
import sys
import tempfile

try:
    import ml_dtypes
    import numpy as np
except ImportError as missing:
    print(f"{missing.name} is not installed")
    sys.exit(77)

FORMATS = {
    "bf16": "bfloat16",
    "fp8_e4m3fn": "float8_e4m3fn",
    "fp8_e5m2": "float8_e5m2",
    "fp8_e4m3": "float8_e4m3",
    "fp8_e3m4": "float8_e3m4",
    "fp8_e4m3fnuz": "float8_e4m3fnuz",
    "fp8_e5m2fnuz": "float8_e5m2fnuz",
    "fp8_e4m3b11fnuz": "float8_e4m3b11fnuz",
    "fp6_e3m2": "float6_e3m2fn",
    "fp6_e2m3": "float6_e2m3fn",
    "fp4_e2m1": "float4_e2m1fn",
    "e8m0": "float8_e8m0fnu",
}


def run(*command):
    result = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit {result.returncode}: {result.stderr}")


def neighbours(values):
    values = values[np.isfinite(values)].astype(np.float32)
    return np.concatenate([values, np.nextafter(values, np.float32(np.inf)), np.nextafter(values, np.float32(-np.inf))])


def inputs(dtype, bits):
    codes = np.arange(min(1 << bits, 65536), dtype=np.uint32)
    patterns = [np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float32),
                (np.arange(65536, dtype=np.uint32) << 16).view(np.float32),
                np.random.default_rng(1).integers(0, 1 << 32, 1000000, dtype=np.uint32).view(np.float32)]
    if bits <= 8:
        values = codes.astype(np.uint8).view(dtype).astype(np.float64)
        values = np.sort(values[np.isfinite(values)])
        patterns += [neighbours(values), neighbours((values[:-1] + values[1:]) / 2)]
    return np.concatenate(patterns)


def main():
    kvant = sys.argv[1]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for ours, theirs in FORMATS.items():
            if not hasattr(ml_dtypes, theirs):
                print(f"{ours}: this ml_dtypes has no {theirs}")
                continue
            dtype = np.dtype(getattr(ml_dtypes, theirs))
            code_type = np.uint16 if dtype.itemsize == 2 else np.uint8
            bits = 16 if dtype.itemsize == 2 else int(ml_dtypes.finfo(dtype).bits) if ours != "e8m0" else 8
            x = inputs(dtype, bits)
            np.save(folder / "x.npy", x)
            run(kvant, "cast", folder / "x.npy", "--to", ours, "--overflow", "ieee", "--round", "rne", "-o",
                folder / "x.bin", "--force")
            got = np.fromfile(folder / "x.bin", dtype=code_type)
            with np.errstate(all="ignore"):
                expected = x.astype(dtype).view(code_type)
            wrong = np.flatnonzero(got != expected)
            if wrong.size:
                i = wrong[0]
                sys.exit(f"{ours}: {wrong.size} of {x.size} codes differ, e.g. {x[i]!r} ({x[i:i+1].view(np.uint32)[0]:#x})"
                         f" is {got[i]:#x}, ml_dtypes has {expected[i]:#x}")

            codes = np.arange(1 << bits, dtype=np.uint32).astype(code_type)
            codes.tofile(folder / "c.bin")
            run(kvant, "decode", folder / "c.bin", "--from", ours, "-o", folder / "c.npy", "--force")
            got = np.load(folder / "c.npy")
            expected = codes.view(dtype).astype(np.float32)
            same = (got.view(np.uint32) == expected.view(np.uint32)) | (np.isnan(got) & np.isnan(expected))
            if not same.all():
                c = int(np.flatnonzero(~same)[0])
                sys.exit(f"{ours}: code {c:#x} is {got[c]}, ml_dtypes has {expected[c]}")
            print(f"{ours}: {x.size} casts and {codes.size} codes agree with ml_dtypes {ml_dtypes.__version__}")


if __name__ == "__main__":
    main()
