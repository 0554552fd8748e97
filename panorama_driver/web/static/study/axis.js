// One axis of the parallel coordinates: its ticks, and its range, set by mouse, finger or keys.

import { fill, svg } from "../dom.js";
import { heading, short, shown } from "./evaluations.js";

const REACH = 20; // [px] beside the axis that belong to it
const NEAR = 8; // [px] around an end of the range that take hold of it
const EDGE_ROOM = 14; // characters of a name at the edge of the sheet
const SHORT = new Intl.NumberFormat("en", { notation: "compact" });
const KEYS = { ArrowUp: 0.01, ArrowRight: 0.01, ArrowDown: -0.01, ArrowLeft: -0.01, PageUp: 0.1, PageDown: -0.1, Home: -2, End: 2 };

/** An axis at `x` between `top` and `bottom`; tells `changed(range, moving)` its new range and `turned(log)` its new scale. */
export class Axis {
  constructor(column, scale, place, { changed, turned }) {
    Object.assign(this, { column, scale, changed, ...place });
    this.band = svg("rect", { class: "band", x: -7, width: 14, rx: 2 });
    this.handles = [0, 1].map((end) => this.handle(end));
    const hold = svg("rect", { class: "hold", x: -REACH, y: this.top - NEAR, width: 2 * REACH, height: this.bottom - this.top + 2 * NEAR, on: { pointerdown: (event) => this.press(event) } });
    this.lack = svg("text", { class: "lack", y: this.foot + 16, role: "button", tabindex: 0, on: pressed(() => this.changed(this.range?.unknown ? null : { unknown: true }, false)) });
    this.node = svg("g", { class: "axis", transform: `translate(${this.x} 0)`, "data-axis": column.id },
      this.title(turned), svg("line", { y1: this.top, y2: this.bottom }), this.ticks(), this.lack, this.band, hold, this.handles);
    this.show(null);
  }

  title(turned) {
    const name = heading(this.column);
    const { log, possible } = this.scale;
    const turn = possible && svg("text", { class: "turn", y: 34, role: "button", tabindex: 0, "aria-label": `${name}: ${log ? "powers of ten, press for a straight scale" : "straight scale, press for powers of ten"}`, on: pressed(() => turned(!log)) },
      svg("title", {}, log ? "press for a straight scale" : "press for powers of ten"), log ? "log" : "linear");
    const room = this.edge ? Math.min(this.room, EDGE_ROOM) : this.room;
    return [svg("text", { class: "name", y: 18 }, svg("title", {}, this.column.unit ? `${name} [${this.column.unit}]` : name), short(name, room)), turn];
  }

  ticks() {
    const marks = distinct(this.scale.ticks.map(([, value]) => value), (value, precision) => this.mark(value, precision));
    return this.scale.ticks.map(([at], i) => svg("text", { class: this.last ? "tick last" : "tick", x: this.last ? -5 : 5, y: this.y(at) + 4 }, short(marks[i], this.room)));
  }

  /** Show how many are unknown. */
  lacking(count) {
    this.lack.style.display = count ? "" : "none";
    this.lack.setAttribute("aria-label", `${heading(this.column)}: choose the ${count} that are unknown`);
    fill(this.lack, `${count} unknown`);
  }

  /** A tick: large numbers without a unit of their own in short. */
  mark(value, precision) {
    return typeof value === "number" && Math.abs(value) >= 1e4 && !["bytes", "s", "bytes/s"].includes(this.column.unit) ? SHORT.format(value) : shown(value, this.column, { brief: true, precision });
  }

  handle(end) {
    const name = `${heading(this.column)}: ${end ? "greatest" : "least"} value chosen`;
    return svg("path", { class: "end", d: end ? "M-9 0L0 -7L9 0Z" : "M-9 0L0 7L9 0Z", role: "slider", tabindex: 0, "aria-label": name, "aria-orientation": "vertical", on: { keydown: (event) => this.key(event, end) } });
  }

  y(at) {
    return this.bottom - at * (this.bottom - this.top);
  }

  at(event) {
    const { top } = this.node.ownerSVGElement.getBoundingClientRect();
    return Math.min(1, Math.max(0, (this.bottom - (event.clientY - top)) / (this.bottom - this.top)));
  }

