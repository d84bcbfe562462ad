"""Computes WSVR, WLVR and the flips of gates again, from the snapshots in two checkpoints of a run.

    check_dynamics.py BEFORE.safetensors AFTER.safetensors dynamics.jsonl

A checkpoint holds the weights of its run's last snapshot, `snapshot/LAYER`, and the latents behind them,
`snapshot/LAYER.weight...`. BEFORE and AFTER are copies of `last.safetensors` made one snapshot apart; the lines of
AFTER's epoch in dynamics.jsonl must have the rates that numpy finds. One line, and status 1 where a rate
differs by more than rounding.
"""

import json
import struct
import sys

import numpy as np

LOW = np.float32(0.03)  # METHODS.md 1.8: of the layer's largest weight
ROUNDING = 1e-12


def read(path):
    """The tensors of a safetensors file, and the epoch of its snapshot."""
    with open(path, "rb") as file:
        data = file.read()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    position = json.loads(header.pop("__metadata__")["s3.checkpoint"])["position"]
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + length + offset for offset in entry["data_offsets"])
        if name.startswith("snapshot/") and entry["dtype"] == "F32":
            tensors[name.removeprefix("snapshot/")] = np.frombuffer(data[begin:end], "<f4")
    return tensors, position["epoch"]


def main(before, after, records):
    (old, _), (new, epoch) = read(before), read(after)
    lines = [json.loads(line) for line in open(records)]
    # The last snapshot at or before the checkpoint's epoch.
    last = max(line["epoch"] for line in lines if line["epoch"] <= epoch)
    compared, worst = 0, 0.0

    def compare(layer, name, found, expected):
        nonlocal compared, worst
        if expected is None or not abs(found - expected) <= ROUNDING:
            sys.exit(f"{records}: epoch {last}, {layer}: {name} is {expected}, numpy has {found}")
        compared, worst = compared + 1, max(worst, abs(found - expected))

    for line in (line for line in lines if line["epoch"] == last):
        layer = line["layer"]
        a, b = old[layer], new[layer]
        sign_a, sign_b = np.sign(a), np.sign(b)
        compare(layer, "wsvr", np.mean(sign_a * sign_b < 0), line["wsvr"])
        compare(layer, "wsvr_with_zero", np.mean(sign_a != sign_b), line["wsvr_with_zero"])
        low = b == 0 if line["levels"] else np.abs(b) / np.abs(b).max() < LOW
        compare(layer, "wlvr", np.mean(low), line["wlvr"])
        compare(layer, "zeros", np.count_nonzero(b == 0), line["zeros"])
        for latent in line["latents"]:
            name = f"{layer}.weight" + ("" if latent["name"] == "weight" else f".{latent['name']}")
            a, b = old[name], new[name]
            compare(layer, f"flips of {latent['name']}", np.mean((a > 0) != (b > 0)), latent["flips"])
            if latent["name"] == "w_sign":
                found = np.mean(np.sign(a) * np.sign(b) < 0)
                compare(layer, "wsvr_latent", found, line["wsvr_latent"])
    if compared == 0:
        sys.exit(f"{records}: no rate of epoch {last}")
    print(f"epoch {last}: {compared} rates, the largest difference is {worst:.1e}")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
