// What was found in the runs of a study and what was done: the newest, and the way to all of them.

import { actionList } from "../anomalies/actions.js";
import { numberOf } from "../anomalies/kinds.js";
import { AnomalyList } from "../anomalies/list.js";
import { Failure } from "../data.js";
import { fill, h, panel, renew, wide } from "../dom.js";
import { counted } from "../format.js";
import { listOf } from "./summary.js";

const NEWEST = 5;
const PAUSE = 1000; // [ms] between two readings

/** The panel, which is hidden as long as there is nothing in it. */
export class Found {
  constructor(study, source) {
    Object.assign(this, { study, source, key: "" });
    this.badge = h("span", { class: "badge" });
    this.list = new AnomalyList("anomalies", { source, whole: true });
    [this.more, this.done, this.trouble] = [h("p", { class: "note" }), h("div"), h("p", { class: "problem", role: "alert" })];
    this.node = wide(panel("anomalies", "Anomalies ", this.trouble, this.list.node, this.more, this.done));
    this.node.querySelector("h2").append(this.badge);
    this.node.hidden = true;
  }

  /** Read again what there is, if the summary says that there is something, and not too often. */
  async update({ anomalies, actions }) {
    if (!anomalies && !actions && this.node.hidden) return;
    this.wanted = true;
    if (this.busy) return;
    this.busy = true;
    while (this.wanted && !this.ended) {
      this.wanted = false;
      await this.read();
      await new Promise((resolve) => setTimeout(resolve, PAUSE));
    }
    this.busy = false;
  }

  end() {
    this.ended = true;
  }

  async read() {
    try {
      const now = await this.source.anomaliesOf(this.study, { size: this.source.live ? NEWEST : null });
      if (!this.ended) this.draw(now);
      fill(this.trouble);
    } catch (problem) {
      if (!(problem instanceof Failure)) throw problem;
      fill(this.trouble, `Not up to date: ${problem.message}`);
    }
  }

  draw({ anomalies, total, open, actions, actions_total: done, problems }) {
    this.node.hidden = !total && !done && !problems.length;
    renew(this.badge, [total, open], () => h("data", { value: total, "data-metric": "total", "data-value": total, title: `${open} of them ${open === 1 ? "goes" : "go"} on` }, total));
    const newest = anomalies.slice(0, NEWEST);
    this.list.update(newest);
    renew(this.more, [total, problems], () => [total > newest.length && ["The newest of ", h("a", { href: listOf(this.study, this.source) }, numberOf(total)), "."], problems.map((words) => [" ", words])]);
    renew(this.done, [actions, done], () => (actions.length ? this.acted(actions, done) : []));
  }

  acted(actions, done) {
    const newest = actions.slice(0, NEWEST);
    const more = done > newest.length && h("p", { class: "note" }, "The last of ", h("a", { href: listOf(this.study, this.source) }, counted(done, "action")), ".");
    return [h("h3", {}, "What was done"), actionList(newest, this.source), more];
  }
}
