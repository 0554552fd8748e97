// The Gantt chart of a workflow: when each attempt waited and ran. Time can be brushed, zoomed and walked through by keys.

import { fill, h, panels, svg } from "../dom.js";
import { concerns } from "../anomalies/spans.js";
import { barHint, barShape, hatch, keyOf, legend, marksOf } from "./bars.js";
import { counted, local, seconds, utc } from "../format.js";
import { begin, blocks, extent, ticks } from "./lanes.js";
import { hide, show } from "../tip.js";

const TALL = { few: 22, many: 15, packed: 7, head: 22 }; // [px] of a row
const FEW = 40;
const AXIS = 24;
const STEP = 1.6;
const SILENT = 3600; // [s] of silence after which a run is not taken to go on
const ABOUT = "Attempts over time. Arrows go from one to the next, Enter opens the job, + and - zoom, 0 shows all.";

/** The drawing; `link(job_id, attempt)` gives the address of a job's page. */
export class Gantt {
  constructor(link, live) {
    Object.assign(this, { link, live, jobs: [], anomalies: [], window: null, apart: new Set(), current: null, shapes: new Map() });
    this.axis = svg("svg", { class: "axis", "aria-hidden": "true", height: AXIS });
    this.body = svg("svg", { class: "gantt-rows", role: "group", "aria-label": ABOUT });
    this.labels = h("div", { class: "labels" });
    this.view = h("div", { class: "gantt-view", on: { wheel: (event) => this.wheel(event), keydown: (event) => this.pressed(event) } }, h("div", { class: "gantt-axis" }, h("div", { class: "labels" }), this.axis), h("div", { class: "gantt-body" }, this.labels, this.body));
    this.note = h("p", { class: "note" });
    this.element = h("div", { class: "drawing" }, this.tools(), this.view, this.note, legend());
    this.listen();
  }

  /** Show the attempts of these jobs; `run` has the start, end and state of the workflow, `anomalies` are marked. */
  update(jobs, run, anomalies = []) {
    Object.assign(this, { jobs, run, anomalies });
    this.draw();
    clearInterval(this.timer);
    if (this.grows()) this.timer = setInterval(() => this.held || this.draw(), 1000);
  }

  end() {
    clearInterval(this.timer);
  }

  /** Whether something runs, and was heard of not long ago. */
  grows() {
    return this.live && this.run.state === "running" && this.jobs.some((job) => job.attempts.some((one) => one.end === null)) && Date.now() / 1000 - this.heard() < SILENT + this.heard() - this.zero();
  }

  /** The last moment that is known of. */
  heard() {
    const told = this.jobs.reduce((last, job) => job.attempts.reduce((late, one) => Math.max(late, one.submit ?? late, one.start ?? late, one.end ?? late), last), this.run.start ?? 0);
    return this.run.end === null ? this.anomalies.reduce((late, { anomaly, over }) => Math.max(late, anomaly.found, over ?? late), told) : told;
  }

  zero() {
    return this.run.start ?? Math.min(...this.jobs.flatMap((job) => job.attempts.map(begin)), this.heard());
  }

  draw() {
    const now = this.grows() ? Math.max(this.heard(), Date.now() / 1000) : this.heard();
    this.blocks = blocks(this.jobs, { now, apart: this.apart });
    const [low, high] = extent(this.blocks, [this.zero(), this.zero() + 1]);
    this.whole = [Math.min(low, this.run.start ?? low), Math.max(high, this.run.end ?? high)];
    const [from, to] = this.window ?? this.whole;
    this.wide = Math.max(120, this.body.parentNode.clientWidth - this.labels.offsetWidth || 700);
    this.at = (moment) => ((moment - from) / (to - from)) * this.wide;
    this.moment = (x) => from + (x / this.wide) * (to - from);
    this.view.hidden = !this.blocks.some(({ rows }) => rows.length);
    this.ruled(from, to);
    this.rows(from, to);
    this.publish();
  }

  ruled(from, to) {
    const zero = this.zero();
    const marks = ticks(from - zero, to - zero, Math.max(2, this.wide / 95));
    this.marks = marks.map((mark) => this.at(mark + zero));
    this.axis.setAttribute("width", this.wide);
    fill(this.axis, ...marks.map((mark, i) => svg("g", { transform: `translate(${this.marks[i]} 0)` }, svg("line", { y1: AXIS - 5, y2: AXIS }), svg("text", { y: AXIS - 9, "text-anchor": this.marks[i] < 24 ? "start" : this.marks[i] > this.wide - 30 ? "end" : "middle" }, spoken(mark)))));
  }

