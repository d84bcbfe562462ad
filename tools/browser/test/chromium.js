// node test/chromium.js CHROMIUM PAGE TWIN [SCREENSHOT]: the built page in a headless Chromium.
//
// Drawn digits get their labels; 100 images, as picture files, get the native program's scores;
// what is no picture and no network is one line, and nothing is lost; the console stays silent;
// the page asks for nothing but its own files; it works from a disk, without a server, as well.
//
// Chromium is spoken to through its debugging pipe, so that nothing needs to be installed for it.
"use strict";

const assert = require("node:assert/strict");
const { execFileSync, spawn } = require("node:child_process");
const fs = require("node:fs");
const http = require("node:http");
const os = require("node:os");
const path = require("node:path");
const { pathToFileURL } = require("node:url");

const { SIDE, images, png } = require("./images.js");

const PICTURES = 100;
/** Milliseconds that the page may take until it is ready, and from the first touch to the first
 * answer, together; a machine that does something else as well gets several tries. */
const FIRST_ANSWER = 1000;
const TRIES = 5;
/** Milliseconds after which something has hung. */
const HUNG = 60000;

const [chromium, ...paths] = process.argv.slice(2);
const [page, twin, screenshot] = paths.map((name) => path.resolve(name));

/** The digits that are drawn: strokes of points, the pad being 280 by 280. */
const DRAWN = {
  0: [arc(140, 140, 55, 85, -90, 270)],
  1: [[[120, 70], [150, 45], [150, 235]]],
  2: [[...arc(140, 95, 55, 50, -170, 40), [85, 225], [205, 225]]],
  3: [[...arc(130, 92, 50, 47, -150, 90), ...arc(130, 188, 58, 48, -90, 150)]],
  4: [[[115, 50], [80, 150], [205, 150]], [[180, 60], [170, 235]]],
  7: [[[75, 65], [205, 65], [130, 235]]],
};

function arc(x, y, rx, ry, from, to) {
  const steps = 24;
  return Array.from({ length: steps + 1 }, (_, i) => {
    const angle = ((from + ((to - from) * i) / steps) * Math.PI) / 180;
    return [x + rx * Math.cos(angle), y + ry * Math.sin(angle)];
  });
}

