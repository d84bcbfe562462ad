// node test/node.js PAGE TWIN [NETWORK...]: the modules of a built page against the native program.
//
// Every value that a network computes on 1,000 images is the same, and what is no network is
// refused with one line. `--time` prints milliseconds an image in place of that.
"use strict";

const assert = require("node:assert/strict");
const { execFileSync } = require("node:child_process");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");

const { SIDE, crc32, images } = require("./images.js");

const IMAGES = 1000;
const MODULES = ["s3.wasm", "s3-scalar.wasm"];

const time = process.argv.includes("--time");
const [page, twin, ...more] = process.argv.slice(2).filter((word) => word !== "--time");
const { Refused, Runtime } = require(path.resolve(page, "runtime.js"));

function median(numbers) {
  return numbers.toSorted((a, b) => a - b)[numbers.length >> 1];
}

/** A network's file with another text in its metadata, and the check sum that belongs to it. */
function edited(file, from, to) {
  const length = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.subarray(8, 8 + length));
  const meta = header.__metadata__;
  meta[from] = to(meta[from]);
  const data = file.subarray(8 + length);
  const sum = crc32(Buffer.concat([Buffer.from(meta["s3.config"]), data]));
  meta["s3.crc32"] = sum.toString(16).padStart(8, "0");
  const text = Buffer.from(JSON.stringify(header));
  const start = Buffer.alloc(8);
  start.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([start, text, data]);
}

/** What is no network of this version, and what is said of it. */
function* broken(file) {
  yield ["an empty file", Buffer.alloc(0), /safetensors/];
  yield ["a text", Buffer.from("hello, this is not a network at all"), /safetensors/];
  for (const length of [7, 100, 5000, file.length - 1])
    yield [`${length} bytes of a file`, file.subarray(0, length), /./];
  const flipped = Buffer.from(file);
  flipped[file.length - 9] ^= 4;
  yield ["a flipped bit", flipped, /crc32/];
  const version = edited(file, "s3.format_version", () => "9");
  yield ["version 9", version, /s3\.format_version/];
  yield ["another format", edited(file, "format", () => "pt"), /format/];
  const kernel = (text) => text.replace('"stride":1', '"stride":0');
  yield ["a stride of 0", edited(file, "s3.config", kernel), /stride/];
}

async function main() {
  const list = JSON.parse(fs.readFileSync(path.join(page, "networks.json")));
  const files = [...list.map(({ file }) => path.join(page, file)), ...more];
  const { pixels, labels, source } = images(IMAGES);
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "s3-browser-"));
  const given = path.join(folder, "images");
  fs.writeFileSync(given, pixels);
  const image = (i) => pixels.subarray(i * SIDE * SIDE, (i + 1) * SIDE * SIDE);
  const native = (...words) => execFileSync(twin, words, { encoding: "utf8", maxBuffer: 1 << 28 });
  for (const file of files) {
    const name = path.basename(file);
    const bytes = fs.readFileSync(file);
    const expected = time ? null : native(file, given).trim().split("\n");
    const times = [`native ${time ? Number(native(file, given, "--time")).toFixed(3) : ""}`];
    for (const module of MODULES) {
      const runtime = await Runtime.of(fs.readFileSync(path.join(page, module)));
      const { network, about } = runtime.load(bytes);
      if (time) {
        const all = Array.from({ length: IMAGES }, (_, i) => {
          const begun = performance.now();
          runtime.run(network, image(i));
          return performance.now() - begun;
        });
        times.push(`${about.isa} ${median(all).toFixed(3)}`);
        continue;
      }
      let right = 0;
      for (let i = 0; i < IMAGES; i++) {
        const got = runtime.trace(network, image(i));
        // As numbers: both print the shortest decimals of the same f32.
        assert.deepEqual(got, JSON.parse(expected[i]), `${name}, ${module}, image ${i}`);
        const best = got.scores.indexOf(Math.max(...got.scores));
        right += labels ? Number(best === labels[i]) : 0;
      }
      const answers = labels ? `, ${right} right` : "";
      console.log(`${name}, ${module} (${about.isa}): ${IMAGES} images equal${answers}`);
      assert.throws(() => runtime.run(network, Buffer.alloc(3)), Refused);
      assert.throws(() => runtime.run(99, image(0)), /no network 99/);
      for (const [what, wrong, words] of broken(bytes)) {
        assert.throws(
          () => runtime.load(wrong),
          (error) => {
            assert(error instanceof Refused, `${what}: ${error}`);
            assert.match(error.message, words, what);
            assert.doesNotMatch(error.message, /\n/, what);
            return true;
          },
          what,
        );
      }
      assert.deepEqual(runtime.trace(network, image(0)), JSON.parse(expected[0]), "nothing is lost");
    }
    if (time) console.log(`${name}: ms an image: ${times.join(", ")}`);
  }
  fs.rmSync(folder, { recursive: true });
  if (!time) console.log(`images: ${source}`);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
