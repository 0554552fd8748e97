// The attempts of a job side by side: how each ended, what it took, and where every number came from.

import { fill, h } from "../dom.js";
import { origin, state, terms, text, time, unknown, value } from "../format.js";

const SIGNALS = {
  1: "SIGHUP, hung up", 2: "SIGINT, interrupted", 3: "SIGQUIT, quit", 4: "SIGILL, illegal instruction", 5: "SIGTRAP, trap",
  6: "SIGABRT, aborted", 7: "SIGBUS, bad memory access", 8: "SIGFPE, arithmetic error", 9: "SIGKILL, killed",
  10: "SIGUSR1", 11: "SIGSEGV, bad memory access", 12: "SIGUSR2", 13: "SIGPIPE, nobody read its output", 14: "SIGALRM, alarm",
  15: "SIGTERM, told to end", 24: "SIGXCPU, processor time used up", 25: "SIGXFSZ, file too large", 31: "SIGSYS, bad system call",
};
const GROUPS = [
  ["outcome", [["state", "state", stateOf], ["exit_code", "exit code", exitOf], ["failure", "failure", failureOf], ["host", "host"], ["site", "site"], ["sched_id", "scheduler's name"]]],
  ["time", [
    ["submit", "submitted", momentOf], ["start", "started", momentOf], ["end", "ended", momentOf], ["queue_time", "queue", "s"],
    ["held_time", "held", "s"], ["wall_time", "wall", "s"], ["local_time", "wall, by the scheduler", "s"], ["stage_time", "staging", "s"],
  ]],
  ["processor and memory", [
    ["cores", "cores"], ["cpu_time", "CPU", "s"], ["user_time", "user", "s"], ["system_time", "system", "s"],
    ["cpu_utilization", "utilisation", "1"], ["peak_memory", "peak memory", memoryOf],
  ]],
  ["input and output", [
    ["bytes_read", "read from storage", "bytes"], ["bytes_written", "written to storage", "bytes"],
    ["chars_read", "read by calls", "bytes"], ["chars_written", "written by calls", "bytes"], ["read_calls", "read calls"],
    ["write_calls", "write calls"], ["io_wait", "I/O wait", "s"], ["io_time", "I/O time", "s"],
  ]],
  ["transfers", [
    ["transfer_time", "moving files", "s"], ["bytes_transferred", "transferred", "bytes"], ["bytes_staged", "staged", "bytes"],
    ["files_transferred", "files put in place", ""], ["transfers_failed", "transfers failed", ""], ["transfer_faults", "faults on the way", ""],
  ]],
];
const ROWS = GROUPS.reduce((count, [, rows]) => count + 1 + rows.length, 1);

/** Cards of attempts in `place`, oldest first; only those that changed are made anew. */
export function attemptCards(place, attempts, previous = []) {
  const there = new Map([...place.children].map((card) => [card.dataset.attempt, card]));
  const before = new Map(previous.map((attempt) => [String(attempt.attempt), JSON.stringify(attempt)]));
  const cards = attempts.map((attempt) => {
    const key = String(attempt.attempt);
    return before.get(key) === JSON.stringify(attempt) && there.get(key) ? there.get(key) : card(attempt);
  });
  if (cards.some((one, i) => place.children[i] !== one) || place.children.length !== cards.length) fill(place, ...cards);
  return place;
}

/** What ended it, in words: exit code, or the signal. */
export function exitOf({ exit_code: code, signal, reasons }) {
  const known = value("exit_code", code, "", reasons.exit_code);
  if (signal) return [known, h("span", { class: "note" }, ` signal ${signal}${SIGNALS[signal] ? ` (${SIGNALS[signal]})` : ""}`)];
  return code < 0 ? [known, h("span", { class: "note" }, " it could not be started")] : known;
}

/** Peak memory, or the bound that is known instead. */
export function memoryOf({ peak_memory: peak, peak_memory_below: bound, reasons }) {
  if (peak !== null && peak !== undefined) return value("peak_memory", peak, "bytes");
  if (bound === null || bound === undefined) return unknown("peak_memory", reasons.peak_memory);
  return h("span", { tabindex: 0, class: "hinted", "data-hint": reasons.peak_memory, "aria-label": `below ${text(bound, "bytes")}: ${reasons.peak_memory ?? ""}` },
    "below ", value("peak_memory_below", bound, "bytes"));
}

/** What Tstat or the kernel counted of the TCP connections of an attempt. */
export function tcpTerms(tcp) {
  const known = (name, unit = "") => value(name, tcp[name], unit, tcp.reasons[name]);
  return terms([
    ["connections", known("connections")], ["payload, both ways", known("bytes", "bytes")], ["segments sent again", known("retransmitted", "1")],
    ["mean round trip", known("rtt", "s")], ["time with a connection", known("active_time", "s")], ["payload over that time", known("throughput", "bytes/s")],
    ["certain to be this attempt's", known("confidence", "1")],
  ]);
}

function card(attempt) {
  return h("article", { class: "attempt", "data-attempt": attempt.attempt, style: `--rows: ${ROWS}` },
    h("h3", {}, `attempt ${attempt.attempt}`),
    h("dl", {}, GROUPS.map(([title, rows]) => [h("div", { class: "group" }, h("dt", {}, title)), rows.map((row) => line(attempt, row))])),
    attempt.guessed ? h("p", { class: "note" }, `${attempt.guessed} records that name no attempt were given to it by their time`) : null);
}

function line(attempt, [name, label, unit = null]) {
  const shown = typeof unit === "function" ? unit(attempt, name) : plain(name, attempt[name], unit ?? "", attempt.reasons[name]);
  return h("div", {}, h("dt", {}, label), h("dd", {}, shown, origin(attempt.sources[name])));
}

/** Names stay as they are, and break where they must. */
function plain(name, known, unit, reason) {
  return typeof known === "string" ? h("span", { "data-metric": name, "data-value": known }, known) : value(name, known, unit, reason);
}

function stateOf(attempt) {
  return state(attempt.state);
}

function momentOf(attempt, name) {
  return time(attempt[name], name, attempt.reasons[name] ?? "no event tells");
}

function failureOf({ failure, state: how, reasons }) {
  if (failure) return h("span", { class: "said", "data-metric": "failure", "data-value": failure }, failure);
  return how === "failed" ? unknown("failure", reasons.failure) : h("span", { class: "note" }, "none");
}
