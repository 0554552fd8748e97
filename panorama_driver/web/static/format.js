// Numbers with their units, times in the viewer's zone, states in words, and what is unknown with its reason.

import { h } from "./dom.js";

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/** Where the time of a run went, in the order in which a moment counts. */
export const TIMES = [["compute", "compute"], ["stage_in", "stage in"], ["stage_out", "stage out"], ["other", "other jobs"], ["queue", "queue"], ["wait", "waiting for the workflow system"], ["unknown", "unknown"]];

/** How a state looks: a word and a sign beside the colour, which not everybody can tell from others. */
export const STATES = {
  unsubmitted: { word: "waiting", sign: "○", tone: "waiting" },
  planned: { word: "planned", sign: "○", tone: "waiting" },
  empty: { word: "empty", sign: "○", tone: "waiting" },
  received: { word: "received", sign: "◔", tone: "queued" },
  submitted: { word: "queued", sign: "◔", tone: "queued" },
  held: { word: "held", sign: "◫", tone: "queued" },
  running: { word: "running", sign: "▶", tone: "running" },
  succeeded: { word: "done", sign: "✓", tone: "done" },
  finished: { word: "finished", sign: "✓", tone: "done" },
  failed: { word: "failed", sign: "✗", tone: "failed" },
  timeout: { word: "timed out", sign: "✗", tone: "failed" },
  refused: { word: "refused", sign: "✗", tone: "failed" },
  unanswered: { word: "unanswered", sign: "✗", tone: "failed" },
  unreadable: { word: "unreadable", sign: "✗", tone: "failed" },
  cancelled: { word: "cancelled", sign: "⊘", tone: "failed" },
  interrupted: { word: "interrupted", sign: "⊘", tone: "failed" },
  stopped: { word: "ended early", sign: "■", tone: "stopped" },
  intended: { word: "intended", sign: "◔", tone: "queued" },
  done: { word: "done", sign: "✓", tone: "done" },
  undone: { word: "taken back", sign: "↶", tone: "waiting" },
};

const ORIGINS = {
  probe: "from the probe's trace, which is complete",
  trace: "from the probe's samples up to the last one: a lower bound",
  kickstart: "from the record of kickstart or of the engine",
  scheduler: "from the scheduler: whole seconds, late by its polling",
  transfer: "from records of the transfer tool",
  darshan: "from Darshan's logs",
  tcp_info: "from the kernel's counters of the job's sockets",
  tstat: "from flows of Tstat",
};
const WAYS = { s: seconds, bytes, "1": share, "bytes/s": rate };

