// The list of studies: how they stand, what they found, and what to do where there is none.

import { fill, h, refocused } from "../dom.js";
import { short } from "../study/evaluations.js";
import { state, time, unknown, value } from "../format.js";
import { anomaliesOf, best, counts, duration } from "../study/summary.js";

const SIZE = 50;
const PATIENCE = 250; // [ms] after the last key before the search goes on
const PAUSE = 2000; // [ms] until a study that is not in the list leads to another reading of it
const COLUMNS = ["study", "state", "workflow", "evaluations", "best so far", "started", "duration"];

/** Show the list; gives what ends it. */
export async function show(view, place, source) {
  const page = new Studies(view, place.query ?? new URLSearchParams(), source);
  page.list = await page.read();
  page.draw();
  const stop = source.follow(["studies"], (topic, data) => page.heard(topic, data));
  const clock = setInterval(() => page.tick(), 1000);
  return () => {
    stop();
    clearInterval(clock);
    clearTimeout(page.waiting);
    clearTimeout(page.moved);
  };
}

class Studies {
  constructor(view, query, source) {
    Object.assign(this, { view, source, search: query.get("search") ?? "", page: Math.max(1, Number.parseInt(query.get("page"), 10) || 1), lines: new Map() });
    this.head = h("thead", {}, h("tr", {}, COLUMNS.map((name) => h("th", { scope: "col" }, name))));
    this.table = h("table", { class: "cards" });
    this.said = h("p", { class: "note", role: "status" });
    this.pages = h("nav", { class: "bar", "aria-label": "Pages of the list" });
  }

  read() {
    return this.source.studies({ search: this.search, page: this.page > 1 ? this.page : null, size: this.source.live ? SIZE : null });
  }

  draw() {
    const words = h("input", { type: "search", value: this.search, placeholder: "name, workflow, site …", "aria-label": "Search studies", on: { input: () => this.later(words.value) } });
    fill(this.view, h("div", { class: "bar" }, h("h1", {}, "Studies"), this.source.live && words), this.said, h("section", { class: "panel", "data-panel": "studies" }, h("div", { class: "scroll" }, this.table)), this.pages);
    this.fill();
  }

  fill() {
    const { studies, total } = this.list;
    this.lines = new Map(studies.map((study) => [study.study, this.kept(study)]));
    refocused(this.table, () => fill(this.table, this.head, ...this.lines.values(), !studies.length && h("tbody", {}, h("tr", {}, h("td", { colspan: COLUMNS.length, class: "words nothing" }, this.nothing())))));
    fill(this.said, `${total} ${total === 1 ? "study" : "studies"}${this.search ? ` with “${this.search}”` : ""}`);
    refocused(this.pages, () => fill(this.pages, ...this.turning()));
  }

  /** The rows of a study, the same as before where nothing of it has changed. */
  kept(study) {
    const told = JSON.stringify(study);
    const before = this.lines.get(study.study);
    return before?.told === told ? before : Object.assign(this.line(study), { told });
  }

  nothing() {
    if (this.search) return "No study is like that: change the search, or empty it to see all.";
    return ["Nothing here yet. A study appears once ", h("code", {}, "panorama study DIRECTORY"), " has begun it in one of the places that ", h("code", {}, "panorama serve"),
      " was given, and the runs of a store once ", h("code", {}, "panorama collect"), " has written it. This page shows them without being loaded again."];
  }

  /** A study as rows of its own: itself, and in words below why it cannot be read. */
  line(study) {
    const cell = (name, ...what) => h("td", { "data-label": name }, ...what);
    const [length, why] = duration(study);
    const link = h("a", { href: this.source.link("studies", study.study), title: study.home, class: "name" }, short(study.name, 60));
    const row = h("tr", { "data-study": study.study, "data-state": study.state },
      cell("study", link), cell("state", h("div", {}, state(study.state), h("div", {}, anomaliesOf(study, this.source)))), cell("workflow", h("div", { class: "made" }, this.made(study))),
      cell("evaluations", study.state === "unreadable" ? unknown("evaluations", study.problem ?? "") : counts(study)), cell("best so far", best(study)),
      cell("started", time(study.started, "started", why)), cell("duration", value("duration", length, "s", why)));
    return h("tbody", { class: "study-rows" }, row, study.problem && h("tr", { class: "why" }, h("td", { colspan: COLUMNS.length }, h("p", { class: "problem" }, study.problem))));
  }

  made({ kind, workflow, site, engine }) {
    if (kind === "store") return h("span", { class: "caption" }, "a store of runs");
    const where = [site, engine].filter(Boolean).map((word) => short(word, 30)).join(", ");
    if (workflow === null) return unknown("workflow", "its study.yml cannot be read");
    const name = short(workflow.split("/").filter(Boolean).at(-1) ?? workflow, 40);
    return [h("data", { value: workflow, "data-metric": "workflow", "data-value": workflow, title: workflow }, name), where && h("div", { class: "caption" }, where)];
  }

  /** Of those that run, the time goes on. */
  tick() {
    for (const study of this.list.studies) {
      if (study.state !== "running") continue;
      const [length, why] = duration(study);
      this.lines.get(study.study)?.querySelector("[data-metric=duration]").replaceWith(value("duration", length, "s", why));
    }
  }

  heard(topic, study) {
    const place = topic ? this.list.studies.findIndex(({ study: name }) => name === study.study) : -1;
    if (place < 0) return this.soon();
    this.list.studies[place] = study;
    const old = this.lines.get(study.study);
    const line = this.kept(study);
    this.lines.set(study.study, line);
    if (line !== old) refocused(this.table, () => old.replaceWith(line));
  }

  /** Others may move all the time, on pages of the list that are not shown. */
  soon() {
    this.moved ??= setTimeout(() => {
      this.moved = null;
      this.again();
    }, PAUSE);
  }

  later(search) {
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.turn(search, 1), PATIENCE);
  }

  async turn(search, page) {
    const turned = search === this.search;
    Object.assign(this, { search, page });
    const query = new URLSearchParams(Object.entries({ search, page: page > 1 ? String(page) : "" }).filter(([, text]) => text));
    const address = location.pathname + (query.size ? `?${query}` : "");
    if (turned) history.pushState(null, "", address);
    else history.replaceState(history.state, "", address);
    await this.again();
    if (turned) scrollTo(0, 0);
  }

  /** Read anew; of two answers the one to the later question counts. */
  async again() {
    const asked = (this.asked = (this.asked ?? 0) + 1);
    try {
      const list = await this.read();
      if (asked !== this.asked) return;
      this.list = list;
      this.fill();
    } catch (problem) {
      if (asked === this.asked) fill(this.said, problem.message);
    }
  }

  turning() {
    const last = Math.max(1, Math.ceil(this.list.total / this.list.size));
    if (last === 1) return [];
    const button = (title, page) => h("button", { type: "button", disabled: page < 1 || page > last, on: { click: () => this.turn(this.search, page) } }, title);
    return [button("‹ previous page", this.page - 1), h("span", {}, `page ${this.page} of ${last}`), button("next page ›", this.page + 1)];
  }
}
