// What stands behind the numbers of a run: where its time went, what failed, what made it, how complete its events are.

import { h, svg } from "../dom.js";
import { TIMES, digits, seconds, share, state, terms, time, unknown, value } from "../format.js";

/** Where the time went: one bar, and the same in words. */
export function shares(times, running) {
  if (!times) return h("p", { class: "nothing", "data-metric": "times", "data-unknown": "" }, `unknown: ${running ? "the run has not ended" : "its makespan is not known"}`);
  const parts = TIMES.map(([name, words]) => ({ name, words, spent: times[name] })).filter(({ spent }) => spent > 0);
  const all = parts.reduce((sum, { spent }) => sum + spent, 0);
  let x = 0;
  const bar = svg("svg", { class: "shares", viewBox: "0 0 1000 24", preserveAspectRatio: "none", role: "img", "aria-label": parts.map(({ words, spent }) => `${words} ${seconds(spent)}`).join(", ") });
  for (const { name, spent } of parts) {
    const wide = all ? (1000 * spent) / all : 0;
    bar.append(svg("rect", { class: `part ${classOf(name)}`, x, width: wide, height: 24 }));
    x += wide;
  }
  const rows = TIMES.filter(([name]) => name !== "unknown" || times.unknown > 0).map(([name, words]) => [
    h("span", {}, h("span", { class: `swatch ${classOf(name)}` }), words), value(`times.${name}`, times[name], "s"), all ? h("span", { class: "note" }, ` ${share(times[name] / all)}`) : null,
  ]);
  const why = Object.values(times.reasons ?? {})[0];
  return [bar, h("p", { class: "note" }, "Each moment counts once, under the first of these that goes on then."), terms(rows), why && h("p", { class: "note" }, `unknown: ${why}`)];
}

function classOf(name) {
  return name === "unknown" ? "untold" : name.replace("_", "-");
}

/** Attempts that failed, with what explains them. */
export function failures(jobs, link) {
  const rows = jobs.flatMap((job) => {
    const tried = job.attempts.filter((attempt) => attempt.state === "failed").map((attempt) => ({ job, attempt }));
    return tried.length || job.state !== "failed" ? tried : [{ job, attempt: null }];
  });
  if (!rows.length) return h("p", { class: "nothing" }, "No attempt has failed.");
  const list = h("ul", { class: "failures" }, rows.slice(0, 200).map((row) => failure(row, link)));
  return [list, rows.length > 200 && h("p", { class: "note" }, `and ${rows.length - 200} more: the table of jobs has them`)];
}

function failure({ job, attempt }, link) {
  const last = !attempt || attempt === job.attempts.at(-1);
  const told = attempt?.failure ?? (last ? job.failure : null);
  const code = attempt ? attempt.exit_code : job.exit_code;
  const signal = attempt?.signal ?? (last ? job.signal : null);
  return h("li", { "data-job": job.job_id, "data-attempt": attempt?.attempt },
    h("div", {}, h("a", { href: link(job.job_id, attempt?.attempt) }, job.job_id), attempt && ` attempt ${attempt.attempt}`, last ? "" : `, tried again${job.state === "succeeded" ? " and done" : ""}`),
    h("div", { class: "note" }, "exit code ", value("exit_code", code, "", "it was not told"), signal ? [", signal ", value("signal", signal)] : null, attempt?.host ? ` on ${attempt.host}` : ""),
    told ? h("div", { class: "why", "data-metric": "failure" }, told) : unknown("failure", "no record tells it"));
}

/** Who planned and ran what, where, with which values. */
export function provenance({ provenance: made, metrics, wf_uuid }) {
  const told = (name, words) => [words, made[name] === null ? unknown(name, "no event tells it") : h("span", { "data-metric": name, "data-value": made[name] }, made[name])];
  const named = (values, what) => Object.entries(values).map(([name, known]) => [name, value(`${what}.${name}`, known)]);
  const variables = named(made.variables, "parameter");
  const responses = named(made.responses, "response");
  return [
    variables.length > 0 && [h("h3", {}, "Parameters"), terms(variables)], responses.length > 0 && [h("h3", {}, "Responses"), terms(responses)],
    h("h3", {}, "Run"),
    terms([["run", h("span", { class: "mono" }, wf_uuid)], told("site", "site"), told("engine", "engine"), told("planner", "planner"), told("submit_host", "submitted from"), told("submit_dir", "submit directory"), told("user", "by"),
      ["workers", made.hosts.length ? `${made.hosts.length}: ${made.hosts.slice(0, 12).join(", ")}${made.hosts.length > 12 ? ", …" : ""}` : unknown("hosts", "no event names one")], metrics.label && ["label", metrics.label]]),
    h("h3", {}, "Codes that ran"), codes(made.codes),
  ];
}

