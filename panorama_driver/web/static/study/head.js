// The head of a study's page: how it stands, what it found, and how far that is from the truth.

import { fill, h, renew } from "../dom.js";
import { counted, exact, state, terms, tile, time, unknown, value } from "../format.js";
import { short, shown } from "./evaluations.js";
import { anomaliesOf, best, counts, duration } from "./summary.js";

/** Draw it into `node`; what tells nothing else than before stays as it is. */
export function drawHead(node, evaluations, source) {
  const { summary, outdated, truth, unread } = evaluations.document;
  const row = summary.best_evaluation === null ? undefined : evaluations.row(summary.best_evaluation);
  if (!node.childElementCount) fill(node, frame());
  const [bar, reads, tiles, { children: [facts, found] }] = node.children;
  renew(bar, [summary.name, summary.state, summary.problem], () => title(summary));
  renew(reads, [unread, evaluations.rows.length], () => reading(evaluations.document));
  renew(tiles, summary, () => figures(evaluations, source));
  renew(facts, [summary.workflow, summary.site, summary.engine, summary.started, summary.ended, summary.state, outdated], () => told(evaluations.document));
  renew(found, [row, truth], () => (row ? bestOf(evaluations, row, source) : []));
  found.hidden = !row;
  ticked(node, summary);
}

function frame() {
  return [h("div", { class: "bar" }), h("div", { role: "status" }), h("div", { class: "tiles" }),
    h("div", { class: "panels heads" }, h("section", { class: "panel", "data-panel": "study" }), h("section", { class: "panel", "data-panel": "best" }))];
}

/** Of one that runs, the time goes on. */
export function ticked(node, summary) {
  if (summary.state === "running") node.querySelector("[data-metric=duration]")?.replaceWith(value("duration", ...lasted(summary)));
}

function lasted(summary) {
  const [length, why] = duration(summary);
  return [length, "s", why];
}

function title(summary) {
  return [h("h1", { title: summary.home }, short(summary.name, 120)), state(summary.state), summary.problem && h("p", { class: "problem" }, summary.problem)];
}

function figures(evaluations, source) {
  const { summary, objectives } = evaluations.document;
  const found = `best so far${objectives.length > 1 ? " in the first objective" : ""}${summary.maximized ? " (largest)" : ""}`;
  return [
    h("div", { class: "tile" }, counts(summary), h("span", { class: "caption" }, `${evaluations.word}${summary.evaluations === 1 ? "" : "s"}`)),
    summary.kind === "study" && h("div", { class: "tile" }, h("span", { class: "figure" }, best(summary, evaluations.objective.column?.unit)), h("span", { class: "caption" }, found)),
    tile("duration", "duration", ...lasted(summary)),
    summary.anomalies > 0 && h("div", { class: "tile" }, h("span", { class: "figure found" }, anomaliesOf(summary, source)), h("span", { class: "caption" }, "found")),
  ];
}

function told({ summary, outdated }) {
  const defined = (name) => summary.kind === "study" && [name, value(name, summary[name], "", "study.yml cannot be read")];
  const [, why] = duration(summary);
  return [
    terms([
      defined("workflow"), defined("site"), defined("engine"), ["started", time(summary.started, "started", why)],
      summary.state !== "running" && ["ended", time(summary.ended, "ended", why)],
      [summary.kind === "store" ? "store" : "directory", h("span", { class: "mono" }, short(summary.home, 200))],
    ]),
    outdated > 0 && h("p", { class: "note" }, `${counted(outdated, "evaluation")} of an earlier definition of the study left out.`),
  ];
}

/** How much is still being read. */
function reading({ unread, evaluations }) {
  if (!unread) return [];
  const all = evaluations.length;
  return h("p", { class: "note reading" }, h("progress", { max: all, value: all - unread, "aria-label": "read" }), ` The numbers of ${counted(unread, "workflow run")} are still being read.`);
}

/** The best evaluation with its values, and the truth beside them where it is known. */
function bestOf(evaluations, row, source) {
  const { summary, truth, objectives } = evaluations.document;
  const name = short(row.eval_id, 40);
  const link = row.wf_uuid ? h("a", { href: source.link("studies", summary.study, "workflows", row.wf_uuid) }, name) : name;
  const columns = evaluations.columns.filter(({ kind }) => kind === "parameter" || kind === "response");
  const head = objectives.length > 1 ? `Best in ${short(summary.objective ?? "", 40)}, the first of ${objectives.length} objectives: ` : "Best evaluation: ";
  return h("div", { "data-evaluation": row.key }, h("h2", {}, head, link),
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
