// What a study's summary says, as the list of studies and the head of its page show it.

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
    h("span", { class: "counted" }, h("span", { class: "gauge", "aria-hidden": "true" }, part("done"), part("failed"), part("running")), value("evaluations", evaluations)),
    h("span", { class: "numbers" }, number("done", "done"), number("failed", "failed"), number("running", name === "interrupted" ? "unfinished" : "running")));
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
