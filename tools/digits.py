"""Draws the pictures of models/pictures: digits as MNIST has them, light on dark, 28 x 28 pixels.

    python tools/digits.py models/pictures

Strokes of a round pen, written down by hand; nothing of a data set is in them. Needs no package.
"""

import math
import struct
import sys
import zlib
from pathlib import Path

SIDE = 28
PEN = 1.25


def arc(x, y, rx, ry, first, last):
    """Points of an ellipse about (x, y) between two angles in degrees, clockwise from the right."""
    angles = [math.radians(first + (last - first) * i / 24) for i in range(25)]
    return [(x + rx * math.cos(a), y + ry * math.sin(a)) for a in angles]


# In a square of 20 x 20, y downwards.
DIGITS = {
    2: [arc(10, 6, 6, 5, -170, 40) + [(4, 18), (17, 18)]],
    3: [arc(9, 5.5, 5.5, 4.7, -150, 90) + arc(9, 14.6, 6.3, 4.8, -90, 150)],
    5: [[(15.5, 1.5), (6.5, 1.5), (5.5, 9)] + arc(9.5, 13.2, 6, 5.3, -130, 150)],
    7: [[(3.5, 2), (16.5, 2), (9, 19)]],
}


def distance(p, a, b):
    """From the point p to the line between a and b."""
    (dx, dy), (px, py) = (b[0] - a[0], b[1] - a[1]), (p[0] - a[0], p[1] - a[1])
    along = max(0, min(1, (px * dx + py * dy) / (dx * dx + dy * dy or 1)))
    return math.hypot(px - along * dx, py - along * dy)


def drawn(strokes):
    lines = [pair for stroke in strokes for pair in zip(stroke, stroke[1:])]

    def value(x, y):
        at = (x + 0.5 - 4, y + 0.5 - 4)
        ink = PEN + 0.5 - min(distance(at, a, b) for a, b in lines)
        return round(255 * max(0, min(1, ink)))

    return [bytes(value(x, y) for x in range(SIDE)) for y in range(SIDE)]


def png(rows):
    """A grey PNG of 8 bits whose rows are not filtered."""
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 0, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows), 9)
    file = b"\x89PNG\r\n\x1a\n"
    for kind, body in [(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")]:
        checksum = zlib.crc32(kind + body)
        file += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)
    return file


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    for digit, strokes in DIGITS.items():
        Path(sys.argv[1], f"{digit}.png").write_bytes(png(drawn(strokes)))
