// The module as an object: networks in, answers out. In a page and in Node alike.
//
//   const runtime = await Runtime.of(bytesOfTheModule);
//   const { network, about } = runtime.load(bytesOfANetwork);   // throws Refused: one line
//   const { scores } = runtime.run(network, pixels);
"use strict";

/** What was given is refused; the message is one line for a person. */
class Refused extends Error {}

class Runtime {
  /** Compiles the module and starts it. */
  static async of(module) {
    const { instance } = await WebAssembly.instantiate(module, {});
    return new Runtime(instance.exports);
  }

  /** Whether this engine runs vectors of 128 bits: a module of one such instruction. */
  static hasVectors() {
    const probe = [
      0, 97, 115, 109, 1, 0, 0, 0, // \0asm, version 1
      1, 5, 1, 96, 0, 1, 123, // a type: () -> v128
      3, 2, 1, 0, // a function of it
      10, 10, 1, 8, 0, // its code:
      65, 0, 253, 15, 253, 98, 11, // i32.const 0, i8x16.splat, i8x16.popcnt
    ];
    return WebAssembly.validate(new Uint8Array(probe));
  }

  constructor(exports) {
    this.exports = exports;
  }

  /** Reads a packed network: its number, and what it says of itself. */
  load(bytes) {
    const network = this.#call("load", bytes);
    return { network, about: this.#answer() };
  }

  /** The scores of one image: bytes, `[height, width, channels]`. */
  run(network, image) {
    this.#call("run", image, network);
    return this.#answer();
  }

  /** The same with a digest of every value that was computed. */
  trace(network, image) {
    this.#call("trace", image, network);
    return this.#answer();
  }

  unload(network) {
    this.exports.unload(network);
  }

  /** Calls a function whose argument is bytes. */
  #call(name, bytes, ...more) {
    const at = this.exports.argument(bytes.byteLength);
    // The memory may have grown, and its view with it.
    new Uint8Array(this.exports.memory.buffer).set(bytes, at);
    const code = this.exports[name](...more);
    if (code < 0) throw new Refused(this.#text());
    return code;
  }

  #text() {
    const at = this.exports.answer_at();
    const bytes = new Uint8Array(this.exports.memory.buffer, at, this.exports.answer_length());
    return new TextDecoder().decode(bytes);
  }

  #answer() {
    return JSON.parse(this.#text());
  }
}

if (typeof module !== "undefined") module.exports = { Refused, Runtime };
