// node wasi.js PROGRAM.wasm ARGUMENTS: a runner for cargo, for tests that are compiled for
// wasm32-wasip1.
"use strict";

const fs = require("node:fs");
const process = require("node:process");

process.removeAllListeners("warning");
process.on("warning", () => {});
const { WASI } = require("node:wasi");

const [program, ...words] = process.argv.slice(2);
const wasi = new WASI({
  version: "preview1",
  args: [program, ...words],
  env: process.env,
  preopens: { "/": "/" },
});
(async () => {
  const module = await WebAssembly.compile(fs.readFileSync(program));
  const instance = await WebAssembly.instantiate(module, wasi.getImportObject());
  process.exitCode = wasi.start(instance);
})();
