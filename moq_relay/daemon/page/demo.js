// Watches demo/clock, draws what it sees, and comes back by itself when the relay was away.

import { Refused, Session, VERSION } from "/demo/wire.js";

const OPEN_SECONDS = 4; // for a session to be there
const QUIET_SECONDS = 4; // without a frame: the session is given up and another one tried
const WAIT_SECONDS = [0.5, 5]; // before the next try, doubling
const STRIP_SECONDS = 10;
const TRAIL = 40; // positions that a lower bob leaves behind
const MAX_AGE = 1000; // milliseconds that an overtaken group is still wanted

const at = (id) => document.getElementById(id);
const pause = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));
const light = matchMedia("(prefers-color-scheme: light)");

// --- what was received ---------------------------------------------------------------------------

const seen = { groups: 0, broken: 0, reconnects: 0, sessions: null, last: 0, newest: [-1, -1] };
let recent = []; // {at, bytes, latency}, of the last ten seconds
let picture = null; // the newest scene
let trails = [];
let release = -1;

function scene(told, timescale) {
  if (told.ended !== undefined) {
    if (told.complete) seen.groups++;
    else seen.broken++;
    return;
  }
  if (!told.frame) return;
  const { group, index, timestamp, payload } = told.frame;
  const now = Date.now();
  seen.last = performance.now();
  const latency = now - (timestamp / timescale) * 1000;
  recent.push({ at: seen.last, bytes: payload.length, latency });
  const [newestGroup, newestIndex] = seen.newest;
  if (group < newestGroup || (group === newestGroup && index < newestIndex)) return;
  seen.newest = [group, index];
  picture = decode(payload);
  show();
}

function clock(told) {
  if (!told.frame) return;
  const facts = JSON.parse(new TextDecoder().decode(told.frame.payload));
  seen.sessions = facts.sessions;
  at("clock").textContent = facts.time.replace("T", " ").replace("Z", " UTC");
  at("clock").dateTime = facts.time;
  at("facts").textContent = `moq-relay ${facts.relay} · ${VERSION} over WebTransport · ${address}`;
}

// Release, count, then two angles of 16 bits for each pendulum.
function decode(payload) {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const count = view.getUint8(1);
  const angle = (place) => (view.getUint16(2 + 2 * place) / 65536) * 2 * Math.PI;
  if (view.getUint8(0) !== release || trails.length !== count) {
    release = view.getUint8(0);
    trails = Array.from({ length: count }, () => []);
  }
  return trails.map((trail, index) => {
    const upper = angle(2 * index);
    const lower = angle(2 * index + 1);
    const joint = [Math.sin(upper), Math.cos(upper)];
    const bob = [joint[0] + Math.sin(lower), joint[1] + Math.cos(lower)];
    trail.push(bob);
    if (trail.length > TRAIL) trail.shift();
    return { joint, bob };
  });
}

// --- what is shown -------------------------------------------------------------------------------

function prepared(canvas) {
  const ratio = devicePixelRatio || 1;
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  return { pen, width, height };
}

let drawing = false;

function show() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    draw();
  });
}

function draw() {
  const { pen, width, height } = prepared(at("scene"));
  if (!picture) return;
  const scale = Math.min(width / 4.3, height / 4.3);
  const [left, top] = [width / 2, height / 2];
  const place = ([x, y]) => [left + x * scale, top + y * scale];
  const bright = light.matches ? 42 : 62;
  const hue = (index) => 195 + (index / picture.length) * 190;
  pen.lineCap = pen.lineJoin = "round";
  pen.globalCompositeOperation = light.matches ? "multiply" : "lighter";
  trails.forEach((trail, index) => {
    const bands = 4; // of age, each fainter than the one after it
    for (let band = 0; band < bands; band++) {
      const from = Math.floor((band * trail.length) / bands);
      const to = Math.min(trail.length, Math.floor(((band + 1) * trail.length) / bands) + 1);
      pen.strokeStyle = `hsl(${hue(index)} 85% ${bright}% / ${0.05 + (0.3 * band) / bands})`;
      pen.lineWidth = 1 + band * 0.5;
      pen.beginPath();
      for (let step = from; step < to; step++) pen.lineTo(...place(trail[step]));
      pen.stroke();
    }
  });
  picture.forEach(({ joint, bob }, index) => {
    pen.strokeStyle = `hsl(${hue(index)} 60% ${bright}% / 0.28)`;
    pen.lineWidth = 1.25;
    pen.beginPath();
    pen.moveTo(left, top);
    pen.lineTo(...place(joint));
    pen.lineTo(...place(bob));
    pen.stroke();
    pen.fillStyle = `hsl(${hue(index)} 90% ${bright}% / 0.95)`;
    pen.beginPath();
    pen.arc(...place(bob), 3.2, 0, 2 * Math.PI);
    pen.fill();
  });
  pen.globalCompositeOperation = "source-over";
  pen.fillStyle = getComputedStyle(document.body).color;
  pen.beginPath();
  pen.arc(left, top, 3, 0, 2 * Math.PI);
  pen.fill();
}

