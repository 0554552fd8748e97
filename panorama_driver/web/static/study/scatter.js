// Any two columns against each other.

import { chart, plain } from "../charts.js";
import { one } from "./choose.js";
import { fill, h } from "../dom.js";
import { clicked, dots, thinned, tones } from "./points.js";
import { short, titled } from "./evaluations.js";
import { scale } from "./scales.js";

const MOST = 3000;
const MOST_CHOSEN = 800;
const WORDS = 12;

/** The panel; `view` holds x and y, `changed()` keeps them in the address, `open(row)` goes to a workflow. */
export class Scatter {
  constructor(evaluations, brush, view, { changed, open }) {
    Object.assign(this, { evaluations, brush, view, changed, look: {} });
    this.bar = h("div", { class: "bar" });
    this.said = h("p", { class: "note", role: "status" });
    this.node = chart("scatter", "Two columns against each other", this.traces(), {
      reason: "no evaluation has both", layout: this.look,
      on: { plotly_click: (event) => open(evaluations.row(clicked(event))), plotly_selected: (event) => this.boxed(event), plotly_deselect: () => this.range([null, null]) },
    });
    this.node.querySelector("h2").after(this.bar, this.said);
    this.node.classList.toggle("wide", evaluations.document.summary.kind === "store");
    this.choosers();
  }

  choosers() {
    const columns = this.evaluations.columns;
    const pick = (key) => (id) => {
      if (this.ranged()) this.range([null, null]);
      this.view[key] = id;
      this.changed();
      this.update();
    };
    fill(this.bar, one("x", columns, this.view.x, pick("x")), one("y", columns, this.view.y, pick("y")));
  }

  update() {
    return this.node.update(this.traces());
  }

  get columns() {
    return [this.view.x, this.view.y].map((id) => this.evaluations.column(id));
  }

  traces() {
    if (this.columns.includes(undefined)) return [];
    const points = this.points();
    const some = thinned(points, MOST);
    const chosen = this.brush.active ? thinned(points.filter(({ row }) => this.brush.has(row.key)), MOST_CHOSEN) : [];
    this.tell(points.length, some.length);
    this.layout();
    if (!points.length) return [];
    const tone = tones();
    const dim = this.brush.active ? 0.25 : 0.8;
    const [failed, stopped] = [(row) => row.failed, (row) => this.columns.some((column) => this.evaluations.bound(row, column))];
    return [
      { ...dots(some.filter(({ row }) => !failed(row) && !stopped(row))), name: this.evaluations.word, marker: { color: tone.all, size: 6, opacity: dim } },
      { ...dots(some.filter(({ row }) => failed(row))), name: "failed", marker: { color: tone.failed, symbol: "x", size: 7, opacity: dim } },
      { ...dots(some.filter(({ row }) => stopped(row))), name: "ended early, at least", marker: { color: tone.stopped, symbol: "triangle-up", size: 8, opacity: dim } },
      { ...dots(chosen), name: "chosen", marker: { color: tone.chosen, size: 8, line: { width: 1, color: tone.edge } } },
    ].filter(({ x }) => x.length);
  }

  points() {
    this.scales = this.columns.map((column) => scale(this.evaluations, column));
    const [x, y] = this.columns.map((column, i) => this.places(column, this.scales[i]));
    return this.evaluations.rows.map((row, i) => ({ row, x: x[i], y: y[i] })).filter((point) => point.x !== null && point.y !== null);
  }

  /** Words stand at their places, numbers at themselves. */
  places(column, { words }) {
    const values = this.evaluations.values(column);
    if (!words) return values;
    const order = this.evaluations.order(column);
    return values.map((value) => (value === null ? null : order.get(value)));
  }

  tell(all, some) {
    const lacking = this.evaluations.rows.length - all;
    const parts = [some < all && `${some} of ${all} shown, those at the edges among them`, lacking > 0 && `${lacking} not shown: one of the two is unknown`];
    if (this.said) fill(this.said, parts.filter(Boolean).join("; "));
  }

  layout() {
    const [xaxis, yaxis] = this.columns.map((column, i) => axis(column, this.scales[i]));
    Object.assign(this.look, { hovermode: "closest", uirevision: `${this.view.x} ${this.view.y}`, dragmode: "select", height: 320, xaxis, yaxis });
  }

  ranged() {
    return [this.view.x, this.view.y].some((id) => this.brush.ranges.has(id));
  }

  /** A box drawn on the chart gives both columns their range. */
  boxed(event) {
    const { x, y } = event?.range ?? {};
    if (!x || !y) return;
    this.range([x, y].map((ends) => ends.map(Number).sort((a, b) => a - b)));
  }

  range([x, y]) {
    this.brush.range([[this.view.x, x], [this.view.y, y]]);
  }
}

function axis(column, { log, words }) {
  const title = { text: plain(titled(column)) };
  if (!words) return { title, rangemode: "normal", type: log ? "log" : "linear" };
  const every = Math.ceil(words.length / WORDS);
  const shown = words.map((word, place) => [place, plain(short(String(word), 20))]).filter(([place]) => place % every === 0);
  return { title, type: "linear", tickvals: shown.map(([place]) => place), ticktext: shown.map(([, word]) => word), range: [-0.5, words.length - 0.5] };
}
