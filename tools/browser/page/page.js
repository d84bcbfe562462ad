// The page: files in, cards out. Everything that goes wrong is one line in #line, and what was
// there stays.
"use strict";

/** Larger files are neither read as a network nor as a picture. */
const LARGEST_FILE = 256 << 20;
/** Pictures of more pixels are not read. */
const MOST_PIXELS = 1 << 26;
/** Pictures are made no larger than this before they are fitted. */
const LARGEST_SIDE = 2048;
/** Runs are timed together for so many milliseconds, the clock being coarse, and so many times, of
 * which the fastest counts. */
const [TIMED, TURNS] = [4, 4];
/** Answers on a card. */
const BEST = 5;

const $ = (id) => document.getElementById(id);
const pad = $("pad").getContext("2d", { willReadFrequently: true });

/** The module that runs, and the cards: `{ file, title, note, bytes, network, about, card }`. */
let runtime = null;
let running = null;
const cards = [];
/** The picture that is shown, as RGBA pixels. */
let picture = null;
/** The answers that were shown: tests wait for the next one. */
let shown = 0;

// ---------------------------------------------------------------- files

/** The bytes of a file of this folder. A page that was opened from a disk may fetch none: there
 * they are in `embedded.js`, in base64. */
async function bytesOf(name) {
  if (location.protocol === "file:") {
    if (!globalThis.EMBEDDED) await script("embedded.js");
    const text = globalThis.EMBEDDED[name];
    if (text === undefined) throw new Refused(`${name}: is not in embedded.js`);
    return Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  }
  const answer = await fetch(name).catch(() => null);
  if (!answer || !answer.ok) {
    throw new Refused(`${name}: cannot be fetched${answer ? ` (${answer.status})` : ""}`);
  }
  return new Uint8Array(await answer.arrayBuffer());
}

/** The networks that the page comes with: what `networks.json` says of them, and their bytes. */
async function networks() {
  const given = JSON.parse(new TextDecoder().decode(await bytesOf("networks.json")));
  return [given, await Promise.all(given.map(({ file }) => bytesOf(file)))];
}

function script(name) {
  return new Promise((resolve, reject) => {
    const element = document.createElement("script");
    element.src = name;
    element.onload = resolve;
    element.onerror = () => reject(new Refused(`${name}: is missing beside the page`));
    document.head.append(element);
  });
}

/** One line; the words of a refusal, or those of an error that nobody foresaw. */
function say(text, bad = false) {
  $("line").textContent = text;
  $("line").classList.toggle("bad", bad);
}

/** Says what went wrong with `about`. A module that has stopped within a call is not to be called
 * again: another takes its place, with the networks that it had. */
function sayError(error, about) {
  const refused = error instanceof Refused;
  const words = refused ? error.message : `${error.name}: ${error.message}`;
  say((about ? `${about}: ${words}` : words).split("\n")[0], true);
  if (!refused && runtime) start(running).catch((again) => sayError(new Refused(again.message)));
}

// ---------------------------------------------------------------- networks

/** Starts a module, and reads every network of the cards into it. Leaves all as it was where that
 * fails. */
async function start(module) {
  const next = await Runtime.of(await bytesOf(module));
  const loaded = cards.map((card) => next.load(card.bytes));
  [runtime, running] = [next, module];
  cards.forEach((card, i) => Object.assign(card, loaded[i]));
  $("executes").textContent = executes();
}

/** What is said below the cards of the instructions. */
function executes() {
  const vectors = $("isa").value === "s3.wasm";
  return vectors
    ? "vectors of 128 bits: packed weights become bytes, and one instruction multiplies and adds" +
        " eight of them: on a CPU with a multiplier the fastest way to the same integers."
    : "one number at a time: the kernels of a target without vectors, which give the same integers.";
}

