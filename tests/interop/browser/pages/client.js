// @moq/net as publisher and as viewer; the test drives it through `window.moq` and reads reports.
//
// The content of a frame follows from track, run, group and frame exactly as in tests/support/media.py.
import { Broadcast, Connection, Path, Time } from "@moq/net";

const MAX_AGE_MS = 30_000;
const SHOWN = 12;

async function noise(seed, length) {
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(seed));
  const key = await crypto.subtle.importKey("raw", digest.slice(0, 16), "AES-CTR", false, [
    "encrypt",
  ]);
  const mode = { name: "AES-CTR", counter: new Uint8Array(16), length: 64 };
  return new Uint8Array(await crypto.subtle.encrypt(mode, key, new Uint8Array(length)));
}

async function payload(track, group, frame) {
  const seed = `${track.name}/${track.edition}/${group}/${frame}`;
  if (!track.is_json) return noise(seed, track.frame_bytes);
  const bytes = await noise(seed, track.frame_bytes / 2);
  const note = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return new TextEncoder().encode(JSON.stringify({ track: track.name, group, frame, note }));
}

function micros(track, group, frame) {
  return Math.round(((group * track.frames_per_group + frame) * 1e6) / track.frames_per_second);
}

function same(one, other) {
  return one.length === other.length && one.every((byte, at) => byte === other[at]);
}

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// An http:// address makes @moq/net ask for the certificate's hash itself; else it is given here.
async function connect({ url, hash }) {
  const pinned = hash ? { serverCertificateHashes: [{ value: hash }] } : {};
  return Connection.connect(new URL(url), {
    webtransport: pinned,
    websocket: { enabled: false },
    signal: AbortSignal.timeout(10_000),
  });
}

let finishing = false;
const sending = [];
const sent = {};

async function send(track, producer, start) {
  sent[track.name] = 0;
  while (!finishing) {
    const number = sent[track.name];
    const group = producer.appendGroup();
    for (let frame = 0; frame < track.frames_per_group; frame++) {
      const at = micros(track, number, frame);
      const bytes = await payload(track, number, frame);
      const ahead = start + at / 1000 - performance.now();
      if (ahead > 0) await pause(ahead);
      group.writeFrame({ payload: bytes, timestamp: Time.Timestamp.fromMicros(at) });
    }
    group.close();
    sent[track.name] = number + 1;
  }
  producer.close();
}

// Resolves with the negotiated version once the broadcast is published.
async function publish({ url, hash, path, tracks }) {
  const connection = await connect({ url, hash });
  const broadcast = new Broadcast.Producer();
  const info = { timescale: Time.Timescale.MICRO, latencyMax: MAX_AGE_MS };
  const start = performance.now();
  for (const track of tracks) {
    sending.push(send(track, broadcast.createTrack(track.name, info), start));
  }
  connection.publish(Path.from(path), broadcast);
  return connection.version;
}

// How many groups of each track are finished.
function progress() {
  return sent;
}

// Ends every track after its current group; resolves with the number of groups of each.
async function finish() {
  finishing = true;
  await Promise.all(sending);
  return sent;
}

class TrackView {
  constructor(track, timed) {
    this.track = track;
    this.timed = timed;
    this.arrived = [];
    this.complete = [];
    this.faults = [];
    this.ended = false;
  }

  async read(broadcast) {
    const subscriber = broadcast.track(this.track.name).subscribe({ latencyMax: MAX_AGE_MS });
    const reading = [];
    try {
      for (;;) {
        const group = await subscriber.recvGroup();
        if (!group) break;
        this.arrived.push(group.sequence);
        reading.push(this.readGroup(group));
      }
    } catch (error) {
      this.fault(`${this.track.name}: the track broke off: ${error}`);
    }
    await Promise.all(reading);
    this.ended = true;
  }

  async readGroup(group) {
    const here = `${this.track.name} group ${group.sequence}`;
    let frame = 0;
    try {
      for (;;) {
        const got = await group.readFrame();
        if (!got) break;
        const wanted = await payload(this.track, group.sequence, frame);
        const at = micros(this.track, group.sequence, frame);
        if (!same(got.payload, wanted)) {
          this.fault(`${here} frame ${frame}: ${got.payload.length} wrong bytes`);
        } else if (this.timed && got.timestamp.asMicros() !== at) {
          this.fault(`${here} frame ${frame}: at ${got.timestamp.asMicros()} instead of ${at}`);
        }
        frame++;
      }
    } catch (error) {
      this.fault(`${here} broke off after ${frame} frames: ${error}`);
      return;
    }
    if (frame === this.track.frames_per_group) this.complete.push(group.sequence);
    else this.fault(`${here} ended after ${frame} frames, as if it were complete`);
  }

  fault(text) {
    if (this.faults.length < SHOWN) this.faults.push(text);
  }

  report() {
    const { arrived, complete, faults, ended } = this;
    return { arrived, complete, faults, ended };
  }
}

const instances = [];
let expected = [];

// Follows a broadcast through every instance of it; resolves with the negotiated version.
async function watch({ url, hash, path, tracks, timed }) {
  expected = tracks;
  const connection = await connect({ url, hash });
  const active = connection.announcedBroadcast(Path.from(path)).active;
  (async () => {
    for (;;) {
      const broadcast = active.peek();
      if (broadcast) {
        const views = expected.map((track) => new TrackView(track, timed));
        instances.push(views);
        for (const view of views) view.read(broadcast);
      }
      await active.changed();
    }
  })();
  return connection.version;
}

// From the next instance on, the publisher's tracks are these.
function expect(tracks) {
  expected = tracks;
}

// What came of each instance of the broadcast: for every track what arrived and what was wrong.
function report() {
  return instances.map((views) =>
    Object.fromEntries(views.map((view) => [view.track.name, view.report()])),
  );
}

window.moq = { publish, progress, finish, watch, expect, report };
