// Parallel coordinates: a line an evaluation, across its parameters, its responses and what it cost.

import { Axis, look } from "./axis.js";
import { one, several } from "./choose.js";
import { PALETTE } from "../charts.js";
import { fill, h, panel, panels, refocused, svg } from "../dom.js";
import { heading, short, shown } from "./evaluations.js";
import { Layer, mixed } from "./lines.js";
import { colour, isDark, scale } from "./scales.js";

const HEIGHT = 440;
const TOP = 50;
const BOTTOM = HEIGHT - 48;
const FOOT = HEIGHT - 26; // where the lines of what is unknown go
const EDGE = 52;
const NARROWEST = 92;
const FEW = 300; // lines that may be wide: wide ones take a browser twenty times as long
const SHADES = 24;
const MOST_WORDS = 12; // in the legend
const UNKNOWN = SHADES;
const FAILED = SHADES + 1;
const QUIET = SHADES + 2;
const STOPPED = SHADES + 3;

/** The panel; `view` holds axes, scales and colour as the address tells them, and `changed()` keeps them there. */
export class Parallel {
  constructor(evaluations, brush, view, changed) {
    Object.assign(this, { evaluations, brush, view, changed });
    this.canvases = [h("canvas", { "aria-hidden": "true" }), h("canvas", { "aria-hidden": "true" })];
    [this.all, this.chosen] = this.canvases.map((canvas) => new Layer(canvas));
    this.drawing = svg("svg", { role: "group", "aria-label": "Axes: arrow keys move the ends of a range, Escape takes it away" });
    this.sheet = h("div", { class: "parallel" }, this.canvases, this.drawing);
    this.bar = h("div", { class: "bar" });
    this.legend = h("p", { class: "note legend" });
    this.node = panel("parallel", "Parameters, responses and performance", this.bar, h("div", { class: "scroll" }, this.sheet), this.legend);
    this.node.classList.add("wide");
    brush.listen(() => this.brushed());
    this.sized = new ResizeObserver(() => this.fit());
    this.sized.observe(this.node);
    this.choosers();
  }

  /** The evaluations have changed. */
  update() {
    this.layout();
  }

  end() {
    this.sized.disconnect();
  }

  choosers() {
    const columns = this.evaluations.columns;
    const pick = (key) => (value) => {
      this.view[key] = value;
      this.changed();
      this.layout();
    };
    fill(this.bar, several("axes", columns, this.view.axes, pick("axes")), one("colour", columns, this.view.colour, pick("colour")));
  }

  fit() {
    const width = this.sheet.parentElement.clientWidth;
    if (!width || width === this.width) return;
    this.width = width;
    this.layout();
  }

  layout() {
    if (!this.width) return;
    const columns = this.view.axes.map((id) => this.evaluations.column(id)).filter(Boolean);
    const width = Math.max(this.width, 2 * EDGE + (columns.length - 1) * NARROWEST);
    const gap = columns.length > 1 ? (width - 2 * EDGE) / (columns.length - 1) : 0;
    this.xs = columns.map((_, i) => (gap ? EDGE + i * gap : width / 2));
    this.axes = columns.map((column, i) => this.axis(column, this.xs[i], Math.floor(gap / 8) || 20, { last: i > 0 && i === columns.length - 1, edge: !i || i === columns.length - 1 }));
    this.ys = this.axes.map((axis) => this.heights(axis));
    for (const layer of [this.all, this.chosen]) layer.size(width, HEIGHT);
    Object.assign(this.sheet.style, { width: `${width}px`, height: `${HEIGHT}px` });
    Object.entries({ width, height: HEIGHT }).forEach(([name, size]) => this.drawing.setAttribute(name, size));
    this.hang(this.axes.map(({ node }) => node));
    this.colours();
    this.paint();
  }

  /** Put the axes into the drawing where they are others than before, and give the keyboard back to what had it. */
  hang(nodes) {
    if (nodes.length === this.drawing.children.length && nodes.every((node, i) => node === this.drawing.children[i])) return;
    refocused(this.drawing, () => fill(this.drawing, ...nodes));
  }

  axis(column, x, room, ends) {
    const values = this.evaluations.values(column);
    const unknown = values.reduce((count, value) => count + (value === null), 0);
    const place = { x, top: TOP, bottom: BOTTOM, foot: FOOT, room, ...ends };
    const scaled = scale(this.evaluations, column, this.view.log.get(column.id));
    const looks = look(column, scaled, place);
    const made = this.axes?.find((axis) => axis.looks === looks) ?? this.drawn(column, scaled, place);
    made.looks = looks;
    made.lacking(unknown);
    made.show(this.brush.ranges.get(column.id) ?? null);
    return made;
  }

  drawn(column, scaled, place) {
    const changed = (range, moving) => this.brush.range([[column.id, range]], moving);
    return new Axis(column, scaled, place, { changed, turned: (log) => this.turn(column, log) });
  }

  turn(column, log) {
    this.view.log.set(column.id, log);
    this.changed();
    this.layout();
  }

  /** How high each line crosses an axis. */
  heights(axis) {
    const values = this.evaluations.values(axis.column);
    return Float32Array.from(values, (value) => (value === null ? FOOT : axis.y(axis.scale.at(value))));
  }

