"""The training step of `train_step.rs` in PyTorch, S3 layer included; prints the same JSON line.

The network is the one that the binary describes. Needs torch. Channels last; f32, or bf16 autocast with
--dtype bf16.
"""

import argparse
import json
import math
import statistics
import subprocess
import time

import torch
import torch.nn as nn
import torch.nn.functional as F


class Gate(torch.autograd.Function):
    """The Heaviside step with derivative 1."""

    @staticmethod
    def forward(ctx, x):
        return (x > 0).to(x.dtype)

    @staticmethod
    def backward(ctx, g):
        return g


class Sign(torch.autograd.Function):
    """The sign with derivative 1."""

    @staticmethod
    def forward(ctx, x):
        return torch.where(x > 0, 1.0, -1.0)

    @staticmethod
    def backward(ctx, g):
        return g


class S3(nn.Module):
    """The weight of a convolution, `[out, in / groups, h, w]`, or of a linear layer, `[out, in]`."""

    def __init__(self, shape, t):
        super().__init__()
        std = (2.0 / (math.prod(shape[2:]) * shape[0])) ** 0.5
        latent = lambda: nn.Parameter(torch.randn(shape) * std)
        self.w_sign, self.w_sparse = latent(), latent()
        self.shifts = nn.ParameterList([latent() for _ in range(t)])

    def forward(self):
        w = Sign.apply(self.w_sign) * Gate.apply(self.w_sparse)
        if len(self.shifts):
            s = torch.zeros_like(self.w_sign)
            for latent in self.shifts:
                s = Gate.apply(latent) * (s + 1)
            w = w * torch.pow(2.0, s)
        return w

    def penalty(self):
        return F.relu(-self.w_sparse).sum()


class Full(nn.Module):
    """A weight in full precision."""

    def __init__(self, shape):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(shape))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def forward(self):
        return self.weight


ACTS = {"none": lambda x: x, "relu": F.relu, "relu6": F.relu6}