/** Adds a card for a packed network. */
function add(bytes, { file, title, note, removable }) {
  const { network, about } = runtime.load(bytes);
  const element = $("card").content.cloneNode(true).firstElementChild;
  const card = { file, bytes, network, about, element };
  const set = (name, text) => (element.querySelector(`.${name}`).textContent = text);
  element.dataset.file = file;
  element.querySelector("h2").textContent = title ?? about.name;
  set("note", note ?? `${about.image.join(" × ")}, ${about.activations}, ${file}`);
  set("bytes", `${bytes.byteLength.toLocaleString("en")} bytes`);
  for (const kind of ["additions", "shifts", "multiplications", "skipped"])
    set(kind, rounded(about.layers.reduce((sum, layer) => sum + layer[kind], 0)));
  for (const layer of about.layers) {
    const row = element.querySelector("tbody").insertRow();
    const counts = [layer.additions, layer.shifts, layer.multiplications, layer.skipped];
    for (const text of [layer.name, layer.weights, ...counts.map(rounded)])
      row.insertCell().textContent = text;
  }
  if (removable) {
    const button = element.querySelector(".remove");
    button.hidden = false;
    button.onclick = () => {
      runtime.unload(card.network);
      cards.splice(cards.indexOf(card), 1);
      element.remove();
    };
  }
  cards.push(card);
  $("networks").append(element);
  return card;
}

function rounded(count) {
  if (count >= 1e6) return `${(count / 1e6).toFixed(2)} M`;
  return count >= 1e4 ? `${(count / 1e3).toFixed(1)} k` : String(count);
}

// ---------------------------------------------------------------- answers

/** Shows what every card's network makes of `picture`; `timed` runs are repeated. */
function classify(timed) {
  if (!picture) return;
  let seen = false;
  for (const card of cards) {
    try {
      if (card.about.numbers !== "bytes") throw new Refused("takes floats, which no picture holds");
      if (![1, 3].includes(card.about.image[2]))
        throw new Refused(`takes ${card.about.image[2]} channels, a picture has 1 or 3`);
      const image = fitted(picture, card.about);
      if (!image) {
        say("There is nothing in the picture: all of it has one colour.", true);
        return;
      }
      if (!seen) showSeen(image, card.about.image);
      seen = true;
      const run = () => runtime.run(card.network, image);
      const begun = performance.now();
      const { scores } = run();
      const once = performance.now() - begun;
      showAnswer(card, scores, timed ? timeOf(run, once) : once);
    } catch (error) {
      card.element.querySelector(".top").replaceChildren();
      sayError(error, card.file);
      if (!(error instanceof Refused)) return;
    }
  }
  document.body.dataset.shown = ++shown;
}

/** Milliseconds of a run, of which one took `once`. */
function timeOf(run, once) {
  let least = once || Infinity;
  for (let turn = 0; turn < TURNS && once < TURNS * TIMED; turn++) {
    const begun = performance.now();
    let [runs, time] = [0, 0];
    for (; time < TIMED; runs++) {
      run();
      time = performance.now() - begun;
    }
    least = Math.min(least, time / runs);
  }
  return least;
}

function showSeen(image, [height, width, channels]) {
  const canvas = $("seen");
  [canvas.width, canvas.height] = [width, height];
  const data = new ImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < 3; c++)
      data.data[4 * i + c] = image[i * channels + (channels === 3 ? c : 0)];
    data.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(data, 0, 0);
}

function showAnswer(card, scores, time) {
  const order = scores.map((_, i) => i).sort((a, b) => scores[b] - scores[a] || a - b);
  const exponentials = scores.map((score) => Math.exp(score - scores[order[0]]));
  const sum = exponentials.reduce((a, b) => a + b, 0);
  const lines = order.slice(0, BEST).map((i) => {
    const share = exponentials[i] / sum;
    const line = document.createElement("li");
    const part = (kind) => {
      const span = document.createElement("span");
      span.className = kind;
      line.append(span);
      return span;
    };
    part("name").textContent = card.about.classes[i];
    part("bar").style.width = `${(100 * share).toFixed(1)}%`;
    part("share").textContent = `${(100 * share).toFixed(1)} %`;
    line.title = `score ${scores[i]}`;
    return line;
  });
  const { element } = card;
  element.dataset.scores = JSON.stringify(scores);
  element.querySelector(".top").replaceChildren(...lines);
  element.querySelector(".time").textContent = `${time.toFixed(time < 10 ? 2 : 0)} ms`;
}

// ---------------------------------------------------------------- pictures and files

async function open(file) {
  try {
    if (file.size > LARGEST_FILE) throw new Refused(`has more than ${LARGEST_FILE >> 20} MB`);
    const head = await read(file.slice(0, 9));
    // A safetensors file: eight bytes of length, then JSON.
    if (head[8] === 0x7b || file.name.endsWith(".safetensors")) await openNetwork(file);
    else await openPicture(file);
  } catch (error) {
    sayError(error, file.name);
  }
}