/** Chromium and one of its pages. */
class Browser {
  static async start(folder) {
    const words = [
      "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
      "--remote-debugging-pipe", `--user-data-dir=${path.join(folder, "profile")}`,
      "--no-first-run", "--disable-background-networking", "--disable-component-update",
      "--disable-sync", "--force-device-scale-factor=1", "--window-size=1220,1000", "about:blank",
    ];
    const child = spawn(chromium, words, { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] });
    const browser = new Browser(child);
    const { targetInfos } = await browser.send("Target.getTargets");
    const { targetId } = targetInfos.find(({ type }) => type === "page");
    const attached = await browser.send("Target.attachToTarget", { targetId, flatten: true });
    browser.session = attached.sessionId;
    for (const domain of ["Page", "Runtime", "Log", "Network", "DOM"])
      await browser.send(`${domain}.enable`);
    return browser;
  }

  constructor(child) {
    this.child = child;
    this.waiting = new Map();
    this.console = [];
    this.requests = [];
    this.loaded = () => {};
    this.next = 1;
    let rest = "";
    child.stdio[4].setEncoding("utf8").on("data", (text) => {
      const messages = (rest + text).split("\0");
      rest = messages.pop();
      messages.forEach((message) => this.#message(JSON.parse(message)));
    });
  }

  #message({ id, result, error, method, params }) {
    if (id) {
      const { resolve, reject } = this.waiting.get(id);
      this.waiting.delete(id);
      return error ? reject(new Error(error.message)) : resolve(result);
    }
    if (method === "Runtime.consoleAPICalled")
      this.console.push(params.args.map(({ value, description }) => value ?? description).join(" "));
    if (method === "Runtime.exceptionThrown")
      this.console.push(JSON.stringify(params.exceptionDetails));
    if (method === "Log.entryAdded") this.console.push(`${params.entry.text} ${params.entry.url}`);
    if (method === "Network.requestWillBeSent") this.requests.push(params.request.url);
    if (method === "Page.loadEventFired") this.loaded();
  }

  send(method, params = {}) {
    const id = this.next++;
    const message = { id, method, params, sessionId: this.session };
    this.child.stdio[3].write(`${JSON.stringify(message)}\0`);
    return new Promise((resolve, reject) => this.waiting.set(id, { resolve, reject }));
  }

  async go(url) {
    const loaded = new Promise((resolve) => (this.loaded = resolve));
    await this.send("Page.navigate", { url });
    await loaded;
  }

  async value(expression) {
    const words = { expression, returnByValue: true, awaitPromise: true };
    const { result, exceptionDetails } = await this.send("Runtime.evaluate", words);
    assert(!exceptionDetails, `${expression}: ${JSON.stringify(exceptionDetails)}`);
    return result.value;
  }

  async until(expression) {
    const begun = Date.now();
    for (;;) {
      const value = await this.value(expression);
      if (value) return value;
      assert(Date.now() - begun < HUNG, `never true: ${expression}`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  /** Draws strokes with the mouse, after whatever was there. */
  async draw(strokes) {
    await this.value(`document.getElementById("clear").click()`);
    const box = await this.value(
      `(({ left, top }) => ({ left, top }))(document.getElementById("pad").getBoundingClientRect())`,
    );
    const shown = Number(await this.value("document.body.dataset.shown ?? 0"));
    const mouse = (type, [x, y], buttons) =>
      this.send("Input.dispatchMouseEvent", {
        type, x: box.left + x, y: box.top + y, button: buttons ? "left" : "none", buttons,
        clickCount: 1,
      });
    for (const stroke of strokes) {
      await mouse("mousePressed", stroke[0], 1);
      for (const point of stroke.slice(1)) await mouse("mouseMoved", point, 1);
      await this.send("Input.dispatchMouseEvent", {
        type: "mouseReleased", x: box.left + stroke.at(-1)[0], y: box.top + stroke.at(-1)[1],
        button: "left", buttons: 0, clickCount: 1,
      });
    }
    await this.until(`Number(document.body.dataset.shown ?? 0) > ${shown}`);
    // The last stroke's end has been seen to: an event loop later nothing is under way.
    await this.value("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))");
  }

  /** Chooses a file with one of the two buttons. */
  async choose(button, file) {
    const { root } = await this.send("DOM.getDocument");
    const found = await this.send("DOM.querySelector", { nodeId: root.nodeId, selector: `#${button}` });
    await this.value(`document.getElementById("line").textContent = ""`);
    await this.send("DOM.setFileInputFiles", { nodeId: found.nodeId, files: [file] });
    return this.until(`document.getElementById("line").textContent`);
  }

  /** What each card shows: its file, its best name, its scores. */
  cards() {
    return this.value(`[...document.querySelectorAll(".card")].map((card) => ({
      file: card.dataset.file,
      best: card.querySelector(".top .name")?.textContent,
      names: card.querySelectorAll(".top li").length,
      scores: JSON.parse(card.dataset.scores ?? "null"),
      time: card.querySelector(".time").textContent,
    }))`);
  }

  async stop() {
    const ended = new Promise((resolve) => this.child.once("exit", resolve));
    await this.send("Browser.close").catch(() => {});
    await ended;
  }
}

/** The page's folder at a port of this machine. */
async function serve() {
  const kinds = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css" };
  const server = http.createServer((request, response) => {
    const name = request.url === "/" ? "index.html" : path.basename(request.url);
    const file = path.join(page, name);
    if (!fs.existsSync(file)) return response.writeHead(404).end();
    const kind = kinds[path.extname(name)] ?? "application/octet-stream";
    response.writeHead(200, { "content-type": kind }).end(fs.readFileSync(file));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { server, address: `http://127.0.0.1:${server.address().port}/` };
}

/** Loads the page and draws, until the first answer is there soon enough. */
async function first(browser, address) {
  for (let attempt = 1; ; attempt++) {
    await browser.go(address);
    const ready = Number(await browser.until("document.body.dataset.ready"));
    await browser.value(`addEventListener("pointerdown", ({ timeStamp }) => {
      const seen = () => (document.body.dataset.first = performance.now() - timeStamp);
      new MutationObserver(seen).observe(document.body, { attributeFilter: ["data-shown"] });
    }, { once: true, capture: true })`);
    // One touch: the page answers while more is drawn.
    await browser.draw([DRAWN[1][0].slice(0, 1)]);
    const answer = Number(await browser.value("document.body.dataset.first"));
    console.log(`ready after ${ready} ms, the first answer ${answer.toFixed(0)} ms after a touch`);
    if (ready + answer < FIRST_ANSWER) return;
    assert(attempt < TRIES, "the first answer takes too long");
  }
}

async function digits(browser) {
  for (const [digit, strokes] of Object.entries(DRAWN)) {
    await browser.draw(strokes);
    for (const { file, best, names } of await browser.cards()) {
      assert.equal(best, digit, `${file} takes a drawn ${digit} for ${best}`);
      assert.equal(names, 5);
    }
  }
  console.log(`drawn digits ${Object.keys(DRAWN).join(", ")}: every network reads them`);
}

/** 100 images as PNG files: the scores are those of the native program. */
async function pictures(browser, folder) {
  const { pixels, labels, source } = images(PICTURES);
  const given = path.join(folder, "images");
  fs.writeFileSync(given, pixels);
  const cards = await browser.cards();
  const expected = cards.map(({ file }) => {
    const answer = execFileSync(twin, [path.join(page, file), given], { encoding: "utf8" });
    return answer.trim().split("\n").map((line) => JSON.parse(line).scores);
  });
  const right = cards.map(() => 0);
  for (let i = 0; i < PICTURES; i++) {
    const file = path.join(folder, `${i}.png`);
    fs.writeFileSync(file, png(pixels.subarray(i * SIDE * SIDE, (i + 1) * SIDE * SIDE), SIDE, SIDE));
    const line = await browser.choose("picture", file);
    assert.equal(line, `${i}.png: 28 by 28 pixels.`);
    (await browser.cards()).forEach(({ file, best, scores }, n) => {
      assert.deepEqual(scores, expected[n][i], `${file}, picture ${i}`);
      assert.equal(best, String(scores.indexOf(Math.max(...scores))));
      right[n] += labels ? Number(best === String(labels[i])) : 0;
    });
  }
  const answers = labels ? `; ${right.join(", ")} right` : "";
  console.log(`${PICTURES} pictures: the native program's scores (${source}${answers})`);
}

/** What is refused in one line, with all that was shown still there. */
async function refusals(browser, folder) {
  await browser.draw(DRAWN[3]);
  const before = await browser.cards();
  const network = fs.readFileSync(path.join(page, before[0].file));
  const file = (name, bytes) => {
    fs.writeFileSync(path.join(folder, name), bytes);
    return path.join(folder, name);
  };
  const truncated = file("half.safetensors", network.subarray(0, network.length >> 1));
  const newer = file("newer.safetensors", Buffer.from(network.toString("latin1")
    .replace('"s3.format_version":"1"', '"s3.format_version":"7"'), "latin1"));
  const wrong = [
    ["picture", file("words.png", Buffer.from("no picture at all")), "is no picture that this"],
    ["picture", file("empty.png", Buffer.alloc(0)), "is no picture that this"],
    ["picture", file("cut.png", png(Buffer.alloc(784, 9), SIDE, SIDE).subarray(0, 50)), "is no pict"],
    ["network", truncated, "half.safetensors: packed network: "],
    ["network", newer, "newer.safetensors: packed network: metadata `s3.format_version`"],
    ["network", file("other.safetensors", Buffer.from("GGUF")), "no safetensors file"],
  ];
  for (const [button, name, words] of wrong) {
    const line = await browser.choose(button, name);
    assert(line.includes(words), `${name}: ${line}`);
    assert(line.startsWith(path.basename(name)) && !line.includes("\n"), line);
    assert(await browser.value(`document.getElementById("line").className === "bad"`));
    assert.deepEqual(await browser.cards(), before, `${name}: what was shown is shown`);
  }
  const blank = file("blank.png", png(Buffer.alloc(900, 200), 30, 30));
  assert.match(await browser.choose("picture", blank), /nothing in the picture/);
  console.log(`${wrong.length + 1} files that are refused: one line each, nothing lost`);
}

/** A digit on paper, dropped; a network that is added and taken away; the other module. */
async function more(browser, folder) {
  // The drawn 2, dark on light, three times as large, in a corner of a sheet.
  const [width, height] = [900, 700];
  const sheet = Buffer.alloc(width * height, 230);
  for (const stroke of DRAWN[2])
    for (let i = 0; i + 1 < stroke.length; i++)
      for (let t = 0; t <= 100; t++) {
        const at = (k) => 20 + 2 * (stroke[i][k] + ((stroke[i + 1][k] - stroke[i][k]) * t) / 100);
        for (let y = -20; y <= 20; y++)
          for (let x = -20; x <= 20; x++)
            if (x * x + y * y <= 400) sheet[Math.round(at(1) + y) * width + Math.round(at(0) + x)] = 30;
      }
  const bytes = png(sheet, width, height).toString("base64");
  await browser.value(`(() => {
    const bytes = Uint8Array.from(atob("${bytes}"), (c) => c.charCodeAt(0));
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([bytes], "sheet.png", { type: "image/png" }));
    document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
  })()`);
  await browser.until(`document.getElementById("line").textContent.startsWith("sheet.png")`);
  await browser.until(`document.querySelector(".top .name")?.textContent === "2"`);
  for (const { best } of await browser.cards()) assert.equal(best, "2");
  const line = await browser.choose("network", path.join(page, (await browser.cards())[1].file));
  assert.match(line, /10 classes/);
  const cards = await browser.cards();
  assert.deepEqual(cards[3].scores, cards[1].scores);
  await browser.value(`document.querySelectorAll(".remove")[3].click()`);
  assert.equal((await browser.cards()).length, 3);
  const before = await browser.cards();
  const shown = await browser.value("document.body.dataset.shown");
  await browser.value(`(() => {
    const isa = document.getElementById("isa");
    isa.value = "s3-scalar.wasm";
    isa.dispatchEvent(new Event("change"));
  })()`);
  await browser.until(`Number(document.body.dataset.shown) > ${shown}`);
  const after = await browser.cards();
  assert.deepEqual(after.map(({ scores }) => scores), before.map(({ scores }) => scores));
  const times = (all) => all.map(({ time }) => time.replace(" ms", "")).join(", ");
  console.log(`ms an image: vectors ${times(before)}; scalar ${times(after)}`);
}

async function main() {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "s3-browser-"));
  const { server, address } = await serve();
  const browser = await Browser.start(folder);
  try {
    await first(browser, address);
    await digits(browser);
    await pictures(browser, folder);
    await refusals(browser, folder);
    await more(browser, folder);
    await browser.draw(DRAWN[3]);
    await browser.value(`(() => {
      const isa = document.getElementById("isa");
      isa.value = "s3.wasm";
      isa.dispatchEvent(new Event("change"));
    })()`);
    await browser.until(`document.getElementById("executes").textContent.startsWith("vectors")`);
    await browser.draw(DRAWN[3]);
    await new Promise((resolve) => setTimeout(resolve, 100));
    if (screenshot) {
      const { data } = await browser.send("Page.captureScreenshot", { format: "png" });
      fs.writeFileSync(screenshot, Buffer.from(data, "base64"));
    }
    const foreign = browser.requests.filter((url) => !/^(data|blob):/.test(url) && !url.startsWith(address));
    assert.deepEqual(foreign, [], "the page asks for its own files alone");
    await browser.go(pathToFileURL(path.join(page, "index.html")).href);
    await browser.until("document.body.dataset.ready");
    await browser.draw(DRAWN[7]);
    for (const { best } of await browser.cards()) assert.equal(best, "7");
    console.log("from a disk, without a server: the same");
    assert.deepEqual(browser.console, [], "the console is silent");
  } finally {
    await browser.stop();
    server.close();
    fs.rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
