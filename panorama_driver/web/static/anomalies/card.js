// An anomaly: what, where, since when, the numbers that speak for it, and what was done about it.

import { actionList } from "./actions.js";
import { kindOf } from "./kinds.js";
import { h, joined, short } from "../dom.js";
import { counted, seconds, time, unknown, value } from "../format.js";

const MOST_ATTEMPTS = 24;
const LONGEST = 80; // characters of a name
const SPOKEN = new Set(["s", "bytes", "bytes/s"]);

/**
 * Its card. `page` has the source of links, whether it is `open` at first, whether links to the study and the run are
 * of use (`whole`), and `attemptsOn(host)`, which gives [{ job_id, attempt }] where the page knows them.
 */
export function card(row, page) {
  const { anomaly, anomaly_id: id } = row;
  return h("article", {
    class: `anomaly ${row.over === null ? "open" : "over"}`, "data-anomaly": id, "data-study": row.study, "data-workflow": anomaly.wf_uuid,
    "data-job": anomaly.job_id, "data-attempt": anomaly.attempt, "data-host": anomaly.host,
  },
  h("h3", {}, kindOf(row), " ", row.over === null ? h("span", { class: "goes-on", "data-metric": "phase", "data-value": "found" }, "goes on") : h("span", { class: "is-over", "data-metric": "phase", "data-value": "over" }, "over"),
    h("span", { class: "note" }, " confidence ", value("confidence", anomaly.confidence, "1"))),
  h("p", { class: "said", "data-metric": "message", "data-value": anomaly.message }, anomaly.message),
  h("dl", { class: "when" }, [["where", where(row, page)], ["since", time(anomaly.since, "since")], found(anomaly), over(row), ["by", named("detector", anomaly.detector)]].map(([term, ...what]) => h("div", {}, h("dt", {}, term), h("dd", {}, ...what)))),
  attempts(row, page), details(row, page));
}

/** A name that may be of any length. */
function named(metric, name, style = null) {
  return h("span", { class: style, "data-metric": metric, "data-value": name, title: name.length > LONGEST ? name : null }, short(name, LONGEST));
}

function where({ study, eval_id: number, anomaly }, { source, whole }) {
  const run = ["studies", study, "workflows", anomaly.wf_uuid];
  const job = anomaly.job_id !== null && [h("a", { href: source.link(...run, "jobs", anomaly.job_id) + (anomaly.attempt !== null && source.live ? `?attempt=${anomaly.attempt}` : ""), title: anomaly.job_id }, short(anomaly.job_id, LONGEST)), anomaly.attempt === null ? "" : [", attempt ", value("of attempt", anomaly.attempt)]];
  return joined([
    whole && h("a", { href: source.link("studies", study) }, study),
    whole && h("a", { href: source.link(...run), title: anomaly.wf_uuid }, number === null ? `run ${anomaly.wf_uuid.slice(0, 8)}` : h("span", {}, "evaluation ", named("of evaluation", number))),
    job,
    anomaly.transformation !== null && named("of transformation", anomaly.transformation),
    anomaly.host !== null && h("span", {}, "on ", named("on host", anomaly.host, "mono")),
  ].filter(Boolean), " · ");
}

function found({ since, found: moment }) {
  return ["found", time(moment, "found"), h("span", { class: "note" }, ` (${seconds(moment - since)} later)`)];
}

function over({ over: moment, anomaly }) {
  return moment === null ? ["over", unknown("over", "nobody told that it is over")] : ["over", time(moment, "over"), h("span", { class: "note" }, ` (after ${seconds(moment - anomaly.since)})`)];
}

/** Of a host, the attempts there. */
function attempts({ anomaly, study }, { source, attemptsOn }) {
  if (anomaly.job_id !== null || anomaly.host === null) return null;
  const there = attemptsOn?.(anomaly.host);
  if (!there) return h("p", { class: "links" }, "attempts on it: ", h("a", { href: source.link("studies", study, "workflows", anomaly.wf_uuid) }, "in its run"));
  const link = ({ job_id: job, attempt }) => h("a", { href: source.link("studies", study, "workflows", anomaly.wf_uuid, "jobs", job) + (source.live ? `?attempt=${attempt}` : "") }, `${short(job, LONGEST)}, attempt ${attempt}`);
  const more = there.length > MOST_ATTEMPTS ? ` and ${there.length - MOST_ATTEMPTS} more` : "";
  return h("p", { class: "links", "data-metric": "attempts there", "data-value": there.length }, `${counted(there.length, "attempt")} on it: `, joined(there.slice(0, MOST_ATTEMPTS).map(link), ", "), more);
}

function details({ anomaly, actions }, { source, open }) {
  const said = `${counted(anomaly.evidence.length, "number")} of evidence, ${actions.length ? counted(actions.length, "action") : "nothing was done"}`;
  return h("details", { open }, h("summary", {}, said),
    anomaly.evidence.length ? evidence(anomaly.evidence) : h("p", { class: "nothing" }, "It came without numbers."),
    actions.length > 0 && [h("h4", {}, "What was done"), actionList(actions, source)]);
}

function evidence(rows) {
  const heads = [["metric", true], ["observed", false], ["expected", false], ["unit", true], ["basis", true]];
  const number = (name, known, unit) => (known === null ? unknown(name, "nothing is known to compare with") : value(name, known, SPOKEN.has(unit) ? unit : ""));
  const line = (one) => h("tr", { "data-evidence": one.metric }, h("td", { class: "words" }, one.metric), h("td", {}, number("observed", one.observed, one.unit)), h("td", {}, number("expected", one.expected, one.unit)),
    h("td", { class: "words unit" }, one.unit || "—"), h("td", { class: "words" }, one.basis || "—"));
  return h("div", { class: "scroll short" }, h("table", { class: "evidence" }, h("thead", {}, h("tr", {}, heads.map(([title, words]) => h("th", { scope: "col", class: words ? "words" : null }, title)))), h("tbody", {}, rows.map(line))));
}

