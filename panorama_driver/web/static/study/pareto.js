// The Pareto front of a study with several objectives.

import { chart, plain } from "../charts.js";
import { one } from "./choose.js";
import { fill, h, renew } from "../dom.js";
import { clicked, dots, thinned, tones } from "./points.js";
import { heading, short, shown, titled } from "./evaluations.js";
import { unknown } from "../format.js";
import { decadesApart } from "./scales.js";

const MOST = 2000;
const MOST_CHOSEN = 800;
const MOST_ROWS = 300;

/** The panel; none for a study with one objective. */
export class Pareto {
  constructor(evaluations, brush, { open, source }) {
    Object.assign(this, { evaluations, brush, source, look: {} });
    this.objectives = evaluations.document.objectives.map(({ name }) => evaluations.response(name)).filter(Boolean);
    [this.x, this.y] = this.objectives.map(({ id }) => id);
    this.node = chart("front", "Pareto front", this.traces(), {
      reason: "no evaluation has all objectives yet", layout: this.look, on: { plotly_click: (event) => open(evaluations.row(clicked(event))) },
    });
    this.bar = h("div", { class: "bar" });
    this.said = h("p", { class: "note" });
    this.list = h("div", { class: "scroll front" });
    this.node.querySelector("h2").after(this.said, this.bar);
    this.node.append(this.list);
    if (this.objectives.length > 2) fill(this.bar, one("x", this.objectives, this.x, this.pick("x")), one("y", this.objectives, this.y, this.pick("y")));
    this.table();
  }

  pick(key) {
    return (id) => {
      this[key] = id;
      this.node.update(this.traces());
    };
  }

  update() {
    this.table();
    return this.node.update(this.traces());
  }

  get front() {
    return this.evaluations.document.front.map((key) => this.evaluations.row(key)).filter(Boolean);
  }

  traces() {
    const [x, y] = [this.x, this.y].map((id) => this.evaluations.column(id));
    const at = (row) => ({ row, x: this.evaluations.value(row, x), y: this.evaluations.value(row, y) });
    const known = (point) => typeof point.x === "number" && typeof point.y === "number";
    const all = this.evaluations.rows.map(at).filter(known);
    const bound = ({ row }) => this.evaluations.bound(row, x);
    const [every, stopped] = [all.filter((point) => !bound(point)), all.filter(bound)];
    const front = this.front.map(at).filter(known);
    Object.assign(this.look, { hovermode: "closest", uirevision: `${this.x} ${this.y}`, height: 320, xaxis: this.axis(x), yaxis: this.axis(y) });
    if (!all.length) return [];
    const tone = tones();
    const chosen = this.brush.active ? all.filter(({ row }) => this.brush.has(row.key)) : [];
    return [
      { ...dots(thinned(every, MOST)), name: "evaluation", marker: { color: tone.all, size: 6, opacity: 0.45 } },
      { ...dots(front), name: "Pareto front", mode: this.objectives.length === 2 ? "lines+markers" : "markers", line: { color: tone.failed, width: 1.5, shape: "hv" }, marker: { color: tone.failed, symbol: "star", size: 11 } },
      stopped.length && { ...dots(thinned(stopped, MOST)), name: "ended early, at least", marker: { color: tone.stopped, symbol: "triangle-up", size: 8 } },
      chosen.length && { ...dots(thinned(chosen, MOST_CHOSEN)), name: "chosen", marker: { color: tone.chosen, size: 8, line: { width: 1, color: tone.edge } } },
    ].filter(Boolean);
  }

  axis(column) {
    return { title: { text: plain(titled(column)) + (this.maximized(column) ? " (more is better)" : "") }, rangemode: "normal", type: decadesApart(this.evaluations.values(column)) ? "log" : "linear" };
  }

  maximized(column) {
    return this.evaluations.document.objectives.some(({ name, maximized }) => name === column.name && maximized);
  }

  table() {
    const { front } = this;
    const columns = [...this.evaluations.columns.filter(({ kind }) => kind === "parameter"), ...this.objectives];
    const some = front.slice(0, MOST_ROWS);
    fill(this.said, `${front.length} of ${this.evaluations.rows.length} evaluations: none is as good in every objective and better in one.`, some.length < front.length ? ` The first ${some.length} are in the table.` : "");
    const head = h("tr", {}, [this.evaluations.word, ...columns.map(heading)].map((name) => h("th", { scope: "col", title: name }, short(name, 30))));
    renew(this.list, some, () => h("table", {}, h("thead", {}, head), h("tbody", {}, some.map((row) => this.line(row, columns)))));
  }

  line(row, columns) {
    const { study } = this.evaluations.document.summary;
    const name = short(row.eval_id, 28);
    return h("tr", { "data-evaluation": row.key }, h("td", {}, row.wf_uuid ? h("a", { href: this.source.link("studies", study, "workflows", row.wf_uuid) }, name) : name),
      columns.map((column) => h("td", {}, this.cell(row, column))));
  }

  cell(row, column) {
    const known = this.evaluations.value(row, column);
    if (known === null) return unknown(column.name, this.evaluations.reason(row, column));
    return h("data", { value: known, "data-metric": column.name, "data-value": known, title: known }, short(shown(known, column), 34));
  }
}
