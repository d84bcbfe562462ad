"""JPEG files of every layout, and what Pillow makes of them.

    python tools/golden/jpegs.py FILE

FILE is a gzipped safetensors file. `file/KIND/LAYOUT` is a JPEG, u8 [n], and `rgb/KIND` Pillow's pixels of all layouts of that
kind, u8 [height, width, 3]. KIND is a sampling of Y, Cb and Cr, or a way to tell the colours; LAYOUT an order of scans.
`refused/NAME` are files that Pillow reads and this project refuses by name. Needs `cjpeg` and `jpegtran` of
libjpeg-turbo, and Pillow, numpy and safetensors.
"""

import gzip
import io
import subprocess
import sys
import tempfile

import numpy as np
import PIL
from PIL import Image
from safetensors.numpy import save

WIDTH, HEIGHT = 19, 21

SAMPLINGS = [
    "1x1,1x1,1x1", "2x1,1x1,1x1", "1x2,1x1,1x1", "2x2,1x1,1x1", "4x1,1x1,1x1", "1x4,1x1,1x1", "4x2,1x1,1x1",
    "3x1,1x1,1x1", "2x2,2x1,2x1", "2x2,1x2,1x2", "2x2,2x1,1x2", "2x1,2x1,2x1", "2x2,2x2,1x1",
    # Luma coarser than the colours.
    "1x1,2x2,2x2", "1x1,2x1,2x1", "1x1,1x2,1x2", "1x1,1x1,2x2", "2x1,1x2,1x1", "1x1,4x1,1x1",
]

SCANS = {
    "interleaved": "0,1,2;",
    "each": "0; 1; 2;",
    "reversed": "2; 1; 0;",
    "luma-first": "0; 1,2;",
    "luma-with-one": "0,1; 2;",
    "progressive": "0,1,2: 0-0,0,1; 0: 1-5,0,2; 2: 1-63,0,1; 1: 1-63,0,1; 0: 6-63,0,2; 0: 1-63,2,1; "
    "0,1,2: 0-0,1,0; 2: 1-63,1,0; 1: 1-63,1,0; 0: 1-63,1,0;",
    "progressive-each": "2: 0-0,0,0; 2: 1-63,0,0; 0: 0-0,0,0; 0: 1-63,0,0; 1: 0-0,0,0; 1: 1-63,0,0;",
}

FOUR = {
    "interleaved": "0,1,2,3;",
    "each": "0; 1; 2; 3;",
    "pairs": "0,3; 1,2;",
    "progressive": "0,1,2,3: 0-0,0,0; 0: 1-63,0,0; 1: 1-63,0,0; 2: 1-63,0,0; 3: 1-63,0,0;",
}

REFUSED = {
    "between": ("4x1,2x1,1x1", "0; 1; 2;", []),
    "between-progressive": ("1x4,1x2,1x1", SCANS["progressive-each"], []),
    "arithmetic": ("2x2,1x1,1x1", SCANS["interleaved"], ["-arithmetic"]),
}

JFIF = b"\xff\xe0\x00\x10JFIF\0\1\1\0\0\1\0\1\0\0"


def picture():
    """Smooth, with edges that any misplaced block moves."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)
    planes = [168 + 60 * np.sin(x / 3), 67 + 5 * y, 93 + 80 * ((x - 9) ** 2 + (y - 12) ** 2 < 40)]
    return Image.fromarray(np.clip(np.stack(planes, -1), 0, 255).astype(np.uint8))


def run(*command, given):
    return subprocess.run(command, input=given, capture_output=True, check=True).stdout


def with_scans(program, flags, scans, given):
    with tempfile.NamedTemporaryFile("w", suffix=".scans") as file:
        file.write(scans)
        file.flush()
        return run(program, *flags, "-scans", file.name, given=given)


def ppm(image):
    out = io.BytesIO()
    image.save(out, "PPM")
    return out.getvalue()


def pillow(jpeg):
    return np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"))


def segments(jpeg):
    """Marker, start and end of each segment before the first scan's data."""
    at = 2
    while True:
        end = at + 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        yield jpeg[at + 1], at, end
        if jpeg[at + 1] == 0xDA:
            return
        at = end