function figures() {
  const now = performance.now();
  recent = recent.filter((frame) => now - frame.at < STRIP_SECONDS * 1000);
  const lately = recent.filter((frame) => now - frame.at < 2000);
  const sorted = lately.map((frame) => frame.latency).sort((one, other) => one - other);
  const part = (share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
  const milliseconds = (value) => (Math.abs(value) < 10 ? value.toFixed(1) : value.toFixed(0));
  const span = lately.length > 1 ? (lately.at(-1).at - lately[0].at) / 1000 : 0;
  at("rate").textContent = span ? ((lately.length - 1) / span).toFixed(0) : "0";
  at("latency").textContent = sorted.length ? milliseconds(part(0.5)) : "–";
  at("tail").textContent = sorted.length ? `95 %: ${milliseconds(part(0.95))}` : "";
  const bytes = lately.reduce((sum, frame) => sum + frame.bytes, 0);
  at("bits").textContent = ((bytes * 8) / 2000).toFixed(0);
  at("groups").textContent = seen.groups;
  at("broken").textContent = seen.broken ? `and ${seen.broken} broken off` : "";
  at("sessions").textContent = seen.sessions ?? "–";
  at("reconnects").textContent = seen.reconnects;
  strip(now);
}

function strip(now) {
  const { pen, width, height } = prepared(at("strip"));
  const top = Math.max(10, ...recent.map((frame) => frame.latency)) * 1.15;
  at("scale").textContent = `0 to ${top.toFixed(0)} ms:`;
  pen.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--strip");
  for (const frame of recent) {
    const x = width * (1 - (now - frame.at) / (STRIP_SECONDS * 1000));
    const tall = Math.max(1.5, (Math.max(0, frame.latency) / top) * height);
    pen.fillRect(x, height - tall, 1.5, tall);
  }
}

function state(name, word, trouble = "") {
  at("state").dataset.state = name;
  at("state").textContent = word;
  at("trouble").textContent = trouble;
  at("trouble").hidden = !trouble;
}

// --- the session ---------------------------------------------------------------------------------

let address = "";
let attempt = 0;

async function fetched(path) {
  const answer = await fetch(path, { cache: "no-store" });
  if (!answer.ok) throw new Error(`${path} answers ${answer.status}`);
  return answer;
}

// One session from start to end; says why it ended.
async function watch() {
  const relay = await (await fetched("/demo/relay.json")).json();
  // Over https the page came from a name with a certificate of its own, which is trusted.
  const secure = location.protocol === "https:";
  const hash = secure ? null : await (await fetched("/certificate.sha256")).text();
  // A relay may listen on one of the two addresses of localhost, and the browser tries only one.
  const hosts = location.hostname === "localhost" ? ["localhost", "127.0.0.1"] : [location.hostname];
  const door = relay.doors.find((one) => one.versions.includes(VERSION));
  if (!door) throw new Refused(`This page speaks ${VERSION}, and server.version of the relay leaves it out.`);
  address = `https://${hosts[attempt++ % hosts.length]}:${door.port}/`;
  const session = await Session.open(address, hash, OPEN_SECONDS);
  const leave = () => session.close();
  addEventListener("pagehide", leave);
  try {
    const info = await session.describe(relay.broadcast, relay.scene);
    seen.last = performance.now();
    seen.newest = [-1, -1];
    state("live", "live");
    return await Promise.race([
      session.closed,
      session.subscribe(relay.broadcast, relay.clock, MAX_AGE, clock),
      session.subscribe(relay.broadcast, relay.scene, MAX_AGE, (told) => scene(told, info.timescale)),
      silence(),
    ]);
  } finally {
    removeEventListener("pagehide", leave);
    session.close();
  }
}

async function silence() {
  while (performance.now() - seen.last < QUIET_SECONDS * 1000) await pause(0.25);
  return `nothing came for ${QUIET_SECONDS} seconds`;
}

function impossible() {
  if (!isSecureContext) {
    return `WebTransport is only for pages from this computer or over https. Open http://localhost:${location.port}/demo on the computer that runs the relay.`;
  }
  if (typeof WebTransport === "undefined") {
    return "This browser has no WebTransport. Chromium, Chrome, Edge and other browsers of that kind have.";
  }
  return "";
}

async function forever() {
  let wait = WAIT_SECONDS[0];
  for (;;) {
    const start = performance.now();
    let reason;
    let final = false;
    try {
      reason = await watch();
    } catch (error) {
      final = error instanceof Refused;
      reason = final ? error.message : (error?.message ?? `${error}`);
    }
    if (performance.now() - start > 10000) wait = WAIT_SECONDS[0];
    const again = `trying again every ${WAIT_SECONDS[1]} seconds or sooner`;
    state("lost", "disconnected", final ? reason : `No connection to the relay: ${reason}; ${again}.`);
    await pause(wait * (0.75 + Math.random() / 2));
    wait = Math.min(WAIT_SECONDS[1], wait * 2);
    seen.reconnects++;
    at("state").textContent = "connecting";
    at("state").dataset.state = "wait";
  }
}

setInterval(figures, 250);
addEventListener("resize", show);
light.addEventListener("change", show);
const hopeless = impossible();
if (hopeless) state("lost", "not possible", hopeless);
else forever();
