"""The pictures of `loader.rs` by torchvision's DataLoader; prints the same JSON line. Needs torchvision."""

import argparse
import json
import statistics
import time

import torch
import torchvision
from torchvision import datasets, transforms

parser = argparse.ArgumentParser()
parser.add_argument("folder")
parser.add_argument("--workers", type=int, default=2)
parser.add_argument("--batch", type=int, default=64)
parser.add_argument("--epochs", type=int, default=3)
args = parser.parse_args()

torch.manual_seed(1)
view = transforms.Compose(
    [
        transforms.RandomResizedCrop(224),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ]
)
train = datasets.ImageFolder(f"{args.folder}/train", view)
loader = torch.utils.data.DataLoader(
    train, args.batch, shuffle=True, num_workers=args.workers, persistent_workers=True
)
rates = []
for epoch in range(args.epochs + 1):
    clock = time.perf_counter()
    pictures = sum(len(labels) for _, labels in loader)
    rates.append(pictures / (time.perf_counter() - clock))
print(
    json.dumps(
        {
            "bench": "loader",
            "who": f"torchvision {torchvision.__version__}",
            "workers": args.workers,
            "batch": args.batch,
            "pictures": len(train),
            "pictures_per_second": statistics.median(rates[1:]),
        }
    )
)