/** The bytes of what was dropped or chosen. */
async function read(blob) {
  const bytes = await blob.arrayBuffer().catch(() => null);
  if (!bytes) throw new Refused("cannot be read: it is a folder, or has changed or gone");
  return new Uint8Array(bytes);
}

async function openNetwork(file) {
  const { about } = add(await read(file), { file: file.name, removable: true });
  say(`${file.name}: ${about.name}, ${about.classes.length} classes.`);
  classify(true);
}

async function openPicture(file) {
  const options = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
  const bitmap = await createImageBitmap(file, options).catch(() => null);
  if (!bitmap) throw new Refused("is no picture that this browser reads");
  const { width, height } = bitmap;
  if (width * height > MOST_PIXELS) throw new Refused(`${width} by ${height} pixels are too many`);
  const scale = Math.min(1, LARGEST_SIDE / Math.max(width, height));
  const size = (length) => Math.max(1, Math.round(length * scale));
  const canvas = new OffscreenCanvas(size(width), size(height));
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  clearPad();
  const side = Math.min(280 / canvas.width, 280 / canvas.height);
  const [w, h] = [canvas.width * side, canvas.height * side];
  pad.imageSmoothingEnabled = side < 4;
  pad.drawImage(canvas, (280 - w) / 2, (280 - h) / 2, w, h);
  picture = context.getImageData(0, 0, canvas.width, canvas.height);
  say(`${file.name}: ${width} by ${height} pixels.`);
  classify(true);
}

// ---------------------------------------------------------------- the pad

let last = null;
let drawn = false;
let waiting = false;

function clearPad() {
  pad.fillStyle = "#000";
  pad.fillRect(0, 0, 280, 280);
  drawn = false;
}

function clear() {
  clearPad();
  picture = null;
  for (const { element } of cards) {
    element.querySelector(".top").replaceChildren();
    element.querySelector(".time").textContent = "–";
  }
  $("seen").getContext("2d").clearRect(0, 0, $("seen").width, $("seen").height);
  say("Draw a digit.");
}

function stroke(event) {
  const box = $("pad").getBoundingClientRect();
  const point = {
    x: ((event.clientX - box.left) * 280) / box.width,
    y: ((event.clientY - box.top) * 280) / box.height,
  };
  if (!drawn) clearPad();
  drawn = true;
  pad.strokeStyle = "#fff";
  pad.lineWidth = 22;
  pad.lineCap = pad.lineJoin = "round";
  pad.beginPath();
  pad.moveTo((last ?? point).x, (last ?? point).y);
  // A touch alone is a dot: lines of no length are not drawn.
  pad.lineTo(point.x + 0.01, point.y);
  pad.stroke();
  last = point;
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    classifyPad(false);
  });
}

function classifyPad(timed) {
  if (!drawn) return;
  picture = pad.getImageData(0, 0, 280, 280);
  say("");
  classify(timed);
}

$("pad").addEventListener("pointerdown", (event) => {
  $("pad").setPointerCapture(event.pointerId);
  stroke(event);
});
$("pad").addEventListener("pointermove", (event) => last && stroke(event));
for (const end of ["pointerup", "pointercancel"])
  $("pad").addEventListener(end, () => {
    if (last) classifyPad(true);
    last = null;
  });

// ---------------------------------------------------------------- what people do

$("clear").onclick = clear;
for (const id of ["picture", "network"])
  $(id).onchange = async () => {
    const files = [...$(id).files];
    // The same file may be chosen again.
    $(id).value = "";
    for (const file of files) await open(file);
  };
addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("over");
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("over");
});
addEventListener("drop", async (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  const files = [...event.dataTransfer.files];
  if (files.length === 0) say("What was dropped is no file.", true);
  for (const file of files) await open(file);
});
$("isa").onchange = async () => {
  try {
    await start($("isa").value);
    classify(true);
  } catch (error) {
    $("isa").value = running;
    sayError(error);
  }
};

(async () => {
  clearPad();
  try {
    if (typeof WebAssembly === "undefined") throw new Refused("This browser has no WebAssembly.");
    if (!Runtime.hasVectors()) {
      $("isa").value = "s3-scalar.wasm";
      $("isa").options[0].disabled = true;
    }
    const [, [given, files]] = await Promise.all([start($("isa").value), networks()]);
    given.forEach((network, i) => add(files[i], network));
    say("Draw a digit.");
    document.body.dataset.ready = performance.now().toFixed(0);
    classifyPad(true);
  } catch (error) {
    sayError(error);
  }
})();
