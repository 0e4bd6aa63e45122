// A viewer's half of moq-lite over WebTransport: just enough to watch tracks of one broadcast.

// The one version that this page speaks; its messages are the ones below.
export const VERSION = "moq-lite-05";

const BI = { SUBSCRIBE: 2, TRACK: 6 };
const UNI = { GROUP: 0, SETUP: 1 };
const ROLE = { id: 3, subscriber: 2 };
const REPLY = { START: 0, END: 1, DROP: 2 };
const MAX_MESSAGE = 65536;
const MAX_FRAME = 1 << 20;

// Reset codes that a viewer may meet, in words.
const CODES = {
  0x00: "internal error", 0x01: "cancelled", 0x02: "too late", 0x03: "session closed",
  0x04: "going away", 0x05: "too far behind", 0x12: "malformed track", 0x31: "timeout",
  0x32: "group too large", 0x33: "no such track", 0x34: "superseded", 0x35: "no longer cached",
  0x36: "no such broadcast",
};

export class Refused extends Error {}

const text = new TextEncoder();

function varint(value) {
  if (value < 0x40) return [value];
  if (value < 0x4000) return [0x40 | (value >> 8), value & 0xff];
  if (value < 0x40000000) {
    return [0x80 | (value >>> 24), (value >>> 16) & 0xff, (value >>> 8) & 0xff, value & 0xff];
  }
  throw new RangeError(`${value} is more than this page ever sends`);
}

function string(value) {
  const bytes = text.encode(value);
  return [...varint(bytes.length), ...bytes];
}

function message(type, ...fields) {
  const body = fields.flat();
  return new Uint8Array([...varint(type), ...varint(body.length), ...body]);
}

// Reads a stream field by field, however its bytes are cut.
class Reader {
  #reader;
  #bytes = new Uint8Array(0);
  #at = 0;

  constructor(readable) {
    this.#reader = readable.getReader();
  }