/** A span of time [s] in words: `0.012 s`, `4.2 s`, `3 min 05 s`, `2 h 07 min`. */
export function seconds(value, precision = 3) {
  if (value < 0) return `−${seconds(-value, precision)}`;
  if (value < 60) return `${digits(value, precision)} s`;
  const whole = Math.round(value);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  const minutes = Math.round(value / 60);
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`;
  return `${Math.floor(minutes / 1440)} d ${two(Math.floor((minutes % 1440) / 60))} h`;
}

/** A size [bytes]: `512 B`, `1.50 MiB`. */
export function bytes(value, precision = 3) {
  let place = 0;
  let size = Math.abs(value);
  while (size >= 1024 && place < UNITS.length - 1) {
    size /= 1024;
    place += 1;
  }
  const sign = value < 0 ? "−" : "";
  return place ? `${sign}${size.toPrecision(size >= 1000 ? Math.max(4, precision) : precision)} ${UNITS[place]}` : `${sign}${digits(size, precision)} B`;
}

/** A speed [bytes/s]. */
export function rate(value, precision = 3) {
  return `${bytes(value, precision)}/s`;
}

/** A share of 1 in per cent; what is not all is never rounded to all. */
export function share(value, precision = 3) {
  const told = digits(100 * value, precision);
  return told === "100" && value < 1 ? "> 99.9 %" : `${told} %`;
}

/** A number with three or so digits that count. */
export function digits(value, precision = 3) {
  if (!Number.isFinite(value)) return String(value);
  if (Number.isInteger(value) && Math.abs(value) < 1e6) return String(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(precision - 1);
  return String(Number(value.toPrecision(size >= 100 ? Math.max(4, precision) : precision)));
}

/** Any value as text, by its unit. */
export function text(value, unit = "", precision = 3) {
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value !== "number") return String(value);
  return WAYS[unit] ? WAYS[unit](value, precision) : `${unit ? digits(value, precision) : exact(value)}${unit ? ` ${unit}` : ""}`;
}

/** Of parameters and responses, six digits. */
export function exact(value) {
  return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(6)));
}

/**
 * A value as an element: `data-metric` names it, `data-value` holds it as it came, to the last digit.
 * What is not known says so, and why on hover, on focus, and to a screen reader.
 */
export function value(name, known, unit = "", reason = "") {
  if (known === null || known === undefined) return unknown(name, reason);
  const exactly = typeof known === "number" ? `${known} ${unit === "1" ? "" : unit}`.trim() : null;
  return h("data", { value: String(known), "data-metric": name, "data-value": String(known), title: exactly }, text(known, unit));
}

/** What is not known, with its reason. */
export function unknown(name, reason = "") {
  const why = reason || "nobody told";
  return h("span", { class: "unknown", tabindex: 0, "data-metric": name, "data-unknown": why, role: "note", "aria-label": `unknown: ${why}` }, "unknown");
}

/** The same where there is room to say why at once. */
export function lost(name, reason = "") {
  const why = reason || "nobody told";
  return h("p", { class: "nothing", "data-metric": name, "data-unknown": why }, `unknown: ${why}`);
}

/** Where a number came from, on hover and on focus. */
export function origin(from) {
  if (!from) return null;
  const told = ORIGINS[from] ?? `from ${from}`;
  return h("span", { class: "origin", tabindex: 0, role: "note", "aria-label": told, "data-hint": told }, "ⁱ");
}

/** A moment [s since 1970] in the viewer's zone, with UTC on hover. */
export function time(moment, name = "time", reason = "") {
  if (moment === null || moment === undefined) return unknown(name, reason);
  const date = new Date(moment * 1000);
  if (Number.isNaN(date.getTime())) return unknown(name, "no calendar has that moment");
  return h("time", { datetime: date.toISOString(), title: utc(moment), "data-metric": name, "data-value": String(moment) }, local(moment));
}

/** A moment in the viewer's zone, as text. */
export function local(moment) {
  return new Date(moment * 1000).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });
}

/** A moment in UTC, as text. */
export function utc(moment) {
  return `${new Date(moment * 1000).toISOString().replace("T", " ").replace(/\.\d+Z$/, "")} UTC`;
}

/** A moment for an axis of dates: the viewer's clock, which the chart library takes as it is. */
export function onAxis(moment) {
  const date = new Date(moment * 1000);
  return new Date(date.getTime() - date.getTimezoneOffset() * 60000).toISOString().slice(0, -1);
}

/** A state: a sign and a word. */
export function state(name, metric = "state") {
  const known = STATES[name] ?? { word: name, sign: "?", tone: "waiting" };
  return h("span", { class: `state ${known.tone}`, "data-metric": metric, "data-value": name },
    h("span", { class: "sign", "aria-hidden": "true" }, known.sign), known.word);
}

/** The name of a metric as people read it: `cpu_time` is `CPU time`. */
export function words(name) {
  return name.replace(/_/g, " ").replace(/\bcpu\b/g, "CPU").replace(/\bio\b/g, "I/O").replace(/\brss\b/g, "memory");
}

/** Values in a list of terms: rows of [term, element]. */
export function terms(rows) {
  return h("dl", { class: "terms" }, rows.filter(Boolean).map(([term, ...what]) => h("div", {}, h("dt", {}, term), h("dd", {}, ...what))));
}

/** A large number with a word below it. */
export function tile(name, title, known, unit, reason, note = null) {
  return h("div", { class: "tile" }, h("span", { class: "figure" }, value(name, known, unit, reason)), h("span", { class: "caption" }, title), note && h("span", { class: "note" }, note));
}

/** A number of things: `1 job`, `2 jobs`. */
export function counted(number, what) {
  return `${number} ${what}${number === 1 ? "" : "s"}`;
}

function two(number) {
  return String(number).padStart(2, "0");
}
