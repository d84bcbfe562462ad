"""Checks that hls4ml and qonnx compute the integers of an exported network.

    check_hls4ml.py NETWORK.qonnx.onnx IMAGES ANSWERS PROJECT [--count N] [--traced N] [--io IO]

NETWORK is what `s3 export --activations u8-shift` writes. IMAGES are bytes, `[n, height,
width, channels]`; ANSWERS is what the runtime says of them, a line of JSON an image, as `s3-browser
NETWORK IMAGES` prints it (tools/browser): the scores, and a digest of every value. The steps:

1. onnx's checker; qonnx's executor on the file as it is: every value of `--traced` images has the
   runtime's digest, and the scores are the runtime's, bit by bit;
2. qonnx's `cleanup_model` and `ConvertToChannelsLastAndClean`, the executor again: the scores;
3. hls4ml converts what these have made, with its own defaults, into the folder PROJECT, compiles
   its C simulation and predicts `--count` images: the integers of the classifier are the
   runtime's, and the scores within one unit in the last place of the largest.

One line a step; status 1 where one fails.
"""

import argparse
import contextlib
import io
import json
import logging
import sys
import time
import warnings
from importlib.metadata import version

import numpy as np
import onnx
import onnxruntime

warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

# Operators that make values of values without a quantizer.
MOVES = {"MaxPool", "Flatten", "Concat", "Pad"}
# FNV-1a, 64 bits.
DIGEST, PRIME, MASK = 0xCBF29CE484222325, 0x100000001B3, (1 << 64) - 1


def digest(parts):
    now = DIGEST
    for part in parts:
        for byte in part:
            now = (now ^ byte) * PRIME & MASK
    return f"{now:016x}"


def constant(model, name):
    found = next(c for c in model.graph.initializer if c.name == name)
    return onnx.numpy_helper.to_array(found)


class Network:
    """The file, and what it says of its images and its scores."""

    def __init__(self, path):
        onnx.checker.check_model(path)
        self.model = onnx.load(path)
        said = {p.key: p.value for p in self.model.metadata_props}
        self.mean, self.std = (np.array(json.loads(said[k]), "<f4") for k in ("s3.mean", "s3.std"))
        if said.get("s3.numbers") == "floats":
            sys.exit(f"{path}: expected a network of pixels, got one of floats")
        shape = self.model.graph.input[0].type.tensor_type.shape
        _, self.channels, self.height, self.width = (d.dim_value for d in shape.dim)
        self.made = {name: node for node in self.model.graph.node for name in node.output}
        # Mul scale -> Quant -> Add bias.
        add = self.made["scores"]
        times = self.made[self.made[add.input[0]].input[0]]
        self.bias, self.scale = (self.quantized(n.input[1]).ravel() for n in (add, times))

    def quantized(self, name):
        return constant(self.model, self.made[name].input[0]).astype(np.float64)

    def images(self, path, count):
        pixels = np.fromfile(path, np.uint8).reshape(-1, self.height, self.width, self.channels)
        pixels = pixels[:count].astype("<f4") / np.float32(255)
        images = (pixels - self.mean) / self.std
        return np.ascontiguousarray(images.transpose(0, 3, 1, 2))

    def sums(self, scores):
        """The integers of the classifier that scores are made of."""
        return np.round((np.asarray(scores, np.float64) - self.bias) / self.scale).astype(int)

    def values(self, context):
        """What the runtime digests: the bytes of each value, channels last, then the scores."""
        for node in self.model.graph.node:
            name = node.output[0]
            if name == "scores":
                yield context[name].astype("<f4").tobytes()
            elif self.is_value(node):
                value = context[name]
                value = value.transpose(0, 2, 3, 1) if value.ndim == 4 else value
                yield value.astype(np.uint8).tobytes()

    def is_value(self, node):
        """Whether it makes a value of the network, which has the network's name for it."""
        is_byte = node.op_type == "Quant" and any(
            a.name == "signed" and a.i == 0 for a in node.attribute
        )
        is_part = node.output[0].endswith((".flat", ".moved", ".bordered"))
        return (is_byte or node.op_type in MOVES) and not is_part


def say(step, began, what, passed):
    word = "ok" if passed else "FAILED"
    print(f"{step}: {what}: {word} ({time.monotonic() - began:.1f} s)", flush=True)
    return passed