  rows(from, to) {
    const kept = this.body.contains(document.activeElement) ? this.current : null;
    const scrolled = this.view.scrollTop;
    const shapes = [];
    const labels = [];
    let y = 0;
    for (const block of this.blocks) {
      const tall = block.packed ? TALL.packed : block.rows.length > FEW ? TALL.many : TALL.few;
      labels.push(...this.labelled(block, tall));
      if (block.name !== null) y += TALL.head;
      for (const row of block.rows) {
        for (const bar of row) if ((bar.end ?? bar.start ?? bar.submit) >= from && begin(bar) <= to) shapes.push(barShape(bar, { ...this, y, tall, anomalies: this.of(bar) }));
        y += tall;
      }
    }
    this.body.setAttribute("width", this.wide);
    this.body.setAttribute("height", Math.max(y, 10));
    fill(this.labels, ...labels);
    this.cursor = svg("line", { class: "cursor", y2: y, x1: -9, x2: -9 });
    this.brush = svg("rect", { class: "brush", height: y, width: 0 });
    fill(this.body, hatch(), this.marks.map((x) => svg("line", { class: "rule", x1: x, x2: x, y2: y })), shapes, this.cursor, this.brush);
    this.view.scrollTop = scrolled;
    this.settle(shapes, kept);
  }

  /** What was found of an attempt. */
  of({ job, attempt }) {
    return this.anomalies.filter((row) => concerns(row, job.job_id, attempt));
  }

  settle(shapes, kept) {
    this.bars = new Map(this.blocks.flatMap(({ rows }) => rows.flat()).map((bar) => [keyOf(bar), bar]));
    this.shapes = new Map(shapes.map((shape) => [shape.dataset.key, shape]));
    this.reachable(this.shapes.has(this.current) ? this.current : shapes[0]?.dataset.key);
    if (kept) this.shapes.get(kept)?.focus({ preventScroll: true });
  }

  labelled(block, tall) {
    const head = block.name === null ? [] : [this.head(block)];
    if (block.packed) return [...head, h("div", { style: `height:${block.rows.length * tall}px` })];
    const name = ([{ job }]) => h("a", { href: this.link(job.job_id), style: `height:${tall}px;line-height:${tall}px`, title: job.job_id, tabindex: -1, "data-job": job.job_id }, job.job_id);
    return [...head, ...block.rows.map(name)];
  }

  head(block) {
    const turn = () => {
      if (!this.apart.delete(block.name)) this.apart.add(block.name);
      this.draw();
    };
    return h("button", { type: "button", class: "head", style: `height:${TALL.head}px`, "aria-expanded": String(!block.packed), title: `${block.name}: ${block.packed ? "show a row a job" : "let jobs share rows"}`, on: { click: turn } }, `${block.packed ? "▸" : "▾"} ${block.name} × ${block.jobs}${block.waiting ? `, ${block.waiting} queued` : ""}`);
  }

  publish() {
    const bars = [...this.bars.values()];
    panels.gantt = {
      attempts: bars.map(({ job, attempt, open }) => ({ job: job.job_id, attempt: attempt.attempt, state: attempt.state, submit: attempt.submit, start: attempt.start, end: attempt.end, open })),
      anomalies: bars.flatMap((bar) => marksOf(bar, this.of(bar)).map(({ row, since, to }) => ({ id: row.anomaly_id, kind: row.anomaly.kind, job: bar.job.job_id, attempt: bar.attempt.attempt, since, to, left: this.at(since), right: this.at(to) }))),
      rows: this.blocks.reduce((sum, block) => sum + block.rows.length, 0), drawn: this.shapes.size, window: this.window ?? this.whole, zero: this.zero(),
    };
    fill(this.note, ...this.notes(bars));
  }

  notes(bars) {
    const waiting = this.jobs.filter((job) => !job.attempts.length).length;
    const silent = this.run.state === "running" && this.live && bars.some(({ open }) => open) && !this.grows();
    return [
      `${counted(bars.length, "attempt")} of ${counted(this.jobs.length - waiting, "job")}, time since the start of the run.`, waiting ? ` Not submitted: ${waiting}.` : "",
      this.blocks.some(({ packed }) => packed) ? " Alike jobs share rows, and what they waited shows as far as there is room: press a name for a row a job." : "",
      silent ? ` Nothing was heard since ${local(this.heard())}: what ran then is drawn until then.` : "", this.view.hidden ? "" : " Drag to zoom in.",
    ];
  }

  // --- what is chosen ---

  listen() {
    const at = (event) => event.target.closest?.("[data-key]");
    this.body.addEventListener("pointermove", (event) => this.hover(event, at(event)));
    this.body.addEventListener("pointerleave", () => this.left());
    this.body.addEventListener("focusin", (event) => at(event) && this.entered(at(event)));
    this.body.addEventListener("focusout", () => hide());
    this.body.addEventListener("click", (event) => this.brushed && event.preventDefault());
    this.body.addEventListener("dblclick", () => this.show(null));
    this.body.addEventListener("pointerdown", (event) => this.select(event));
    this.body.addEventListener("dragstart", (event) => event.preventDefault());
    let wide = 0;
    new ResizeObserver(() => this.run && wide !== (wide = this.view.clientWidth) && this.draw()).observe(this.view);
  }

  x(event) {
    return event.clientX - this.body.getBoundingClientRect().left;
  }

