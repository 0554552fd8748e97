// What a study's summary says, as the list of studies and the head of its page show it.

import { SIGNS, numberOf } from "../anomalies/kinds.js";
import { h } from "../dom.js";
import { short } from "./evaluations.js";
import { exact, unknown, value } from "../format.js";

const CLOCKS = 1e8; // [s since 1970] before which no clock was right: in 1973 there were no workflows

/** Done, failed and running as a bar and as numbers. */
export function counts(summary) {
  const { evaluations, state: name } = summary;
  const part = (count) => summary[count] > 0 && h("span", { class: count, style: `width: ${(100 * summary[count]) / Math.max(evaluations, 1)}%` });
  const number = (count, word) => h("span", { class: summary[count] ? count : "none" }, value(count, summary[count]), ` ${word}`);
  return h("div", { class: "counts" },
    h("span", { class: "counted" }, h("span", { class: "gauge", "aria-hidden": "true" }, part("done"), part("failed"), part("stopped"), part("running")), value("evaluations", evaluations)),
    h("span", { class: "numbers" }, number("done", "done"), number("failed", "failed"), summary.stopped > 0 && number("stopped", "ended early"), number("running", name === "interrupted" ? "unfinished" : "running")));
}

/** How many anomalies were found, as a link to them; nothing where there is none. */
export function anomaliesOf({ study, anomalies, anomalies_open: open }, source) {
  if (!anomalies) return null;
  return h("a", { class: `kind ${open ? "open" : "over"}`, href: listOf(study, source) }, h("span", { class: "sign", "aria-hidden": "true" }, open ? SIGNS.open : SIGNS.over), " ",
    h("data", { value: anomalies, "data-metric": "anomalies", "data-value": anomalies }, numberOf(anomalies)), h("data", { class: "note", value: open, "data-metric": "anomalies_open", "data-value": open }, open ? ` ${open} ${open === 1 ? "goes" : "go"} on` : " all over"));
}

/** Address of the list of a study's anomalies. */
export function listOf(study, source) {
  return source.link("anomalies") + (source.live ? `?study=${encodeURIComponent(study)}` : "");
}

/** The best value so far, with its unit where that is known, and the objective's name. */
export function best(summary, unit = "") {
  const { objective, maximized } = summary;
  if (summary.best === null) return unknown("best", summary.kind === "store" ? "a store without a study has no objective" : "no evaluation has been answered yet");
  return h("span", {}, h("data", { value: summary.best, "data-metric": "best", "data-value": summary.best, title: String(summary.best) }, `${exact(summary.best)}${unit && unit !== "1" ? ` ${unit}` : ""}`),
    h("span", { class: "caption", title: objective }, ` ${short(objective ?? "", 30)}${maximized ? ", more is better" : ""}`));
}

/** How long it has taken [s], and why that is unknown; of one that runs, until now. */
export function duration({ state: name, started, ended }) {
  if (started === null) return [null, name === "empty" ? "nothing has begun yet" : "nobody told when it started"];
  if (ended !== null) return [ended - started, ""];
  if (started < CLOCKS) return [null, "its first event bears a time of 1970: no clock told it"];
  if (name === "running") return [Math.max(0, Date.now() / 1000 - started), ""];
  return [null, "nobody told when it ended"];
}
