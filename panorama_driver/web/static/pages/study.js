// The page of a study: its evaluations in several pictures and a table, with one selection for all of them.

import { queryOf, viewOf } from "../study/address.js";
import { Brush } from "../study/brush.js";
import { fill, h } from "../dom.js";
import { Evaluations } from "../study/evaluations.js";
import { Found } from "../study/found.js";
import { drawHead, ticked } from "../study/head.js";
import { Parallel } from "../study/parallel.js";
import { Pareto } from "../study/pareto.js";
import { Scatter } from "../study/scatter.js";
import { Shares } from "../study/shares.js";
import { Table } from "../study/table.js";
import { trend } from "../study/trend.js";

const HINT = "None chosen: draw along an axis, draw a box, or tick rows, and every picture shows these.";
const SETTLED = 150; // [ms] after the last change until the charts are drawn anew
const MANY = 2000; // evaluations from which live changes are shown once in a while
const PATIENCE = 1000; // [ms] in between
const ADDRESS = 300; // [ms] browsers forbid writing the address more often than they like

/** Show a study; gives what ends it. */
export async function show(view, place, source) {
  const page = new Study(view, place, source, await source.study(place.study));
  const stop = source.follow([`study/${place.study}`], (topic, data) => page.heard(topic, data));
  return () => {
    stop();
    page.end();
  };
}

class Study {
  constructor(view, place, source, document) {
    Object.assign(this, { view, name: place.study, source, timers: new Map() });
    this.evaluations = new Evaluations(document);
    this.brush = new Brush(this.evaluations);
    this.shown = viewOf(place.query ?? new URLSearchParams(), this.evaluations);
    this.head = h("div", { class: "head" });
    this.chosen = h("div", { class: "chosen", role: "status" });
    this.trouble = h("p", { class: "problem", role: "alert" });
    this.found = new Found(this.name, source);
    this.sheet = h("div", { class: "panels" });
    this.clock = setInterval(() => ticked(this.head, this.evaluations.document.summary), 1000);
    view.dataset.study = place.study;
    fill(view, this.trouble, this.head, this.chosen, this.sheet, h("div", { class: "panels below" }, this.found.node));
    this.found.update(document.summary);
    this.themed = () => {
      this.panels.parallel?.update();
      this.charts();
    };
    globalThis.document.addEventListener("panorama-theme", this.themed);
    view.addEventListener("keydown", (event) => event.key === "Escape" && !event.defaultPrevented && this.brush.active && this.brush.clear());
    this.draw();
    this.brush.range(this.shown.ranges);
  }

  end() {
    clearInterval(this.clock);
    for (const timer of this.timers.values()) clearTimeout(timer);
    globalThis.document.removeEventListener("panorama-theme", this.themed);
    this.turn = null;
    this.found.end();
    this.finish();
  }

  finish() {
    this.panels?.parallel?.end();
    this.panels?.table?.end();
  }

  /** All panels, made anew: at first, and when the columns have changed. */
  draw() {
    this.finish();
    this.brush.heard.clear();
    this.brush.listen((moving) => this.brushed(moving));
    drawHead(this.head, this.evaluations, this.source);
    this.panels = this.evaluations.rows.length ? this.made() : {};
    fill(this.sheet, Object.values(this.panels).map(({ node }) => node), !this.evaluations.rows.length && this.nothing());
  }

  made() {
    const { evaluations, brush, shown, source } = this;
    const open = (row) => this.open(row);
    const changed = () => this.remember();
    const study = evaluations.document.summary.kind === "study";
    return {
      parallel: new Parallel(evaluations, brush, shown, changed),
      ...(study ? { objective: trend(evaluations, brush, open) } : {}),
      scatter: new Scatter(evaluations, brush, shown, { changed, open }),
      ...(evaluations.document.objectives.length > 1 ? { front: new Pareto(evaluations, brush, { open, source }) } : {}),
      times: new Shares(evaluations, brush, source, evaluations.document.objectives.length < 2),
      table: new Table(evaluations, brush, shown, { changed, source }),
    };
  }