def run(wrapper, images):
    """The scores of images, by qonnx's executor; one at a time, as the file says."""
    from qonnx.core.onnx_exec import execute_onnx

    name, made = wrapper.graph.input[0].name, wrapper.graph.output[0].name
    scores = [execute_onnx(wrapper, {name: image[None]})[made].ravel() for image in images]
    return np.stack(scores)


def in_qonnx(network, images, answers, traced):
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.transformation.channels_last import ConvertToChannelsLastAndClean
    from qonnx.util.cleanup import cleanup_model

    expected = np.array([a["scores"] for a in answers], "<f4")
    began, same = time.monotonic(), 0
    wrapper = ModelWrapper(network.model)
    for image, answer in zip(images[:traced], answers):
        context = execute_onnx(wrapper, {"image": image[None]}, return_full_exec_context=True)
        same += digest(network.values(context)) == answer["digest"]
    program = f"qonnx {version('qonnx')}"
    passed = say(program, began, f"every value of {same} of {traced} images", same == traced)

    began = time.monotonic()
    wrapper = cleanup_model(wrapper)
    # A file without convolutions has no layout.
    if wrapper.get_nodes_by_op_type("Conv"):
        wrapper = wrapper.transform(ConvertToChannelsLastAndClean(make_input_channels_last=True))
        wrapper = cleanup_model(wrapper)
    left = len(wrapper.get_nodes_by_op_type("Transpose"))
    is_last = wrapper.get_tensor_shape(wrapper.graph.input[0].name)[1:] == [
        network.height,
        network.width,
        network.channels,
    ]
    turned = images.transpose(0, 2, 3, 1) if is_last else images
    turned = np.ascontiguousarray(turned)
    same = int((run(wrapper, turned[:traced]) == expected[:traced]).all(1).sum())
    what = f"channels last, {left} transposes left, the scores of {same} of {traced} images"
    passed &= say(program, began, what, same == traced)
    return passed, wrapper, turned, expected


def in_hls4ml(network, wrapper, images, expected, options):
    import hls4ml

    began = time.monotonic()
    with contextlib.redirect_stdout(io.StringIO()):
        config = hls4ml.utils.config_from_onnx_model(
            wrapper.model, granularity="name", backend="Vitis", default_precision="fixed<32,16>"
        )
        hls = hls4ml.converters.convert_from_onnx_model(
            wrapper.model,
            output_dir=options.project,
            io_type=options.io,
            backend="Vitis",
            hls_config=config,
        )
        hls.compile()
    program = f"hls4ml {version('hls4ml')}, {options.io}"
    passed = say(program, began, "converted and compiled", True)

    began = time.monotonic()
    scores = hls.predict(images).reshape(len(images), -1)
    same = int((network.sums(scores) == network.sums(expected)).all(1).sum())
    units = np.abs(scores - expected).max(1) / np.spacing(np.abs(expected).max(1))
    top = int((scores.argmax(1) == expected.argmax(1)).sum())
    what = (
        f"the integers of {same} of {len(images)} images, top-1 of {top}, scores within "
        f"{units.max():.1f} units in the last place of the largest"
    )
    return passed & say(program, began, what, same == top == len(images) and units.max() <= 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name in ("network", "images", "answers", "project"):
        parser.add_argument(name, metavar=name.upper())
    parser.add_argument("--count", type=int, default=1000, help="images that hls4ml predicts")
    parser.add_argument("--traced", type=int, default=20, help="images that qonnx's executor runs")
    parser.add_argument("--io", default="io_stream", choices=["io_stream", "io_parallel"])
    options = parser.parse_args()
    # qonnx runs each node alone, as operators of version 1, which onnxruntime warns of.
    onnxruntime.set_default_logger_severity(3)
    network = Network(options.network)
    images = network.images(options.images, options.count)
    with open(options.answers) as file:
        answers = [json.loads(line) for line in file][: len(images)]
    if len(answers) != len(images):
        sys.exit(f"{options.answers}: {len(answers)} answers for {len(images)} images")
    traced = min(options.traced, len(images))
    passed, wrapper, turned, expected = in_qonnx(network, images, answers, traced)
    passed &= in_hls4ml(network, wrapper, turned, expected, options)
    sys.exit(0 if passed else 1)


main()