def coloured(jpeg, jfif, adobe, names):
    """The file with these markers and names of components, whatever its samples stand for."""
    body = bytearray()
    for marker, start, end in segments(jpeg):
        if marker in (0xE0, 0xEE):
            continue
        segment = bytearray(jpeg[start:end])
        if marker in range(0xC0, 0xC3):
            segment[10::3] = names
        if marker == 0xDA:
            segment[5:11:2] = names
            end_of_headers = end
        body += segment
    head = JFIF if jfif else b""
    if adobe is not None:
        head += b"\xff\xee\x00\x0eAdobe\x00\x64\0\0\0\0" + bytes([adobe])
    return b"\xff\xd8" + head + bytes(body) + jpeg[end_of_headers:]


def kinds():
    """Kind, layout, file."""
    rgb = ppm(picture())
    for sampling in SAMPLINGS:
        for layout, scans in SCANS.items():
            flags = ["-optimize", "-quality", "85", "-sample", sampling]
            yield sampling, layout, with_scans("cjpeg", flags, scans, rgb)
        yield sampling, "restarts", run("cjpeg", *flags, "-restart", "1B", given=rgb)
    grey = ppm(picture().convert("L"))
    for factor in (0x11, 0x22, 0x41, 0x13):
        jpeg = bytearray(run("cjpeg", "-optimize", "-quality", "85", given=grey))
        jpeg[jpeg.index(b"\xff\xc0") + 11] = factor
        yield "grey", f"sampled-{factor:02x}", bytes(jpeg)
    ycc = run("cjpeg", "-optimize", "-quality", "85", "-sample", "1x1,1x1,1x1", given=rgb)
    for jfif in (True, False):
        for adobe in (None, 0, 1, 2):
            for names in (b"\1\2\3", b"\0\1\2", b"RGB"):
                kind = f"colours-{'jfif' if jfif else 'none'}-{adobe}-{names.hex()}"
                yield kind, "interleaved", coloured(ycc, jfif, adobe, names)
    for subsampling in (0, 2):
        for transform in (None, 0, 2, 1):
            out = io.BytesIO()
            picture().convert("CMYK").save(out, "JPEG", quality=85, subsampling=subsampling)
            for layout, scans in FOUR.items():
                jpeg = bytearray(with_scans("jpegtran", ["-optimize", "-copy", "all"], scans, out.getvalue()))
                at = jpeg.index(b"Adobe")
                if transform is None:
                    del jpeg[at - 4 : at + 12]
                else:
                    jpeg[at + 11] = transform
                yield f"four-{subsampling}-{transform}", layout, bytes(jpeg)


def main(file):
    tensors = {}
    for kind, layout, jpeg in kinds():
        rgb = pillow(jpeg)
        assert (tensors.setdefault(f"rgb/{kind}", rgb) == rgb).all(), (kind, layout)
        tensors[f"file/{kind}/{layout}"] = np.frombuffer(jpeg, np.uint8)
    for name, (sampling, scans, more) in REFUSED.items():
        jpeg = with_scans("cjpeg", ["-sample", sampling, *more], scans, ppm(picture()))
        pillow(jpeg)
        tensors[f"refused/{name}"] = np.frombuffer(jpeg, np.uint8)
    jpeg = coloured(run("cjpeg", "-optimize", given=ppm(picture())), False, 5, b"\1\2\3")
    pillow(jpeg)
    tensors["refused/adobe-5"] = np.frombuffer(jpeg, np.uint8)
    with open(file, "wb") as out:
        out.write(gzip.compress(save(tensors, {"pillow": PIL.__version__}), 9, mtime=0))


main(sys.argv[1])
