// From a picture to the bytes that a network takes. Plain arithmetic on arrays: in Node as well.
"use strict";

/** The share of a digit's side in its image, as in MNIST: 20 of 28 pixels. */
const DIGIT = 20 / 28;
/** Ink below this, of 255, is dirt. */
const INK = 40;

/**
 * A picture of `channels` numbers a pixel in another size: each new pixel is the mean of what lies
 * under a triangle around it, as Pillow's bilinear filter has it.
 */
function resized({ width, height, channels, data }, newWidth, newHeight) {
  if (width === newWidth && height === newHeight) return data;
  const wide = new Float32Array(newWidth * height * channels);
  each(width, newWidth, (to, from, weight) => {
    for (let y = 0; y < height; y++)
      for (let c = 0; c < channels; c++)
        wide[(y * newWidth + to) * channels + c] += weight * data[(y * width + from) * channels + c];
  });
  const all = new Float32Array(newWidth * newHeight * channels);
  const row = newWidth * channels;
  each(height, newHeight, (to, from, weight) => {
    for (let i = 0; i < row; i++) all[to * row + i] += weight * wide[from * row + i];
  });
  return Uint8Array.from(all, (x) => Math.min(255, Math.max(0, Math.round(x))));
}

/** Calls `add(to, from, weight)` for all that count in one direction; weights of a `to` sum to 1. */
function each(size, newSize, add) {
  const scale = size / newSize;
  const support = Math.max(1, scale);
  for (let to = 0; to < newSize; to++) {
    const centre = (to + 0.5) * scale;
    const first = Math.max(0, Math.floor(centre - support + 0.5));
    const end = Math.min(size, Math.floor(centre + support + 0.5));
    const weights = [];
    for (let from = first; from < end; from++)
      weights.push(Math.max(0, 1 - Math.abs(from + 0.5 - centre) / support));
    const sum = weights.reduce((a, b) => a + b, 0);
    weights.forEach((weight, i) => add(to, first + i, weight / sum));
  }
}

/** The grey of RGBA pixels, as `s3 infer` takes it. */
function grey({ width, height, data }) {
  const out = new Uint8Array(width * height);
  for (let i = 0, at = 0; i < out.length; i++, at += 4)
    out[i] = Math.floor((2126 * data[at] + 7152 * data[at + 1] + 722 * data[at + 2]) / 10000);
  return { width, height, channels: 1, data: out };
}

/**
 * A digit as MNIST has them, light on dark: the ink's rectangle made 20 of 28 pixels large, its
 * centre of mass in the middle. A picture that has the size already is taken as it is. `null` where
 * there is no ink.
 */
function digit(picture, width, height) {
  const { data } = picture;
  if (picture.width === width && picture.height === height) return data;
  // Paper or slate: what most of the border is.
  const border = Array.from(borderOf(picture)).sort((a, b) => a - b);
  const ground = border[border.length >> 1];
  const ink = data.map((x) => Math.abs(x - ground));
  const most = ink.reduce((a, b) => Math.max(a, b), 0);
  if (most < INK) return null;
  const box = boxOf(ink, picture, INK * (most / 255));
  const side = Math.max(box.width, box.height);
  const scale = (Math.min(width, height) * DIGIT) / side;
  const size = (length) => Math.max(1, Math.round(length * scale));
  const cut = new Uint8Array(box.width * box.height);
  for (let y = 0; y < box.height; y++)
    for (let x = 0; x < box.width; x++)
      cut[y * box.width + x] =
        (255 * ink[(box.top + y) * picture.width + box.left + x]) / most;
  const [w, h] = [size(box.width), size(box.height)];
  const small = resized({ ...box, channels: 1, data: cut }, w, h);
  let [mass, mx, my] = [0, 0, 0];
  small.forEach((x, i) => {
    mass += x;
    mx += x * ((i % w) + 0.5);
    my += x * (Math.floor(i / w) + 0.5);
  });
  const left = clamp(Math.round(width / 2 - mx / mass), 0, width - w);
  const top = clamp(Math.round(height / 2 - my / mass), 0, height - h);
  const image = new Uint8Array(width * height);
  for (let y = 0; y < h; y++)
    image.set(small.subarray(y * w, (y + 1) * w), (top + y) * width + left);
  return image;
}

function clamp(x, low, high) {
  return Math.min(high, Math.max(low, x));
}

function* borderOf({ width, height, data }) {
  for (let x = 0; x < width; x++) yield* [data[x], data[(height - 1) * width + x]];
  for (let y = 0; y < height; y++) yield* [data[y * width], data[y * width + width - 1]];
}

function boxOf(ink, { width, height }, least) {
  let [left, top, right, bottom] = [width, height, 0, 0];
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      if (ink[y * width + x] >= least) {
        left = Math.min(left, x);
        right = Math.max(right, x + 1);
        top = Math.min(top, y);
        bottom = Math.max(bottom, y + 1);
      }
  return { left, top, width: right - left, height: bottom - top };
}

/** RGB, the whole picture or the middle of the one whose short side is `fit.resize`. */
function colour(rgba, width, height, fit) {
  const data = new Uint8Array(rgba.width * rgba.height * 3);
  for (let from = 0, to = 0; to < data.length; from += 4, to += 3)
    for (let c = 0; c < 3; c++) data[to + c] = rgba.data[from + c];
  const picture = { width: rgba.width, height: rgba.height, channels: 3, data };
  if (!fit) return resized(picture, width, height);
  const short = Math.min(rgba.width, rgba.height);
  const side = (length) => Math.floor((length * fit.resize) / short);
  const [w, h] = [side(rgba.width), side(rgba.height)];
  const large = resized(picture, w, h);
  const [left, top] = [Math.round((w - width) / 2), Math.round((h - height) / 2)];
  const cut = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    const at = ((top + y) * w + left) * 3;
    cut.set(large.subarray(at, at + width * 3), y * width * 3);
  }
  return cut;
}

/** What a network described by `about` takes of RGBA pixels; `null` where there is nothing. */
function fitted(rgba, about) {
  const [height, width, channels] = about.image;
  return channels === 1 ? digit(grey(rgba), width, height) : colour(rgba, width, height, about.fit);
}

if (typeof module !== "undefined") module.exports = { colour, digit, fitted, grey, resized };
