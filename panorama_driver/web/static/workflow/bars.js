// How an attempt looks in a Gantt chart, and what it tells.

import { SIGNS, inShort, wordOf } from "../anomalies/kinds.js";
import { markOf } from "../anomalies/spans.js";
import { h, svg } from "../dom.js";
import { STATES, seconds, state } from "../format.js";

const KINDS = { compute: "compute", "stage-in": "stage in", "stage-out": "stage out", other: "other" };
const THIN = 0.75; // [px] below which a bar could not be seen
const SMALL = 10; // [px] below which a row has no room for a sign
const STRIP = 5; // [px] that a mark of an anomaly is high, at the foot of the bar
const HOST = 2.5; // [px] and that of one of the host, at its top

/** What a bar is known by. */
export function keyOf({ job, attempt }) {
  return `${job.job_id} ${attempt.attempt}`;
}

/** Anomalies with the part of a bar that each has: [{ row, since, to }]. */
export function marksOf(bar, anomalies) {
  const { submit, start, end } = bar;
  const from = submit ?? start ?? end;
  const found = anomalies.map((row) => ({ row, part: from === null ? null : markOf(row, { from, to: end ?? start ?? from }) }));
  return found.filter(({ part }) => part).map(({ row, part: [since, to] }) => ({ row, since, to }));
}

/** A link to the job with its waiting, its running, and marks of its `anomalies`; `at(moment)` gives x. */
export function barShape(bar, { at, wide, y, tall, link, anomalies }) {
  const { job, attempt, submit, start, end } = bar;
  const gap = tall > SMALL ? 2 : 1;
  const box = (name, from, to) => {
    const [left, right] = [Math.max(-2, at(from)), Math.min(wide + 2, at(to))];
    return svg("rect", { class: name, x: left, y: y + gap, width: Math.max(THIN, right - left), height: tall - 2 * gap });
  };
  const failed = attempt.state === "failed";
  const foot = Math.min(STRIP, tall / 2);
  const marks = marksOf(bar, anomalies);
  const mark = ({ row, since, to }) => {
    const [left, right] = [Math.max(-2, at(since)), Math.min(wide + 2, at(to))];
    const [stands, own] = [row.over === null ? "open" : "over", row.anomaly.job_id !== null];
    const place = { x: left, y: own ? y + tall - gap - foot : y + gap, width: Math.max(THIN, right - left), height: own ? foot : Math.min(HOST, foot) };
    return svg("g", { class: `anomaly-mark ${stands}`, "data-anomaly": row.anomaly_id, "data-kind": row.anomaly.kind }, svg("rect", place),
      own && tall > SMALL && svg("text", { x: left, y: y + tall - gap - foot }, SIGNS[stands]));
  };
  return svg("a", {
    class: ["attempt-bar", bar.kind, failed && "failed", bar.open && "open"].filter(Boolean).join(" "), href: link(job.job_id, attempt.attempt), tabindex: -1, draggable: "false",
    "data-key": keyOf(bar), "data-job": job.job_id, "data-attempt": attempt.attempt, "data-state": attempt.state, "aria-label": [sentence(bar), ...marks.map(({ row }) => inShort(row))].join("; "),
  },
  known(submit) && box("queue", submit, known(start) ? start : end ?? submit), known(start) && box("run", start, end ?? start), known(start) && failed && box("hatch", start, end ?? start),
  failed && tall > SMALL && svg("text", { class: "mark", x: Math.min(at(end ?? start ?? submit) + 2, wide - 9), y: y + tall / 2 + 4 }, "✗"), marks.map(mark));
}

function sentence({ job, attempt, start, end }) {
  const { submit } = attempt;
  const { word } = STATES[attempt.state] ?? { word: attempt.state };
  const waited = known(submit) && known(start) ? `, waited ${seconds(start - submit)}` : "";
  return `${job.job_id}, attempt ${attempt.attempt}: ${word}${waited}${known(start) && known(end) ? `, ran ${seconds(end - start)}` : ""}`;
}

function known(moment) {
  return moment !== null && moment !== undefined;
}

/** An attempt in words, for a hint; times are those since `zero`. */
export function barHint({ job, attempt, kind, open, end }, zero, anomalies = []) {
  const after = (moment) => (known(moment) ? seconds(moment - zero) : "unknown");
  const { submit, start, host, exit_code: code } = attempt;
  const waited = known(submit) && known(start) ? `waited ${seconds(start - submit)}` : "";
  const ran = known(start) && known(end) ? `${open ? "runs for" : "ran"} ${seconds(end - start)}` : "";
  return [
    h("strong", {}, job.job_id), h("div", {}, state(attempt.state, "hint"), ` · ${KINDS[kind]}, attempt ${attempt.attempt}`, host ? ` · ${host}` : null, code ? ` · exit code ${code}` : null),
    h("div", {}, `submitted ${after(submit)}, started ${after(start)}, ended ${open ? "not yet" : after(attempt.end)}`), (waited || ran) && h("div", {}, [waited, ran].filter(Boolean).join(", ")),
    anomalies.map(({ anomaly, over }) => h("div", { class: "found" }, `${over === null ? SIGNS.open : SIGNS.over} ${wordOf(anomaly.kind)} from ${after(anomaly.since)}${over === null ? "" : ` to ${after(over)}`}`)),
  ];
}

/** What failed attempts are hatched with. */
export function hatch() {
  return svg("defs", {}, svg("pattern", { id: "gantt-hatch", width: 5, height: 5, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" }, svg("rect", { width: 2, height: 5 })));
}

/** What colours mean. */
export function legend() {
  const swatch = (name, word) => [h("span", { class: `swatch ${name}` }), word, " "];
  return h("p", { class: "note legend" }, swatch("queue", "queue"), Object.entries(KINDS).map(([name, word]) => swatch(name, word)), swatch("failed", "✗ failed"), swatch("found", `${SIGNS.open} not as it should be, ${SIGNS.over} over; at the top: the host`));
}