class Layer(nn.Module):
    """A convolution or a linear layer and what follows it: a norm or a bias, a sum, an activation."""

    def __init__(self, layer, c_in, weight):
        super().__init__()
        plan, c = layer["holds"], layer["channels"]
        self.is_linear, self.add, self.act = plan["is_linear"], layer["add"], ACTS[layer["act"]]
        shape = (c, c_in // layer["groups"], *layer["kernel"])
        self.weight = weight(shape[:2] if self.is_linear else shape, plan["role"])
        self.bias = nn.Parameter(torch.zeros(c)) if plan["bias"] else None
        self.norm = nn.BatchNorm2d(c) if plan["norm"] else None
        self.window = layer["stride"], layer["padding"], 1, layer["groups"]

    def forward(self, x, values):
        if self.is_linear:
            y = F.linear(x.flatten(1), self.weight(), self.bias)[:, :, None, None]
        else:
            y = F.conv2d(x, self.weight(), self.bias, *self.window)
        y = y if self.norm is None else self.norm(y)
        return self.act(y if self.add is None else y + values[self.add])


class Move(nn.Module):
    """A node without parameters."""

    def __init__(self, call):
        super().__init__()
        self.call = call

    def forward(self, *x, values):
        return self.call(*x)


class Norm(nn.Module):
    """A batch norm that follows no layer."""

    def __init__(self, c, act):
        super().__init__()
        self.norm, self.act = nn.BatchNorm2d(c), ACTS[act]

    def forward(self, x, values):
        return self.act(self.norm(x))


def module(name, op, c, weight):
    """The node `op` of this kind, which reads `c` channels."""
    if name == "layer":
        return Layer(op, c, weight)
    if name == "norm":
        return Norm(c, op["act"])
    if name in ("max_pool", "avg_pool"):
        pool = F.max_pool2d if name == "max_pool" else F.avg_pool2d
        return Move(lambda x: pool(x, op["kernel"], op["stride"], op["padding"]))
    if name == "pad":
        top, bottom, left, right = op["sides"]
        return Move(lambda x: F.pad(x, (left, right, top, bottom)))
    if name == "subsample":
        stride, added = op["stride"], op["channels"] - c
        pads = (0, 0, 0, 0, added // 2, added - added // 2)
        return Move(lambda x: F.pad(x[:, :, ::stride, ::stride], pads))
    return Move({
        "add": lambda *x: ACTS[op["act"]](sum(x[1:], x[0])),
        "concat": lambda *x: torch.cat(x, 1),
        "mean_pool": lambda x: x.mean((2, 3), keepdim=True),
        "flatten": lambda x: x.flatten(1)[:, :, None, None],
        "dropout": lambda x: F.dropout(x, op),
    }[name])


class Net(nn.Module):
    """The network that `train_step --describe` prints: what Rust trains, node by node."""

    def __init__(self, described, weight):
        super().__init__()
        self.nodes, self.inputs, last = nn.ModuleList(), [], {}
        for index, node in enumerate(described["graph"]["nodes"]):
            inputs, op = node["inputs"], node["op"]
            name, op = (op, None) if isinstance(op, str) else next(iter(op.items()))
            c = described["sizes"][inputs[0]]["channels"]
            self.nodes.append(module(name, op, c, weight))
            self.inputs.append(inputs)
            added = op["add"] if name == "layer" else None
            last.update({v: index for v in [*inputs, added] if v is not None})
        self.unread = [[v for v in last if last[v] == i] for i in range(len(self.nodes))]

    def forward(self, x):
        values = {0: x}
        for index, (node, inputs) in enumerate(zip(self.nodes, self.inputs)):
            values[index + 1] = node(*(values[i] for i in inputs), values=values)
            for value in self.unread[index]:
                del values[value]
        return values[len(self.nodes)].flatten(1)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--binary", default="target/release/train_step", help="what describes the network")
    p.add_argument("--model", "--network", default="resnet20")
    p.add_argument("--width", help="the architecture's setting of this name")
    p.add_argument("--side", type=int, help="pixels of an image's side")
    p.add_argument("--method", default="s3", choices=["s3", "fp32"])
    p.add_argument("--bits", type=int, default=3)
    p.add_argument("--batch", type=int, default=128)
    p.add_argument("--steps", type=int, default=12)
    p.add_argument("--warmup", type=int, default=3)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--dtype", default="f32", choices=["f32", "bf16"])
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(1)
    describe = [a.binary, "--describe", "--model", a.model]
    for option, given in (("--width", a.width), ("--side", a.side)):
        describe += [option, str(given)] if given else []
    described = json.loads(subprocess.run(describe, check=True, stdout=subprocess.PIPE).stdout)

    def weight(shape, role):
        if a.method == "s3" and role not in ("first", "last"):
            return S3(shape, 2 ** (a.bits - 1) - 2)
        return Full(shape)

    net = Net(described, weight)
    net = net.to(memory_format=torch.channels_last)
    image, classes = described["sizes"][0], described["sizes"][-1]["channels"]
    shape = [a.batch] + [image[side] for side in ("channels", "height", "width")]
    x = torch.randn(shape).to(memory_format=torch.channels_last)
    y = torch.arange(a.batch) * 31 % classes
    opt = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    penalized = [m for m in net.modules() if isinstance(m, S3)]
    times = []
    for step in range(a.warmup + a.steps):
        clock = time.perf_counter()
        opt.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=a.dtype == "bf16"):
            loss = F.cross_entropy(net(x), y)
        total = loss + 1e-5 * sum(m.penalty() for m in penalized)
        total.backward()
        opt.step()
        if step >= a.warmup:
            times.append(time.perf_counter() - clock)
    step = statistics.median(times)
    line = {
        "bench": "train_step", "peer": f"torch {torch.__version__}", "model": a.model,
        "method": a.method, "bits": a.bits if a.method == "s3" else 32, "batch": a.batch,
        "threads": a.threads, "dtype": a.dtype, "side": a.side, "width": described["width"],
        "images_per_s": a.batch / step,
        "best_images_per_s": a.batch / min(times), "step_ms": step * 1e3, "steps": a.steps,
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
