"""The training step of `train_step.rs` in PyTorch, S3 layer included; prints the same JSON line.

Needs torch. Channels last; f32, or bf16 autocast with --dtype bf16.
"""

import argparse
import json
import statistics
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


class S3Conv2d(nn.Module):
    def __init__(self, c_in, c_out, k, stride, padding, groups, t):
        super().__init__()
        self.stride, self.padding, self.groups = stride, padding, groups
        std = (2.0 / (k * k * c_out)) ** 0.5
        latent = lambda: nn.Parameter(torch.randn(c_out, c_in // groups, k, k) * std)
        self.w_sign, self.w_sparse = latent(), latent()
        self.shifts = nn.ParameterList([latent() for _ in range(t)])

    def weight(self):
        w = Sign.apply(self.w_sign) * Gate.apply(self.w_sparse)
        if len(self.shifts):
            s = torch.zeros_like(self.w_sign)
            for latent in self.shifts:
                s = Gate.apply(latent) * (s + 1)
            w = w * torch.pow(2.0, s)
        return w

    def penalty(self):
        return F.relu(-self.w_sparse).sum()

    def forward(self, x):
        return F.conv2d(x, self.weight(), None, self.stride, self.padding, 1, self.groups)


class Block(nn.Module):
    def __init__(self, conv, c_in, c_out, stride, project):
        super().__init__()
        self.conv1, self.bn1 = conv(c_in, c_out, 3, stride, 1), nn.BatchNorm2d(c_out)
        self.conv2, self.bn2 = conv(c_out, c_out, 3, 1, 1), nn.BatchNorm2d(c_out)
        self.stride, self.pad = stride, (c_out - c_in) // 2
        self.down = None
        if project and (stride != 1 or c_in != c_out):
            self.down = nn.Sequential(conv(c_in, c_out, 1, stride, 0), nn.BatchNorm2d(c_out))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.down is not None:
            x = self.down(x)
        elif self.stride != 1 or self.pad:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.pad, self.pad))
        return F.relu(y + x)


class ResNet(nn.Module):
    def __init__(self, model, conv, width):
        super().__init__()
        large = model == "resnet18"
        c = int(width or (64 if large else 16))
        counts = [2] * 4 if large else [3 if model == "resnet20" else 1] * 3
        widths = [c << stage for stage in range(len(counts))]
        stem = nn.Conv2d(3, c, 7, 2, 3, bias=False) if large else nn.Conv2d(3, c, 3, 1, 1, bias=False)
        layers = [stem, nn.BatchNorm2d(c), nn.ReLU()] + ([nn.MaxPool2d(3, 2, 1)] if large else [])
        for stage, (width, count) in enumerate(zip(widths, counts)):
            for i in range(count):
                layers.append(Block(conv, c, width, 2 if stage and i == 0 else 1, large))
                c = width
        self.body, self.fc = nn.Sequential(*layers), nn.Linear(c, 1000 if large else 10)

    def forward(self, x):
        return self.fc(self.body(x).mean((2, 3)))


class MobileNetV1(nn.Module):
    """Howard et al., 2017. Images of less than 64 pixels on a side keep their size at first."""

    # Channels, and the stride of the depthwise convolution.
    BLOCKS = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)]
    BLOCKS += [(512, 1)] * 5 + [(1024, 2), (1024, 1)]

    def __init__(self, conv, width, side):
        super().__init__()
        scaled = lambda channels: int(channels * (width or 1.0))
        norm = lambda c: [nn.BatchNorm2d(c), nn.ReLU()]
        c = scaled(32)
        layers = [nn.Conv2d(3, c, 3, 1 if side < 64 else 2, 1, bias=False), *norm(c)]
        for channels, stride in self.BLOCKS:
            made = scaled(channels)
            layers += [conv(c, c, 3, stride, 1, c), *norm(c), conv(c, made, 1, 1, 0), *norm(made)]
            c = made
        self.body, self.fc = nn.Sequential(*layers), nn.Linear(c, 10)

    def forward(self, x):
        return self.fc(self.body(x).mean((2, 3)))


def main():
    p = argparse.ArgumentParser()
    models = ["resnet8", "resnet20", "resnet18", "mobilenet_v1"]
    p.add_argument("--model", "--network", default="resnet20", choices=models)
    p.add_argument("--width", type=float, help="channels at first, or a MobileNet's factor of all")
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
    if a.method == "s3":
        conv = lambda i, o, k, s, q, g=1: S3Conv2d(i, o, k, s, q, g, 2 ** (a.bits - 1) - 2)
    else:
        conv = lambda i, o, k, s, q, g=1: nn.Conv2d(i, o, k, s, q, groups=g, bias=False)
    size, classes = (224, 1000) if a.model == "resnet18" else (32, 10)
    size = a.side or size
    if a.model == "mobilenet_v1":
        net = MobileNetV1(conv, a.width, size)
    else:
        net = ResNet(a.model, conv, a.width)
    net = net.to(memory_format=torch.channels_last)
    first = next(m for m in net.modules() if isinstance(m, nn.Conv2d)).out_channels
    x = torch.randn(a.batch, 3, size, size).to(memory_format=torch.channels_last)
    y = torch.arange(a.batch) * 31 % classes
    opt = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    penalized = [m for m in net.modules() if isinstance(m, S3Conv2d)]
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
        "threads": a.threads, "dtype": a.dtype, "side": a.side, "width": first,
        "images_per_s": a.batch / step,
        "best_images_per_s": a.batch / min(times), "step_ms": step * 1e3, "steps": a.steps,
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