  // Whether `count` more bytes could be had before the end of the stream.
  async #fill(count) {
    while (this.#bytes.length - this.#at < count) {
      const { value, done } = await this.#reader.read();
      if (done) return false;
      const rest = this.#bytes.subarray(this.#at);
      const joined = new Uint8Array(rest.length + value.length);
      joined.set(rest);
      joined.set(value, rest.length);
      this.#bytes = joined;
      this.#at = 0;
    }
    return true;
  }

  async ended() {
    return !(await this.#fill(1));
  }

  async bytes(count) {
    if (!(await this.#fill(count))) throw new Error("a stream ended in the middle of a message");
    this.#at += count;
    return this.#bytes.slice(this.#at - count, this.#at);
  }

  async byte() {
    return (await this.bytes(1))[0];
  }

  async varint() {
    const first = await this.byte();
    const rest = await this.bytes((1 << (first >> 6)) - 1);
    // Above 2^53 the last bits are lost, which no figure on this page would show.
    return rest.reduce((value, byte) => value * 256 + byte, first & 0x3f);
  }

  // A length within reason, so that nonsense costs an error and not the memory.
  async length(most) {
    const length = await this.varint();
    if (length > most) throw new Error(`a message says that it has ${length} bytes`);
    return length;
  }

  async signed() {
    const value = await this.varint();
    return value % 2 ? -(value + 1) / 2 : value / 2;
  }

  stop() {
    this.#reader.cancel().catch(() => {});
  }
}

function why(error) {
  const code = error?.streamErrorCode;
  return typeof code === "number" ? (CODES[code] ?? `code ${code}`) : (error?.message ?? `${error}`);
}

export class Session {
  // Settles when the session is over: with a reason to show, never with an error.
  closed;
  #transport;
  #tracks = new Map();
  #next = 0;

  // `hash`: SHA-256 of the certificate as 64 hex digits, or null for one that is signed by
  // somebody the browser trusts. `seconds`: how long to wait for the relay.
  static async open(url, hash, seconds) {
    const options = { protocols: [VERSION], congestionControl: "low-latency" };
    if (hash) {
      const value = Uint8Array.from(hash.match(/../g), (digits) => parseInt(digits, 16));
      options.serverCertificateHashes = [{ algorithm: "sha-256", value }];
    }
    const transport = new WebTransport(url, options);
    transport.closed.catch(() => {});
    const late = setTimeout(() => transport.close(), seconds * 1000);
    try {
      await transport.ready;
    } catch (error) {
      throw new Error(`${url} does not answer (${why(error)})`);
    } finally {
      clearTimeout(late);
    }
    if (transport.protocol !== VERSION) {
      transport.close();
      throw new Refused(
        "protocol" in transport
          ? `The relay does not offer ${VERSION}, which this page speaks.`
          : "This browser cannot ask for a protocol over WebTransport. A newer Chromium can.",
      );
    }
    const session = new Session(transport);
    await session.#greet();
    return session;
  }

  constructor(transport) {
    this.#transport = transport;
    const failed = this.#listen().catch((error) => why(error));
    const gone = transport.closed.then(
      ({ closeCode, reason }) => reason || `closed with code ${closeCode}`,
      (error) => why(error),
    );
    this.closed = Promise.race([gone, failed]);
  }

  close() {
    this.#transport.close();
  }

  // What the publisher says of a track.
  async describe(broadcast, track) {
    const stream = await this.#request(message(BI.TRACK, string(broadcast), string(track)));
    const reader = new Reader(stream.readable);
    try {
      await reader.length(MAX_MESSAGE);
      await reader.byte(); // priority
      await reader.byte(); // ordered
      return { maxAge: (await reader.varint()) / 1000, timescale: await reader.varint() };
    } catch (error) {
      throw new Refused(`The relay refused ${broadcast}/${track}: ${why(error)}.`);
    }
  }

  // Calls `told` with {group}, {frame} and {ended}; settles when the subscription has ended.
  async subscribe(broadcast, track, maxAge, told) {
    const id = this.#next++;
    this.#tracks.set(id, told);
    try {
      const fields = [varint(id), string(broadcast), string(track), [0, 0], varint(maxAge), [0, 0]];
      const stream = await this.#request(message(BI.SUBSCRIBE, ...fields));
      const reader = new Reader(stream.readable);
      while (!(await reader.ended())) {
        const type = await reader.varint();
        const body = await reader.bytes(await reader.length(MAX_MESSAGE));
        if (type === REPLY.DROP) told({ dropped: body });
      }
      return "the track has ended";
    } catch (error) {
      return why(error);
    } finally {
      this.#tracks.delete(id);
    }
  }

  // Says that this side only watches, so that the relay asks it for nothing.
  async #greet() {
    const writer = (await this.#transport.createUnidirectionalStream()).getWriter();
    await writer.write(message(UNI.SETUP, [1, ROLE.id, 1, ROLE.subscriber]));
    await writer.close();
  }

  async #request(bytes) {
    const stream = await this.#transport.createBidirectionalStream();
    const writer = stream.writable.getWriter();
    writer.closed.catch(() => {});
    await writer.write(bytes);
    writer.releaseLock(); // Open, because closing it would end the request.
    return stream;
  }

  async #listen() {
    const streams = this.#transport.incomingUnidirectionalStreams.getReader();
    for (;;) {
      const { value, done } = await streams.read();
      if (done) return "closed";
      this.#read(new Reader(value)).catch(() => {});
    }
  }

  async #read(reader) {
    if ((await reader.varint()) !== UNI.GROUP) {
      reader.stop();
      return;
    }
    await reader.length(MAX_MESSAGE);
    const told = this.#tracks.get(await reader.varint());
    const sequence = await reader.varint();
    if (!told) {
      reader.stop();
      return;
    }
    told({ group: sequence });
    let timestamp = 0;
    let complete = false;
    try {
      for (let index = 0; !(await reader.ended()); index++) {
        timestamp += await reader.signed();
        const payload = await reader.bytes(await reader.length(MAX_FRAME));
        told({ frame: { group: sequence, index, timestamp, payload } });
      }
      complete = true;
    } finally {
      told({ ended: sequence, complete });
    }
  }
}
