"""onnxruntime, PyTorch and numpy on the cases of `cargo xtask bench gemv|gemm|conv|infer --peers`.

Speaks the line protocol of benches/kernels/src/lib.rs on standard input and output, with one thread.
A package that is not installed, or an operator that it does not have, is skipped with a word.
"""

import itertools
import json
import sys
import time

import numpy as np

COLD_BYTES = 320 << 20
rng = np.random.default_rng(1)


# An ONNX model of one node, written as the protocol buffer that it is.


def varint(n):
    out = bytearray()
    while True:
        n, low = n >> 7, n & 0x7F
        out.append(low | (0x80 if n else 0))
        if not n:
            return bytes(out)


def field(number, value):
    """A field: an int as varint, everything else as bytes with their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


ONNX_TYPE = {np.dtype("f4"): 1, np.dtype("u1"): 2, np.dtype("i1"): 3, np.dtype("i4"): 6}


def tensor(name, array):
    dims = b"".join(field(1, d) for d in array.shape)
    return dims + field(2, ONNX_TYPE[array.dtype]) + field(8, name) + field(9, array.tobytes())


def value_info(name, dtype, shape):
    dims = b"".join(field(1, field(1, d)) for d in shape)
    return field(1, name) + field(2, field(1, field(1, ONNX_TYPE[np.dtype(dtype)]) + field(2, dims)))


def attribute(name, value):
    if isinstance(value, int):
        return field(1, name) + field(3, value) + field(20, 2)
    return field(1, name) + b"".join(field(8, v) for v in value) + field(20, 7)


def model(op, inputs, weights, output, attributes=(), domain=""):
    """`inputs` and `weights` are (name, array) in the node's order; `output` is (dtype, shape)."""
    names = b"".join(field(1, name) for name, _ in inputs + weights)
    node = names + field(2, "y") + field(4, op) + field(7, domain)
    node += b"".join(field(5, attribute(k, v)) for k, v in attributes)
    graph = field(1, node) + field(2, "g")
    graph += b"".join(field(5, tensor(name, array)) for name, array in weights)
    graph += b"".join(field(11, value_info(name, a.dtype, a.shape)) for name, a in inputs)
    graph += field(12, value_info("y", *output))
    opsets = field(8, field(1, "") + field(2, 17)) + field(8, field(1, "com.microsoft") + field(2, 1))
    return field(1, 8) + opsets + field(7, graph)


def ort_call(*args, **kwargs):
    return ort_session(model(*args, **kwargs), args[1], ("y", *args[3]))


def ort_network(c, dtype):
    import networks

    shape, graph = networks.network(c["onnx"], c["batch"], dtype)
    return ort_session(graph, [("image", floats(*shape))], ("scores", "f4", (c["batch"], c["classes"])))


