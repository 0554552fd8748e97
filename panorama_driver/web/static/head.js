// The head of a study's page: how it stands, what it found, and how far that is from the truth.

import { fill, h } from "./dom.js";
import { short, shown } from "./evaluations.js";
import { exact, state, terms, tile, time, unknown, value } from "./format.js";
import { best, counts, duration } from "./summary.js";
import { unitOf } from "./units.js";

/** Draw it into `node`. */
export function drawHead(node, evaluations, source) {
  const { summary, outdated } = evaluations.document;
  const [length, why] = duration(summary);
  fill(node,
    h("div", { class: "bar" }, h("h1", { title: summary.home }, short(summary.name, 120)), state(summary.state), summary.problem && h("p", { class: "problem" }, summary.problem)),
    reading(evaluations.document),
    h("div", { class: "tiles" },
      h("div", { class: "tile" }, counts(summary), h("span", { class: "caption" }, unitOf(summary, summary.evaluations))),
      summary.kind === "study" && h("div", { class: "tile" }, h("span", { class: "figure" }, best(summary)), h("span", { class: "caption" }, `best so far${summary.maximized ? " (largest)" : ""}`)),
      tile("duration", "duration", length, "s", why)),
    h("div", { class: "panels heads" },
      h("section", { class: "panel", "data-panel": "study" }, terms([
        summary.kind === "study" && ["workflow", value("workflow", summary.workflow, "", "study.yml cannot be read")],
        summary.kind === "study" && ["site", value("site", summary.site, "", "study.yml cannot be read")],
        summary.kind === "study" && ["engine", value("engine", summary.engine, "", "study.yml cannot be read")],
        ["started", time(summary.started, "started", why)],
        summary.state !== "running" && ["ended", time(summary.ended, "ended", why)],
        [summary.kind === "store" ? "store" : "directory", h("span", { class: "mono" }, short(summary.home, 200))],
      ]), outdated > 0 && h("p", { class: "note" }, `${outdated} evaluations of an earlier definition of the study are left out.`)),
      found(evaluations, source)));
}

/** How much is still being read. */
function reading({ unread, evaluations }) {
  if (!unread) return null;
  const all = evaluations.length;
  return h("p", { class: "note reading", role: "status" }, h("progress", { max: all, value: all - unread, "aria-label": "read" }), ` The numbers of ${unread} workflows are still being read.`);
}

/** The best evaluation with its values, and the truth beside them where it is known. */
function found(evaluations, source) {
  const { summary, truth } = evaluations.document;
  const row = summary.best_evaluation === null ? undefined : evaluations.row(summary.best_evaluation);
  if (!row) return null;
  const name = short(row.eval_id, 40);
  const link = row.wf_uuid ? h("a", { href: source.link("studies", summary.study, "workflows", row.wf_uuid) }, name) : name;
  const columns = evaluations.columns.filter(({ kind }) => kind === "parameter" || kind === "response");
  return h("section", { class: "panel", "data-panel": "best", "data-evaluation": row.key }, h("h2", {}, "Best evaluation: ", link),
    terms(columns.map((column) => [h("span", { title: column.name }, short(column.name, 40)), valueOf(evaluations, row, column), against(evaluations, row, column, truth)])));
}

function valueOf(evaluations, row, column) {
  const known = evaluations.value(row, column);
  if (known === null) return unknown(column.name, evaluations.reason(row, column));
  return h("data", { value: known, "data-metric": column.name, "data-value": known, title: known }, short(shown(known, column), 60));
}

function against(evaluations, row, column, truth) {
  if (column.kind !== "parameter" || !Object.hasOwn(truth, column.name)) return null;
  const real = truth[column.name];
  const known = evaluations.value(row, column);
  const told = [" ", h("span", { class: "caption" }, "truth ", h("data", { value: real, "data-metric": `truth ${column.name}`, "data-value": real }, short(shown(real, column), 40)), distance(known, real, column))];
  return h("span", {}, told);
}

function distance(known, real, column) {
  if (typeof known !== "number" || typeof real !== "number") return known === real ? ", the same" : "";
  const off = Math.abs(known - real);
  return [", off by ", h("data", { value: off, "data-metric": `distance ${column.name}`, "data-value": off }, exact(off))];
}
