"""The networks of `cargo xtask bench infer` as ONNX graphs of random weights: f32, and int8 as the
quantizer of onnxruntime writes them (QLinear operators, the image quantized first)."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

rng = np.random.default_rng(7)
SCALE = 0.02


class Graph:
    def __init__(self, integer):
        self.integer, self.nodes, self.constants, self.count = integer, [], [], 0

    def name(self):
        self.count += 1
        return f"t{self.count}"

    def constant(self, array):
        name = self.name()
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def node(self, op, inputs, domain="", **attributes):
        name = self.name()
        self.nodes.append(helper.make_node(op, inputs, [name], domain=domain, **attributes))
        return name

    def scale(self, scale=SCALE, dtype=np.uint8):
        return [self.constant(np.float32(scale)), self.constant(dtype(0))]

    def conv(self, x, c_in, c_out, kernel, stride, relu=True):
        attributes = dict(kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[kernel // 2] * 4)
        shape = (c_out, c_in, kernel, kernel)
        if self.integer:
            # A u8 result whose zero point is 0 is a ReLU as well.
            w = self.constant(rng.integers(-64, 65, shape, dtype=np.int8))
            bias = self.constant(np.zeros(c_out, np.int32))
            inputs = [x, *self.scale(), w, *self.scale(0.001, np.int8), *self.scale(), bias]
            return self.node("QLinearConv", inputs, **attributes)
        w = self.constant(((rng.random(shape) - 0.5) / np.sqrt(c_in * kernel**2)).astype(np.float32))
        y = self.node("Conv", [x, w, self.constant(np.zeros(c_out, np.float32))], **attributes)
        return self.node("Relu", [y]) if relu else y

    def add(self, a, b):
        if self.integer:
            inputs = [a, *self.scale(), b, *self.scale(), *self.scale()]
            return self.node("QLinearAdd", inputs, domain="com.microsoft")
        return self.node("Relu", [self.node("Add", [a, b])])

    def block(self, x, c_in, c_out, projected):
        stride = 1 if c_in == c_out else 2
        y = self.conv(self.conv(x, c_in, c_out, 3, stride), c_out, c_out, 3, 1, relu=False)
        if stride == 1:
            return self.add(y, x)
        if projected:
            return self.add(y, self.conv(x, c_in, c_out, 1, stride, relu=False))
        ends = [np.array(v, np.int64) for v in ([0, 0], [2**31, 2**31], [2, 3], [2, 2])]
        x = self.node("Slice", [x, *map(self.constant, ends)])
        before = (c_out - c_in) // 2
        pads = np.array([0, before, 0, 0, 0, c_out - c_in - before, 0, 0], np.int64)
        zero = self.constant(np.uint8(0) if self.integer else np.float32(0))
        return self.add(y, self.node("Pad", [x, self.constant(pads), zero]))

    def head(self, x, c, classes):
        if not self.integer:
            x = self.node("Flatten", [self.node("GlobalAveragePool", [x])])
            w = ((rng.random((c, classes)) - 0.5) / c).astype(np.float32)
            return self.node("MatMul", [x, self.constant(w)])
        inputs = [x, *self.scale(), *self.scale()]
        x = self.node("QLinearGlobalAveragePool", inputs, domain="com.microsoft", channels_last=0)
        x = self.node("Flatten", [x])
        w = self.constant(rng.integers(-64, 65, (c, classes), dtype=np.int8))
        inputs = [x, *self.scale(), w, *self.scale(0.001, np.int8), *self.scale()]
        return self.node("DequantizeLinear", [self.node("QLinearMatMul", inputs), *self.scale()])


def onnx_model(name, batch, integer):
    """The shape of the input, the number of classes, and the bytes of the graph."""
    g = Graph(integer)
    x = g.node("QuantizeLinear", ["x", *g.scale()]) if integer else "x"
    if name == "resnet18":
        side, classes, stages, blocks, c = 224, 1000, [64, 128, 256, 512], 2, 64
        x = g.conv(x, 3, c, 7, 2)
        x = g.node("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    else:
        side, classes, stages, blocks, c = 32, 10, [16, 32, 64], 3, 16
        x = g.conv(x, 3, c, 3, 1)
    for channels in stages:
        for _ in range(blocks):
            x = g.block(x, c, channels, name == "resnet18")
            c = channels
    y = g.head(x, c, classes)
    g.nodes.append(helper.make_node("Identity", [y], ["y"]))
    shape = (batch, 3, side, side)
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        g.nodes,
        name,
        [info("x", TensorProto.FLOAT, shape)],
        [info("y", TensorProto.FLOAT, (batch, classes))],
        g.constants,
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    return shape, classes, model.SerializeToString()