  /** Which shade each line has, and how the shades look. */
  colours() {
    const column = this.evaluations.column(this.view.colour);
    const worse = this.worseness(column);
    const rows = this.evaluations.rows;
    this.shades = Uint8Array.from(rows, (row, line) => {
      if (row.state === "stopped") return STOPPED;
      const share = worse(line);
      if (share !== null) return Math.round(share * (SHADES - 1));
      return row.failed ? FAILED : UNKNOWN;
    });
    this.tell(column);
  }

  worseness(column) {
    if (!column) return () => null;
    const values = this.evaluations.values(column);
    this.shading = scale(this.evaluations, column, this.view.log.get(column.id));
    const { column: objective, maximized } = this.evaluations.objective;
    const turned = column === objective && maximized;
    return (line) => {
      const at = this.shading.at(values[line]);
      return at === null ? null : turned ? 1 - at : at;
    };
  }

  styles(alpha, width = 1) {
    const look = getComputedStyle(document.documentElement);
    const dark = isDark();
    const words = this.shading?.words;
    const shade = (i) => (words && words.length <= PALETTE.length ? PALETTE[Math.round((i / (SHADES - 1)) * (words.length - 1))] : colour(i / (SHADES - 1), dark));
    return [
      ...Array.from({ length: SHADES }, (_, i) => ({ colour: shade(i), alpha, width })),
      { colour: look.getPropertyValue("--soft"), alpha: alpha * 0.8, dash: [2, 3] },
      { colour: look.getPropertyValue("--failed"), alpha: alpha * 0.9, dash: [6, 3] },
      { colour: look.getPropertyValue("--soft"), alpha: Math.min(0.14, alpha * 0.35) },
      { colour: look.getPropertyValue("--anomaly"), alpha: alpha * 0.9, dash: [10, 3, 2, 3] },
    ];
  }

  brushed() {
    for (const axis of this.axes ?? []) axis.show(this.brush.ranges.get(axis.column.id) ?? null);
    this.paint(true);
  }

  /** Draw the lines; only those on top if nothing but the selection has moved. */
  paint(brushed = false) {
    if (!this.xs?.length) return this.report();
    const rows = this.evaluations.rows;
    const lines = this.shades.length; // of rows that came since there are none yet
    if (this.order?.length !== lines) this.order = mixed(lines);
    const { active } = this.brush;
    const work = { xs: this.xs, ys: this.ys, calm: !brushed };
    if (!brushed || active !== this.wasActive) this.all.paint({ ...work, order: this.order, styles: this.styles(clear(lines)), style: active ? () => QUIET : (line) => this.shades[line] });
    const top = active ? this.order.filter((line) => this.brush.has(rows[line].key)) : new Uint32Array();
    this.chosen.paint({ ...work, order: top, styles: this.styles(clear(top.length), top.length <= FEW ? 1.6 : 1), style: (line) => this.shades[line] });
    this.wasActive = active;
    this.report(top.length);
  }

  report(selected = 0) {
    const layers = [this.all, this.chosen];
    panels.parallel = {
      axes: this.view.axes, selected, lines: this.evaluations.rows.length,
      get drawn() { return layers[0].drawn; },
      get drawnSelected() { return layers[1].drawn; },
      get frames() { return layers[1].frames; },
    };
  }

  tell(column) {
    const { shading } = this;
    if (!column) return fill(this.legend);
    const { column: objective, maximized } = this.evaluations.objective;
    const better = column === objective ? `; ${maximized ? "more" : "less"} is better` : "";
    const key = shading.words ? this.wordKey(shading.words) : typeof shading.single === "number" ? shown(shading.single, column) : [
      shown(turnedLow(shading, column === objective && maximized), column), " ", h("span", { class: "ramp", style: `background: linear-gradient(90deg, ${this.stops()})` }), " ",
      shown(turnedHigh(shading, column === objective && maximized), column),
    ];
    fill(this.legend, `${heading(column)}: `, key, better, this.apart());
  }

  wordKey(words) {
    const styles = this.styles(1);
    const at = (i) => styles[Math.round((i / Math.max(words.length - 1, 1)) * (SHADES - 1))].colour;
    const every = Math.ceil(words.length / MOST_WORDS);
    const key = (word, i) => (i % every ? null : h("span", { class: "key" }, h("span", { class: "swatch", style: `background: ${at(i)}` }), ` ${short(String(word), 40)}`));
    return [words.map(key), every > 1 && `and ${words.length - Math.ceil(words.length / every)} between them`];
  }

  stops() {
    return [0, 0.25, 0.5, 0.75, 1].map((share) => colour(share, isDark())).join(", ");
  }

  apart() {
    const count = (shade) => this.shades.reduce((sum, other) => sum + (other === shade), 0);
    const [failed, unknown, stopped] = [count(FAILED), count(UNKNOWN), count(STOPPED)];
    return [stopped > 0 && [" · ", h("span", { class: "dash stopped" }), ` ended early: ${stopped}, responses are lower bounds`], failed > 0 && [" · ", h("span", { class: "dash failed" }), ` failed: ${failed}`], unknown > 0 && [" · ", h("span", { class: "dash" }), ` not known: ${unknown}`], failed + unknown > 0 && "; what is unknown crosses an axis at its foot"];
  }
}

function turnedLow(shading, turned) {
  return turned ? shading.high : shading.low;
}

function turnedHigh(shading, turned) {
  return turned ? shading.low : shading.high;
}

/** The more lines, the clearer each of them. */
function clear(count) {
  return Math.max(0.08, Math.min(0.85, 8 / Math.sqrt(count + 1)));
}
