"""Checks exported ONNX and QONNX files, and runs them on stored images.

    check_onnx.py --images IMAGES [--tolerance T] [--json] [--answers] (FILE SCORES)...

IMAGES and SCORES are little-endian f32: `[n, height, width, channels]`, normalised, as the packed
runtime takes them, and `[n, classes]`, as it gives them. Each FILE passes onnx's full checker (QONNX's own
operators have no schema there), is run by onnxruntime, or by qonnx's executor where it holds QONNX's
operators, and must give SCORES within T times the largest of them and the same top-1 for every image. One
line a file, with --json an object; status 1 where one fails. With --answers the scores of FILE are written
to FILE.scores, in the form of SCORES.
"""

import argparse
import json
import sys
from importlib.metadata import version

import numpy as np
import onnx

QONNX = "qonnx.custom_op.general"
BATCH = 64


def sides(value):
    return [d.dim_value for d in value.type.tensor_type.shape.dim[1:]]


def runner(model, path):
    """The program that runs this file, and its scores of BATCH images."""
    if any(opset.domain == QONNX for opset in model.opset_import):
        from qonnx.core.modelwrapper import ModelWrapper
        from qonnx.core.onnx_exec import execute_onnx
        from qonnx.transformation.infer_shapes import InferShapes

        # The executor asks for the shape of every value, so for a number of images.
        for value in [*model.graph.input, *model.graph.output]:
            value.type.tensor_type.shape.dim[0].dim_value = BATCH
        wrapper = ModelWrapper(model).transform(InferShapes())
        return "qonnx", lambda images: execute_onnx(wrapper, {"image": images})["scores"]
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return "onnxruntime", lambda images: session.run(["scores"], {"image": images})[0]


def in_batches(run, images):
    scores = []
    for start in range(0, len(images), BATCH):
        batch = images[start : start + BATCH]
        missing = BATCH - len(batch)
        filled = np.pad(batch, [(0, missing), (0, 0), (0, 0), (0, 0)])
        scores.append(run(filled)[: len(batch)])
    return np.concatenate(scores)


def check(path, scores_path, options):
    onnx.checker.check_model(path, full_check=True)
    model = onnx.load(path)
    channels, height, width = sides(model.graph.input[0])
    (classes,) = sides(model.graph.output[0])
    images = np.fromfile(options.images, "<f4").reshape(-1, height, width, channels)
    images = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    expected = np.fromfile(scores_path, "<f4").reshape(-1, classes)
    program, run = runner(model, path)
    scores = in_batches(run, images)
    if not np.isfinite(scores).all():
        sys.exit(f"{path}: {program}: a score is no number")
    error = float(np.abs(scores - expected).max() / np.abs(expected).max())
    same = int((scores.argmax(1) == expected.argmax(1)).sum())
    passed = scores.shape == expected.shape and error <= options.tolerance and same == len(expected)
    if options.answers:
        scores.astype("<f4").tofile(f"{path}.scores")
    if options.json:
        answer = {"file": path, "program": program, "version": version(program), "error": error}
        print(json.dumps(answer | {"same": same, "images": len(expected), "passed": passed}))
    else:
        word = "ok" if passed else "FAILED"
        print(f"{path}: {program}: error {error:.1e}, top-1 {same}/{len(expected)}: {word}")
    return passed


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", required=True)
    parser.add_argument("--tolerance", type=float, default=1e-5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--answers", action="store_true")
    parser.add_argument("pairs", nargs="+", metavar="FILE SCORES")
    options = parser.parse_args()
    if len(options.pairs) % 2:
        parser.error("expected a file of scores after each ONNX file")
    pairs = zip(options.pairs[::2], options.pairs[1::2])
    passed = [check(file, scores, options) for file, scores in pairs]
    sys.exit(0 if all(passed) else 1)


main()
