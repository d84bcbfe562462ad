"""The networks of `cargo xtask bench infer` in onnxruntime, from the ONNX file that this project's export
has written: f32, and int8 by onnxruntime's own quantizer (u8 activations, s8 weights with a scale a channel)."""

import pathlib

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

FORMATS = {"u8s8": QuantFormat.QOperator, "u8s8 QDQ": QuantFormat.QDQ}


class Images(CalibrationDataReader):
    """A few random images: ranges of random weights need no more, and times do not depend on them."""

    def __init__(self, shape):
        rng = np.random.default_rng(7)
        self.left = [{"image": rng.random(shape, dtype=np.float32) * 2 - 1} for _ in range(2)]

    def get_next(self):
        return self.left.pop() if self.left else None


def load(path, batch):
    """The network of `path` for images of this batch, and their shape."""
    model = onnx.load(path)
    for value in [*model.graph.input, *model.graph.output]:
        value.type.tensor_type.shape.dim[0].dim_value = batch
    return model, [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]


def network(path, batch, dtype):
    """The shape of the images, and the ONNX file of `path` in `dtype`."""
    model, shape = load(path, batch)
    if dtype == "f32":
        return shape, model.SerializeToString()
    stem = pathlib.Path(path).with_suffix("")
    whole, fused, made = (f"{stem}.{batch}.{what}.onnx" for what in ("whole", "fused", dtype.replace(" ", "-")))
    onnx.save(model, whole)
    # Folds the factor and the bias of an f32 layer into its convolution, as the quantizer's guide asks for.
    quant_pre_process(whole, fused, skip_symbolic_shape=True)
    quantize_static(
        fused,
        made,
        Images(shape),
        quant_format=FORMATS[dtype],
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    return shape, pathlib.Path(made).read_bytes()
