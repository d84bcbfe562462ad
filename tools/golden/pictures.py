"""Golden values of the picture pipeline, from Pillow and torchvision.

    python tools/golden/pictures.py files FOLDER         made-up pictures of every kind, and Pillow's pixels
    python tools/golden/pictures.py sample IMAGES FILE   what torchvision's validation makes of each picture
    python tools/golden/pictures.py compare IMAGES DUMP  every pixel of a dump against torchvision

IMAGES is an image folder whose `val` is read, in the order of the paths. FILE is a safetensors file with
`means`, f32 [n, 8, 8, 3], the means of the 28 x 28 blocks, and `pixels`, u8 [n, 8, 8, 3], the middle pixel of
each. DUMP is u8 [n, 224, 224, 3], as `cargo test -p s3-train` writes it where S3_DUMP names a file.
"""

import sys
from pathlib import Path

import numpy as np
import PIL
from PIL import Image


def files(folder):
    """41 x 53 pixels of a smooth picture with edges and some noise, in each kind of file."""
    y, x = np.mgrid[0:41, 0:53].astype(np.float64)
    noise = np.random.default_rng(7).normal(0, 6, (41, 53, 3))
    planes = [128 + 100 * np.sin(x / 7), 4 * y + 40, 200 - 3 * x + 60 * ((x - 20) ** 2 + (y - 20) ** 2 < 150)]
    rgb = np.clip(np.stack(planes, -1) + noise, 0, 255).astype(np.uint8)
    picture = Image.fromarray(rgb)
    kinds = {
        "baseline.jpg": (picture, {}),
        "full.jpg": (picture, {"subsampling": 0}),
        "progressive.jpg": (picture, {"progressive": True}),
        "grey.jpg": (picture.convert("L"), {}),
        "cmyk.jpg": (picture.convert("CMYK"), {}),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, (made, settings) in kinds.items():
        made.save(folder / name, "JPEG", quality=85, **settings)
        Image.open(folder / name).convert("RGB").save(folder / f"{name}.png")


def paths(images):
    return sorted(p for p in (images / "val").rglob("*") if p.suffix.lower() in {".jpeg", ".jpg", ".png"})


def validation(images):
    from torchvision import transforms

    view = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224)])
    for path in paths(images):
        yield np.asarray(view(Image.open(path).convert("RGB")))


def sample(images, file):
    import torchvision
    from safetensors.numpy import save_file

    pixels, means = [], []
    for picture in validation(images):
        blocks = picture.reshape(8, 28, 8, 28, 3)
        means.append(blocks.mean((1, 3), dtype=np.float64).astype(np.float32))
        pixels.append(blocks[:, 14, :, 14])
    versions = {"torchvision": torchvision.__version__, "pillow": PIL.__version__}
    save_file({"means": np.stack(means), "pixels": np.stack(pixels)}, file, metadata=versions)


def compare(images, dump):
    ours = np.fromfile(dump, np.uint8).reshape(-1, 224, 224, 3)
    differences = []
    for mine, theirs, path in zip(ours, validation(images), paths(images), strict=True):
        differences.append((np.abs(mine.astype(int) - theirs).mean(), path.name))
    worst, name = max(differences)
    mean = np.mean([d for d, _ in differences])
    print(f"{len(differences)} pictures: mean absolute difference {mean:.4f}, at most {worst:.4f} of 255 ({name})")
    return worst <= 1


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["files", folder]:
            files(Path(folder))
        case ["sample", images, file]:
            sample(Path(images), file)
        case ["compare", images, dump]:
            sys.exit(0 if compare(Path(images), dump) else 1)
        case _:
            sys.exit(__doc__)