def ort_session(graph, inputs, output):
    """A session with bound inputs and outputs, as a function of nothing."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    for name, array in inputs:
        binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array))
    name, dtype, shape = output
    binding.bind_ortvalue_output(name, ort.OrtValue.ortvalue_from_shape_and_type(shape, np.dtype(dtype).type))
    return lambda: session.run_with_iobinding(binding)


def unsigned(*shape):
    return rng.integers(0, 256, shape, dtype=np.uint8)


def ternary(*shape):
    return rng.integers(-1, 2, shape, dtype=np.int8)


def floats(*shape):
    return rng.random(shape, dtype=np.float32) - 0.5


# Products: y[m, n] = x[m, k] w[k, n]. Each maker returns (call, bytes of weights).


def ort_nothing(c):
    x = floats(1)
    return ort_call("Identity", [("x", x)], [], ("f4", (1,))), 0


def ort_u8s8(c):
    m, n, k = c["m"], c["n"], c["k"]
    return ort_call("MatMulInteger", [("a", unsigned(m, k))], [("b", ternary(k, n))], ("i4", (m, n))), n * k


def ort_2bit(c):
    m, n, k, block = c["m"], c["n"], c["k"], 128
    if k % block:
        raise ValueError(f"k = {k} is not a multiple of the block")
    blocks = k // block
    weights = [("b", unsigned(n, blocks, block // 4)), ("scales", floats(n * blocks))]
    attributes = [("K", k), ("N", n), ("bits", 2), ("block_size", block), ("accuracy_level", 4)]
    call = ort_call(
        "MatMulNBits", [("a", floats(m, k))], weights, ("f4", (m, n)), attributes, "com.microsoft"
    )
    return call, n * k // 4


def ort_f32(c):
    m, n, k = c["m"], c["n"], c["k"]
    return ort_call("MatMul", [("a", floats(m, k))], [("b", floats(k, n))], ("f4", (m, n))), 4 * n * k


def numpy_f32(c):
    x, w, y = floats(c["m"], c["k"]), floats(c["k"], c["n"]), floats(c["m"], c["n"])
    return (lambda: np.matmul(x, w, out=y)), w.nbytes


def torch_f32(c):
    import torch

    x, w = torch.from_numpy(floats(c["m"], c["k"])), torch.from_numpy(floats(c["n"], c["k"])).t()
    y = torch.empty(c["m"], c["n"])
    return (lambda: torch.mm(x, w, out=y)), 4 * c["n"] * c["k"]


def torch_u8s8(c):
    import torch

    x, w = torch.from_numpy(unsigned(c["m"], c["k"])), torch.from_numpy(ternary(c["n"], c["k"]))
    packed = torch.ops.onednn.qlinear_prepack(w, list(x.shape))
    scales, zeros = torch.ones(c["n"]), torch.zeros(c["n"], dtype=torch.int32)
    op = torch.ops.onednn.qlinear_pointwise
    out = (1.0, 0, torch.uint8, "none", [], "")
    return (lambda: op(x, 1.0, 0, packed, scales, zeros, None, *out)), c["n"] * c["k"]


def torch_s8s8(c):
    import torch

    x = torch.from_numpy(unsigned(c["m"], c["k"]).view(np.int8))
    w = torch.from_numpy(ternary(c["k"], c["n"]))
    y = torch.empty(c["m"], c["n"], dtype=torch.int32)
    return (lambda: torch._int_mm(x, w, out=y)), c["n"] * c["k"]


# Convolutions: one image.


def conv_of(c):
    pads, strides = [c["padding"]] * 4, [c["stride"]] * 2
    attributes = [("pads", pads), ("strides", strides), ("kernel_shape", [c["kernel"]] * 2)]
    attributes.append(("group", c["groups"]))
    side = (c["height"] + 2 * c["padding"] - c["kernel"]) // c["stride"] + 1
    image = (1, c["in_channels"], c["height"], c["width"])
    weight = (c["out_channels"], c["in_channels"] // c["groups"], c["kernel"], c["kernel"])
    return attributes, image, weight, (1, c["out_channels"], side, side)


def ort_conv_f32(c):
    attributes, image, weight, out = conv_of(c)
    w = floats(*weight)
    return ort_call("Conv", [("x", floats(*image))], [("w", w)], ("f4", out), attributes), w.nbytes


def ort_conv(c, weight_dtype, channels_last):
    attributes, image, weight, out = conv_of(c)
    domain = ""
    if channels_last:
        attributes.append(("channels_last", 1))
        image, out = [(s[0], s[2], s[3], s[1]) for s in (image, out)]
        domain = "com.microsoft"
    one = lambda dtype, value: np.array(value, dtype=dtype)
    x_dtype = "i1" if weight_dtype == "s8s8" else "u1"
    x = ("x", unsigned(*image).view(x_dtype))
    rest = [("xs", one("f4", 1.0)), ("xz", one(x_dtype, 0)), ("w", ternary(*weight))]
    rest += [("ws", one("f4", 1.0)), ("wz", one("i1", 0)), ("ys", one("f4", 64.0)), ("yz", one(x_dtype, 0))]
    return ort_call("QLinearConv", [x], rest, (x_dtype, out), attributes, domain), int(np.prod(weight))


def torch_conv_f32(c):
    import torch

    _, image, weight, _ = conv_of(c)
    last = {"memory_format": torch.channels_last}
    x, w = torch.from_numpy(floats(*image)).to(**last), torch.from_numpy(floats(*weight)).to(**last)
    conv = torch.nn.functional.conv2d
    return (lambda: conv(x, w, None, c["stride"], c["padding"])), w.nbytes


def torch_conv_u8s8(c):
    import torch

    _, image, weight, _ = conv_of(c)
    x = torch.from_numpy(unsigned(*image)).to(memory_format=torch.channels_last)
    w = torch.from_numpy(ternary(*weight))
    n = c["out_channels"]
    scales, zeros = torch.ones(n), torch.zeros(n, dtype=torch.int32)
    geometry = ([c["stride"]] * 2, [c["padding"]] * 2, [1, 1], c["groups"])
    packed = torch.ops.onednn.qconv_prepack(w, scales, 1.0, 0, *geometry, list(x.shape))
    op = torch.ops.onednn.qconv2d_pointwise
    out = (64.0, 0, torch.uint8, "none", [], "")
    return (lambda: op(x, 1.0, 0, packed, scales, zeros, None, *geometry, *out)), int(np.prod(weight))


PRODUCTS = {
    ("onnxruntime", "nothing"): ort_nothing,
    ("onnxruntime", "u8s8"): ort_u8s8,
    ("onnxruntime", "2-bit"): ort_2bit,
    ("onnxruntime", "f32"): ort_f32,
    ("numpy", "f32"): numpy_f32,
    ("torch", "f32"): torch_f32,
    ("torch", "u8s8"): torch_u8s8,
    ("torch", "s8s8"): torch_s8s8,
}
NETWORKS = {
    ("onnxruntime", "u8s8"): lambda c: (ort_network(c, "u8s8"), 0),
    ("onnxruntime", "u8s8 QDQ"): lambda c: (ort_network(c, "u8s8 QDQ"), 0),
    ("onnxruntime", "f32"): lambda c: (ort_network(c, "f32"), 0),
}
CONVOLUTIONS = {
    ("onnxruntime", "u8s8"): lambda c: ort_conv(c, "u8s8", False),
    ("onnxruntime", "u8s8 NHWC"): lambda c: ort_conv(c, "u8s8", True),
    ("onnxruntime", "f32"): ort_conv_f32,
    ("torch", "f32"): torch_conv_f32,
    ("torch", "u8s8"): torch_conv_u8s8,
}


def prepare(case):
    programs, skipped = [], []
    macs = case["m"] * case["n"] * case["k"]
    floats_only = case["bench"].endswith("_f32")
    table = NETWORKS if "model" in case else CONVOLUTIONS if "height" in case else PRODUCTS
    for (package, dtype), make in table.items():
        if floats_only and dtype != "f32":
            continue
        try:
            # A product of 2-bit blocks is for vectors and few rows.
            if (dtype == "2-bit" and case["m"] > 64) or (dtype == "nothing" and case.get("cold")):
                continue
            call, size = make(case)
            calls = [call]
            if case.get("cold"):
                calls += [make(case)[0] for _ in range(1, -(-COLD_BYTES // size))]
            for call in calls:
                call()
        except Exception as error:  # whatever a package says it cannot do
            word = (str(error) or type(error).__name__).splitlines()[0]
            skipped.append(f"{package} {dtype}: skipped: {word}")
            continue
        about = {"peer": package, "dtype": dtype, "macs": macs if dtype != "nothing" else 0, "threads": 1}
        version = getattr(sys.modules.get(package), "__version__", "")
        programs.append((about | {"version": version}, itertools.cycle(calls)))
    return programs, skipped


def run(calls, us):
    times = []
    warmup = time.perf_counter()
    next(calls)()
    if time.perf_counter() - warmup < 5e-3:
        next(calls)()
    whole = time.perf_counter()
    while not times or (time.perf_counter() - whole) * 1e6 < us:
        call = next(calls)
        clock = time.perf_counter()
        call()
        times.append((time.perf_counter() - clock) * 1e6)
    times.sort()
    return {"median_us": times[len(times) // 2], "min_us": times[0], "calls": len(times)}


def main():
    try:
        import torch

        torch.set_num_threads(1)
    except ImportError:
        pass
    programs = []
    for line in sys.stdin:
        message = json.loads(line)
        if "run" in message:
            answer = run(programs[message["run"]][1], message["us"])
        else:
            programs = []  # frees the memory of the last case
            programs, skipped = prepare(message["case"])
            answer = {"programs": [about for about, _ in programs], "skipped": skipped}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
