// Where pages get what they show: from the server that serves them, or out of a report that holds it.

const EMBEDDED = "panorama-report";
const TOKEN = "panorama-token";

/** What kept an answer away, in words for the person. */
export class Failure extends Error {
  constructor(message, status = 0) {
    super(message);
    this.status = status;
  }
}

/** The source of this page. */
export function source() {
  const embedded = document.getElementById(EMBEDDED);
  return embedded ? new Report(JSON.parse(embedded.textContent)) : new Server();
}

/** Address of a place relative to the pages' base: `address("studies", study, "workflows", wf)`. */
function address(...parts) {
  return parts.map(encodeURIComponent).join("/");
}

class Pages {
  studies(query = {}) { return this.get("studies", query); }
  study(study) { return this.get(address("studies", study)); }
  repository() { return this.get("repository"); }
  anomalies(query = {}) { return this.get("anomalies", query); }
  anomaliesOf(study, query = {}) { return this.get(address("studies", study, "anomalies"), query); }
  workflow(study, wf) { return this.get(address("studies", study, "workflows", wf)); }
  series(study, wf, query = {}) { return this.get(address("studies", study, "workflows", wf, "series"), query); }
  job(study, wf, job) { return this.get(address("studies", study, "workflows", wf, "jobs", job)); }
  transfers(study, wf) { return this.get(address("studies", study, "workflows", wf, "transfers")); }
}

/** Reads the API of the server. */
class Server extends Pages {
  live = true;
  cursor = null;

  /** A page begins: it follows from the first answer that it gets. */
  begin() { this.cursor = null; }

  link(...parts) { return parts.length ? address(...parts) : "."; }

  api(path, query = {}) {
    const told = new URLSearchParams(Object.entries(query).filter(([, v]) => v !== null && v !== undefined && v !== ""));
    return `api/${path}${told.size ? `?${told}` : ""}`;
  }

  async get(path, query = {}) {
    let answer;
    try {
      answer = await fetch(this.api(path, query), { headers: authorization() });
    } catch {
      throw new Failure("the server does not answer: is `panorama serve` still running?");
    }
    const body = await answer.json().catch(() => ({ problem: `the server answered ${answer.status}` }));
    if (!answer.ok) throw new Failure(body.problem ?? `the server answered ${answer.status}`, answer.status);
    this.cursor ??= answer.headers.get("X-Panorama-Cursor");
    return body;
  }

  /** Call `heard(topic, data)` whenever something of these topics moves, `heard(null)` when all must be read again. */
  follow(topics, heard) {
    const told = (status) => document.dispatchEvent(new CustomEvent("panorama-live", { detail: status }));
    const line = new Line(new URL("api/live", document.baseURI), topics, this.cursor ?? "", heard, told);
    return () => line.close();
  }
}

/** A report in one file: what was put into it, and nothing live. */
class Report extends Pages {
  live = false;

  constructor(documents) {
    super();
    this.documents = documents;
  }

  begin() {}

  link(...parts) { return `#/${address(...parts)}`; }

  api() { return null; }

  studies() { return this.get("studies"); }

  /** All that were put into it, whichever are asked for. */
  anomalies() { return super.anomalies(); }

  anomaliesOf(study) { return super.anomaliesOf(study); }

  /** The width of bins was chosen when the report was made. */
  series(study, wf, { width, ...query } = {}) { return super.series(study, wf, query); }

  async get(path, query = {}) {
    const told = new URLSearchParams(Object.entries(query).filter(([, v]) => v !== null && v !== undefined && v !== ""));
    const key = told.size ? `${path}?${told}` : path;
    if (!(key in this.documents)) throw new Failure("this report does not hold that; `panorama serve` shows it", 404);
    return this.documents[key];
  }

  follow() { return () => {}; }
}

/**
 * A live stream, shared by all pages of one browser where it can be: a browser opens six connections to a server at
 * most, and seven streams would leave none for anything else.
 */
class Line {
  constructor(url, topics, last, heard, told) {
    this.said = ({ data }) => (data.status ? told(data.status) : heard(data.topic ?? null, data.data));
    this.hello = { topics, last };
    this.leave = () => this.port.postMessage({ bye: true });
    addEventListener("pagehide", this.leave);
    if (globalThis.SharedWorker) this.share(url);
    else this.alone(url);
  }

  share(url) {
    const worker = (this.worker = new SharedWorker(new URL("live.js", import.meta.url), { name: url.href, type: "module" }));
    worker.onerror = () => this.port === worker.port && this.alone(url); // older browsers have workers without modules
    this.begin(worker.port);
  }

  /** A stream of its own. */
  async alone(url) {
    const { port1, port2 } = new MessageChannel();
    this.begin(port2);
    const { join } = await import("./live.js");
    join(port1, url.href);
  }

  begin(port) {
    this.port = port;
    port.onmessage = this.said;
    port.postMessage(this.hello);
  }

  close() {
    removeEventListener("pagehide", this.leave);
    this.leave();
    this.port.onmessage = null;
    this.port.close();
    if (this.worker) this.worker.onerror = null; // the browser keeps the worker, which would keep the page
  }
}

/** The token comes in the address' fragment, which is sent to nobody, and is kept for this tab. */
function authorization() {
  const token = sessionStorage.getItem(TOKEN);
  return token ? { Authorization: `Bearer ${token}` } : {};
}

/** Take a token out of the address, if it holds one. */
export function takeToken() {
  const told = new URLSearchParams(location.hash.slice(1)).get("token");
  if (!told) return;
  sessionStorage.setItem(TOKEN, told);
  history.replaceState(null, "", location.pathname + location.search);
}
