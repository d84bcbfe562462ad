// Images for the tests: MNIST's test digits where they are, else digits of chance.
"use strict";

const fs = require("node:fs");
const path = require("node:path");
const zlib = require("node:zlib");

const SIDE = 28;

/** The numbers behind the header of an IDX file of `dimensions` dimensions. */
function idx(file, dimensions) {
  return zlib.gunzipSync(fs.readFileSync(file)).subarray(4 + 4 * dimensions);
}

/** `count` images of 28 by 28 bytes, one after the other; `labels` where they are known. */
function images(count) {
  const folder = path.join(process.env.S3_DATA_DIR ?? "data", "mnist");
  const file = path.join(folder, "t10k-images-idx3-ubyte.gz");
  if (fs.existsSync(file)) {
    const pixels = idx(file, 3).subarray(0, count * SIDE * SIDE);
    const labels = idx(path.join(folder, "t10k-labels-idx1-ubyte.gz"), 1).subarray(0, count);
    return { pixels, labels, source: "MNIST's test images" };
  }
  // Lines of chance: a linear congruential generator, so that every run has the same.
  let state = 1;
  const below = (most) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * most);
  };
  const pixels = Buffer.alloc(count * SIDE * SIDE);
  for (let i = 0; i < count; i++) {
    let [x, y] = [4 + below(20), 4 + below(20)];
    for (let step = 0; step < 60; step++) {
      pixels[(i * SIDE + y) * SIDE + x] = 128 + below(128);
      x = Math.min(23, Math.max(4, x + below(3) - 1));
      y = Math.min(23, Math.max(4, y + below(3) - 1));
    }
  }
  return { pixels, labels: null, source: "images of chance (no MNIST in $S3_DATA_DIR)" };
}

/** A PNG of 8-bit grey whose rows are not filtered. */
function png(pixels, width, height) {
  const chunk = (kind, content) => {
    const body = Buffer.concat([Buffer.from(kind), content]);
    const ends = Buffer.alloc(8);
    ends.writeUInt32BE(content.length, 0);
    ends.writeUInt32BE(crc32(body), 4);
    return Buffer.concat([ends.subarray(0, 4), body, ends.subarray(4)]);
  };
  const head = Buffer.alloc(13);
  head.writeUInt32BE(width, 0);
  head.writeUInt32BE(height, 4);
  head[8] = 8;
  const rows = [];
  for (let y = 0; y < height; y++)
    rows.push(Buffer.from([0]), pixels.subarray(y * width, (y + 1) * width));
  return Buffer.concat([
    Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]),
    chunk("IHDR", head),
    chunk("IDAT", zlib.deflateSync(Buffer.concat(rows))),
    chunk("IEND", Buffer.alloc(0)),
  ]);
}

function crc32(bytes) {
  let crc = -1;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}

module.exports = { SIDE, crc32, images, png };