  hover(event, shape) {
    const x = this.x(event);
    this.cursor.setAttribute("x1", x);
    this.cursor.setAttribute("x2", x);
    show({ x: event.clientX, y: event.clientY + 8 }, shape ? this.told(shape) : null, h("div", { class: "note" }, this.clock(this.moment(x))));
  }

  left() {
    this.cursor.setAttribute("x1", -9);
    this.cursor.setAttribute("x2", -9);
    hide();
  }

  entered(shape) {
    this.reachable(shape.dataset.key);
    if (shape.matches(":focus-visible")) show(shape, this.told(shape));
  }

  told(shape) {
    const bar = this.bars.get(shape.dataset.key);
    return barHint(bar, this.zero(), this.of(bar));
  }

  clock(moment) {
    return `${seconds(moment - this.zero())} after the start · ${local(moment)} · ${utc(moment)}`;
  }

  reachable(key) {
    this.shapes.get(this.current)?.setAttribute("tabindex", "-1");
    this.current = key;
    this.shapes.get(key)?.setAttribute("tabindex", "0");
  }

  pressed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.body.contains(event.target)) return;
    const [from, to] = this.window ?? this.whole;
    const here = Math.max(from, Math.min(to, begin(this.bars.get(this.current))));
    const act = {
      ArrowRight: () => this.step(0, 1), ArrowLeft: () => this.step(0, -1), ArrowDown: () => this.step(1, 0), ArrowUp: () => this.step(-1, 0),
      "+": () => this.zoom(STEP, here), "=": () => this.zoom(STEP, here), "-": () => this.zoom(1 / STEP, here), 0: () => this.show(null),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  /** The next bar in the row, or the nearest in time of the next row with one in sight. */
  step(down, right) {
    const seen = (bar) => this.shapes.has(keyOf(bar));
    const rows = this.blocks.flatMap((block) => block.rows).map((row) => row.filter(seen)).filter((row) => row.length);
    const here = this.bars.get(this.current);
    const place = rows.findIndex((row) => row.includes(here));
    if (place < 0) return;
    const near = (bar) => Math.abs(begin(bar) - begin(here));
    const next = down ? rows[place + down]?.toSorted((a, b) => near(a) - near(b))[0] : rows[place][rows[place].indexOf(here) + right];
    const shape = next && this.shapes.get(keyOf(next));
    shape?.focus({ preventScroll: true });
    shape?.scrollIntoView({ block: "nearest" });
  }

  // --- which time ---

  /** Show the time between two moments [s since 1970], or all. */
  show(window) {
    this.window = window && window[1] - window[0] < this.whole[1] - this.whole[0] ? [Math.max(window[0], this.whole[0]), Math.min(window[1], this.whole[1])] : null;
    this.draw();
  }

  zoom(factor, around = null) {
    const [from, to] = this.window ?? this.whole;
    const middle = around ?? (from + to) / 2;
    const least = Math.max(1e-3, (to - from) / factor);
    const left = middle - ((middle - from) / (to - from)) * least;
    this.show([left, left + least]);
  }

  move(share) {
    const [from, to] = this.window ?? this.whole;
    const by = Math.max(this.whole[0] - from, Math.min(this.whole[1] - to, share * (to - from)));
    this.show([from + by, to + by]);
  }

  wheel(event) {
    if (!event.ctrlKey) return;
    event.preventDefault();
    this.zoom(2 ** (-event.deltaY / 200), this.moment(this.x(event)));
  }

  select(start) {
    this.brushed = false;
    if (start.button) return;
    this.held = true;
    const first = this.x(start);
    const move = (event) => {
      const [left, right] = [Math.min(first, this.x(event)), Math.max(first, this.x(event))];
      if (right - left > 5) this.brushed = true;
      if (!this.brushed) return;
      this.brush.setAttribute("x", left);
      this.brush.setAttribute("width", right - left);
    };
    const end = (event) => {
      for (const name of ["pointermove", "pointerup", "pointercancel"]) document.removeEventListener(name, name === "pointermove" ? move : end);
      const span = [Math.min(first, this.x(event)), Math.max(first, this.x(event))];
      this.brush.setAttribute("width", 0);
      this.held = false;
      if (this.brushed && event.type === "pointerup") this.show(span.map((x) => this.moment(Math.max(0, Math.min(this.wide, x)))));
    };
    document.addEventListener("pointermove", move);
    document.addEventListener("pointerup", end);
    document.addEventListener("pointercancel", end);
  }

  tools() {
    const button = (text, title, act) => h("button", { type: "button", title, "aria-label": title, on: { click: act } }, text);
    return h("div", { class: "bar" }, button("−", "Show more time", () => this.zoom(1 / STEP)), button("+", "Show less time", () => this.zoom(STEP)),
      button("◀", "Earlier", () => this.move(-0.5)), button("▶", "Later", () => this.move(0.5)), button("all", "Show all of the time", () => this.show(null)));
  }
}

/** A round number of seconds, minutes or hours. */
function spoken(mark) {
  for (const [size, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) if (mark && mark % size === 0) return `${mark / size} ${unit}`;
  return seconds(mark);
}
