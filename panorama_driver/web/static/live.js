// One stream of server-sent events for all pages of a browser that look at one server; runs as a shared worker.

const RETRY = 5000; // [ms] after which a stream that was refused is asked for again
const lines = new Map();

/** Join a page to the line of its server. */
export function join(port, url) {
  if (!lines.has(url)) lines.set(url, new Stream(url));
  lines.get(url).join(port);
}

if ("onconnect" in globalThis) {
  globalThis.onconnect = ({ ports: [port] }) => join(port, globalThis.name);
}

class Stream {
  constructor(url) {
    this.url = url;
    this.pages = new Map();
    this.last = "";
    this.source = null;
  }

  join(port) {
    port.onmessage = ({ data }) => (data.bye ? this.leave(port) : this.take(port, data));
  }

  take(port, { topics, last }) {
    this.pages.set(port, topics);
    this.last = earlier(this.source ? this.last : "", last);
    this.connect();
  }

  leave(port) {
    this.pages.delete(port);
    port.close();
    if (!this.pages.size) this.close();
  }

  close() {
    clearTimeout(this.waiting);
    this.source?.close();
    this.source = null;
  }

  connect() {
    this.close();
    const topics = [...new Set([...this.pages.values()].flat())].sort();
    const query = new URLSearchParams(topics.map((topic) => ["topic", topic]));
    if (this.last) query.set("last", this.last);
    this.source = new EventSource(`${this.url}?${query}`);
    this.source.onopen = () => this.tell({ status: "live" });
    this.source.onerror = () => this.broken();
    this.source.addEventListener("change", (event) => this.heard(event));
    this.source.addEventListener("reset", (event) => this.reset(event));
  }

  /** A browser asks again by itself where a stream breaks, but never where it was refused: by a proxy whose server is away, say. */
  broken() {
    this.tell({ status: "away" });
    if (this.source.readyState === EventSource.CLOSED) this.waiting = setTimeout(() => this.connect(), RETRY);
  }

  heard(event) {
    this.last = event.lastEventId;
    const { topic, data } = JSON.parse(event.data);
    for (const [port, topics] of this.pages) if (topics.includes(topic)) port.postMessage({ topic, data });
  }

  reset(event) {
    this.last = event.lastEventId;
    this.tell({ topic: null });
  }

  tell(message) {
    for (const port of this.pages.keys()) port.postMessage(message);
  }
}

/** Of two places in the stream (`EPOCH-N`) the earlier; places of different epochs cannot be compared, the newer page's counts. */
function earlier(known, told) {
  if (!known || !told) return told || known;
  const [epoch, number] = split(known);
  const [other, place] = split(told);
  return epoch === other && number < place ? known : told;
}

function split(id) {
  const dash = id.lastIndexOf("-");
  return [id.slice(0, dash), Number(id.slice(dash + 1))];
}