  /** Show a range. */
  show(range) {
    this.range = range;
    const span = this.span();
    const [low, high] = span ?? [0, 1];
    this.node.classList.toggle("ranged", Boolean(span));
    this.lack.setAttribute("aria-pressed", String(Boolean(range?.unknown)));
    this.band.setAttribute("y", this.y(high));
    this.band.setAttribute("height", Math.max(0, this.y(low) - this.y(high)));
    [low, high].forEach((at, end) => this.hold(this.handles[end], at));
  }

  hold(handle, at) {
    handle.setAttribute("transform", `translate(0 ${this.y(at)})`);
    const value = this.scale.words ? this.scale.words[Math.round(this.scale.from(at))] : this.scale.from(at);
    const told = { "aria-valuemin": this.scale.low, "aria-valuemax": this.scale.high, "aria-valuenow": this.scale.from(at), "aria-valuetext": shown(value ?? "", this.column) };
    for (const [name, text] of Object.entries(told)) handle.setAttribute(name, text);
  }

  /** The range as shares of the axis; null without one. */
  span() {
    return this.range && !this.range.unknown ? this.range.map((value) => Math.min(1, Math.max(0, this.scale.to(value)))) : null;
  }

  set(from, to, moving) {
    const [low, high] = [from, to].sort((a, b) => a - b);
    const whole = low <= 0 && high >= 1;
    this.changed(whole ? null : this.widest(low, high), moving);
  }

  /** Ends of the axis take in what lies on them, however its value was rounded. */
  widest(low, high) {
    return [low <= 0 ? this.scale.low : this.scale.from(low), high >= 1 ? this.scale.high : this.scale.from(high)];
  }

  press(event) {
    if (event.button) return;
    event.preventDefault();
    const start = this.at(event);
    const move = this.grip(start);
    const target = event.currentTarget;
    target.setPointerCapture(event.pointerId);
    let moved = false;
    this.changed(this.range, true); // until it ends nothing else may put this axis away
    const on = (next) => {
      moved ||= Math.abs(this.at(next) - start) * (this.bottom - this.top) > 3;
      if (moved) this.set(...move(this.at(next)), true);
    };
    const off = () => {
      target.removeEventListener("pointermove", on);
      if (moved) this.changed(this.range, false);
      else this.changed(null, false);
    };
    target.addEventListener("pointermove", on);
    target.addEventListener("lostpointercapture", off, { once: true });
  }

  /** What a pointer that was put down at `start` takes hold of: an end of the range, all of it, or a new one. */
  grip(start) {
    const span = this.span();
    if (!span) return (at) => [start, at];
    const [low, high] = span;
    const near = NEAR / (this.bottom - this.top);
    if (Math.abs(start - low) < near) return (at) => [at, high];
    if (Math.abs(start - high) < near) return (at) => [low, at];
    if (start < low || start > high) return (at) => [start, at];
    return (at) => {
      const by = Math.min(1 - high, Math.max(-low, at - start));
      return [low + by, high + by];
    };
  }

  key(event, end) {
    if (event.key === "Escape" || event.key === "Delete") this.changed(null, false);
    else if (event.key in KEYS) this.step(this.stride(event.key), end);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  stride(key) {
    const size = Math.abs(KEYS[key]);
    const least = this.scale.words ? 1 / Math.max(this.scale.words.length - 1, 1) : 0;
    return Math.sign(KEYS[key]) * Math.max(size, least);
  }

  step(by, end) {
    const span = this.span() ?? [0, 1];
    const other = span[1 - end];
    const at = Math.min(1, Math.max(0, span[end] + by));
    span[end] = end ? Math.max(other, at) : Math.min(other, at);
    this.set(...span, false);
  }
}

/** Values as text, with as many digits as it takes to tell them apart. */
function distinct(values, write) {
  for (let precision = 3; precision < 9; precision += 1) {
    const texts = values.map((value) => write(value, precision));
    if (new Set(texts).size === texts.length) return texts;
  }
  return values.map(String);
}

/** What a button does that is no <button>. */
function pressed(act) {
  return {
    click: act,
    keydown: (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      act();
    },
  };
}

/** What an axis looks like: one that would look the same need not be made again. */
export function look(column, { low, high, log, possible, words }, place) {
  return JSON.stringify([column.id, column.unit, low, high, log, possible, words, place]);
}