function codes(ran) {
  if (!ran.length) return h("p", { class: "nothing" }, "None has run.");
  const row = (code) => h("tr", { "data-transformation": code.transformation }, h("td", { class: "words" }, code.transformation), h("td", { class: "words" }, code.executable === null ? unknown("executable", "no event names it") : h("span", { class: "mono" }, code.executable)), h("td", { class: "words" }, code.candidate ?? "—"), h("td", {}, value("jobs", code.jobs)));
  return h("div", { class: "scroll short" }, h("table", {}, h("thead", {}, h("tr", {}, ["transformation", "program", "candidate", "jobs"].map((title, i) => h("th", { class: i < 3 ? "words" : null }, title)))), h("tbody", {}, ran.map(row))));
}

/** How complete the events are, in words and numbers. */
export function completeness(known, waiting) {
  if (!known) return h("p", { class: "nothing", "data-metric": "completeness", "data-unknown": "" }, `unknown: ${waiting || "nobody looked"}`);
  const columns = [["events_expected", "known"], ["events_seen", "came live"], ["filled_from_disk", "from disk"], ["missing", "missing"], ["thinned", "left out by the probe"]];
  const row = (source) => h("tr", { "data-source": source.source, class: source.missing ? "lacking" : null }, h("td", {}, source.source), columns.map(([name]) => h("td", {}, value(name, source[name]))), h("td", { class: "words" }, inWords(source)));
  return [
    h("p", { "data-metric": "completeness" }, sentence(known)),
    known.reconciled && known.reconciled_at !== null && h("p", { class: "note" }, "compared ", time(known.reconciled_at, "reconciled_at"), known.reconciled_from ? ` with ${known.reconciled_from}` : ""),
    h("div", { class: "scroll" }, h("table", {}, h("thead", {}, h("tr", {}, h("th", {}, "source"), columns.map(([, title]) => h("th", {}, title)), h("th", { class: "words" }, "in words"))), h("tbody", {}, known.sources.map(row)))),
    known.problems.length > 0 && h("ul", {}, known.problems.map((problem) => h("li", {}, problem))),
  ];
}

function sentence({ watched_live: live, reconciled, sources }) {
  const sum = (name) => sources.reduce((all, source) => all + source[name], 0);
  const missing = sum("missing");
  if (!live) return sum("events_expected") ? "Read from disk; nothing came by a broker or by HTTP." : "Nothing is known of it.";
  if (!reconciled) return "Came live, not yet compared with the disk: `panorama reconcile` does that.";
  const filled = sum("filled_from_disk");
  const found = filled ? `${filled} events that did not come live were found on disk` : missing ? "nothing more was found there" : "all came live";
  return `Compared with the disk: ${found}${missing ? `; ${missing} missing` : ""}.`;
}

function inWords({ events_expected: expected, events_seen: seen, filled_from_disk: filled, missing, thinned }) {
  if (!expected && !thinned) return "no events";
  const told = [`${digits(expected)} events`];
  if (seen) told.push(`${seen} came live, ${filled} filled from disk`);
  else if (filled) told.push(missing ? "from disk, none came live" : "all from disk, none came live");
  if (missing) told.push(`${missing} missing`);
  if (thinned) told.push(`${thinned} more left out by the probe to save space`);
  return told.join(", ");
}

/** The state of a run with the reason where it failed. */
export function outcome({ metrics, evaluation, jobs }) {
  const failed = jobs.filter((job) => job.state === "failed");
  const why = evaluation?.message || failed.find((job) => job.failure)?.failure;
  const number = failed.length ? `${failed.length} of ${jobs.length} jobs failed` : "";
  const words = metrics.state === "failed" ? [number, why].filter(Boolean).join(": ") || "no record tells why" : "";
  if (evaluation?.state === "stopped") return [state("stopped"), h("span", { class: "note", "data-metric": "stopped" }, ` ${evaluation.message || "it could not be the best any more"}; its responses are lower bounds`)];
  return [state(metrics.state), words && h("span", { class: "why", "data-metric": "failure" }, ` ${words}`)];
}
