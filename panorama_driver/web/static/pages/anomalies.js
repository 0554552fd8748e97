// What was found in all studies, or in one: the last first, and what was done.

import { actionList } from "../anomalies/actions.js";
import { meaningOf, numberOf, wordOf } from "../anomalies/kinds.js";
import { AnomalyList } from "../anomalies/list.js";
import { Again } from "../again.js";
import { fill, h, panel, renew, wide } from "../dom.js";

const SIZE = 50;

/** Show the list; gives what ends it. */
export async function show(view, place, source) {
  const page = new Page(view, place.query ?? new URLSearchParams(), source);
  await page.read();
  page.draw();
  const stop = source.follow(["anomalies"], () => page.again.ask());
  return () => {
    stop();
    page.again.end();
  };
}

class Page {
  constructor(view, query, source) {
    Object.assign(this, { source, study: query.get("study") ?? "", kind: query.get("kind") ?? "", page: Math.max(1, Number.parseInt(query.get("page"), 10) || 1) });
    this.again = new Again(() => this.refresh());
    this.list = new AnomalyList("anomalies", { source, whole: true }, "Nothing was found that is not as it should be.");
    [this.bar, this.done] = [h("div", { class: "bar" }), h("div")];
    this.said = h("p", { class: "note", role: "status" });
    this.problems = h("div");
    this.pages = h("nav", { class: "bar", "aria-label": "Pages of the list" });
    this.actions = wide(panel("actions", "What was done", this.done));
    fill(view, h("h1", {}, "Anomalies"), this.again.trouble, this.bar, this.said, this.problems, this.list.node, this.pages, this.actions);
  }

  async read() {
    const { study, kind, page } = this;
    this.now = await this.source.anomalies({ study, kind, page: page > 1 ? page : null, size: this.source.live ? SIZE : null });
  }

  async refresh() {
    await this.read();
    if (!this.again.ended) this.draw();
  }

  draw() {
    const { now } = this;
    renew(this.bar, [now.kinds, this.kind, this.study], () => this.choosers());
    fill(this.said, `${numberOf(now.total)}, ${now.open} of them ${now.open === 1 ? "goes" : "go"} on${this.study ? `, in ${this.study}` : ""}`);
    renew(this.problems, now.problems, () => now.problems.map((words) => h("p", { class: "problem" }, words)));
    this.list.update(now.anomalies);
    renew(this.pages, [now.total, now.size, now.page], () => this.turning());
    renew(this.done, [now.actions, now.actions_total], () => this.acted());
  }

  choosers() {
    const { kinds } = this.now;
    const all = Object.values(kinds).reduce((sum, count) => sum + count, 0);
    const choice = h("select", { "aria-label": "Kind of anomaly", on: { change: () => this.turn({ kind: choice.value, page: 1 }) } },
      h("option", { value: "" }, `all kinds (${all})`),
      [...new Set([...Object.keys(kinds), ...(this.kind ? [this.kind] : [])])].map((kind) => h("option", { value: kind, title: meaningOf(kind), selected: kind === this.kind }, `${wordOf(kind)} (${kinds[kind] ?? 0})`)));
    return [this.source.live && choice, this.study && h("a", { href: this.source.link("studies", this.study) }, `to ${this.study}`), this.study && this.source.live && h("a", { href: this.source.link("anomalies") }, "of all studies")];
  }

  acted() {
    const { actions, actions_total: all } = this.now;
    if (!actions.length) return h("p", { class: "nothing" }, "Nothing was done: a study's server acts only where its study.yml tells it to (adapt).");
    return [actionList(actions, this.source), all > actions.length && h("p", { class: "note" }, `and ${all - actions.length} more: panorama adapt DIRECTORY lists them`)];
  }

  async turn(changes) {
    Object.assign(this, changes);
    const query = new URLSearchParams(Object.entries({ study: this.study, kind: this.kind, page: this.page > 1 ? String(this.page) : "" }).filter(([, text]) => text));
    history.pushState(null, "", location.pathname + (query.size ? `?${query}` : ""));
    await this.again.ask();
  }

  turning() {
    const last = Math.max(1, Math.ceil(this.now.total / this.now.size));
    if (last === 1 || !this.source.live) return [];
    const button = (title, page) => h("button", { type: "button", disabled: page < 1 || page > last, on: { click: () => this.turn({ page }) } }, title);
    return [button("‹ later", this.page - 1), h("span", {}, `page ${this.page} of ${last}`), button("earlier ›", this.page + 1)];
  }
}