  nothing() {
    const { summary } = this.evaluations.document;
    const how = summary.state === "unreadable" ? "It cannot be read, for the reason above." : "No evaluation has begun yet: this page shows them as they come.";
    return h("section", { class: "panel wide" }, h("p", { class: "nothing" }, how));
  }

  /** Go where the link of a row leads. */
  open(row) {
    if (!row?.wf_uuid) return;
    const link = h("a", { href: this.source.link("studies", this.name, "workflows", row.wf_uuid), hidden: true });
    this.view.append(link);
    link.click();
    link.remove();
  }

  brushed(moving) {
    const { active, size } = this.brush;
    const all = this.evaluations.rows.length;
    this.chosen.classList.toggle("some", active);
    this.chosen.hidden = !all;
    fill(this.chosen, active ? `${size} of ${all} chosen ` : HINT, active && h("button", { type: "button", on: { click: () => this.brush.clear() } }, "choose none"));
    if (moving) return;
    this.remember();
    this.later("charts", SETTLED, () => this.charts());
  }

  /** One after the other, so that the page answers in between. */
  async charts() {
    const turn = (this.turn = (this.turn ?? 0) + 1);
    for (const name of ["times", "objective", "scatter", "front"]) {
      await this.panels[name]?.update();
      await new Promise((resolve) => setTimeout(resolve, 0));
      if (turn !== this.turn) return;
    }
  }

  /** What came live; new columns, or a gap in the stream, and all is read again. */
  async heard(topic, data) {
    if (topic === null || data.anomalies.length || data.actions.length) this.found.update(data?.summary ?? this.evaluations.document.summary);
    if (topic === null || (data.evaluations.length && !this.evaluations.rows.length) || !this.evaluations.merge(data)) return this.again();
    if (!this.timers.has("live")) this.later("live", this.evaluations.rows.length > MANY ? PATIENCE : SETTLED, () => this.undisturbed("live", () => this.refresh()));
  }

  /** Do it once nobody draws a range. */
  undisturbed(name, act) {
    if (this.brush.moving) this.later(name, SETTLED, () => this.undisturbed(name, act));
    else act();
  }

  /** What has changed, into what is shown already. */
  refresh() {
    drawHead(this.head, this.evaluations, this.source);
    this.brush.refresh();
    this.panels.parallel?.update();
    this.panels.table?.update();
  }

  again() {
    this.later("again", SETTLED, async () => {
      try {
        const now = await this.source.study(this.name);
        this.found.update(now.summary);
        this.undisturbed("again", () => this.replace(now));
        fill(this.trouble);
      } catch (problem) {
        fill(this.trouble, `Not up to date: ${problem.message}`);
      }
    });
  }

  /** The whole study anew: panels stay if they show the same columns. */
  replace(document) {
    const query = queryOf(this.shown, this.brush, this.evaluations);
    const before = shape(this.evaluations);
    this.evaluations.take(document);
    if (shape(this.evaluations) === before) return this.refresh();
    Object.assign(this.shown, viewOf(query, this.evaluations));
    this.draw();
    this.brush.refresh();
  }

  later(name, wait, act) {
    clearTimeout(this.timers.get(name));
    this.timers.set(name, setTimeout(() => {
      this.timers.delete(name);
      act();
    }, wait));
  }

  /** Keep in the address what a person would want to share. */
  remember() {
    if (!this.source.live) return;
    this.later("address", ADDRESS, () => {
      const query = queryOf(this.shown, this.brush, this.evaluations);
      history.replaceState(history.state, "", location.pathname + (query.size ? `?${query}` : ""));
    });
  }
}

/** What the panels are made for: other columns or objectives need others. */
function shape({ columns, rows, document }) {
  return JSON.stringify([columns.map(({ id, kind }) => [id, kind]), document.objectives, document.summary.objective, rows.length > 0]);
}
