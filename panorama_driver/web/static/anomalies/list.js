// Cards of anomalies, one below the other, changed in place: what a person has opened stays so.

import { card } from "./card.js";
import { fill, h, panels, refocused } from "../dom.js";

const FEW = 3; // cards that show their evidence at once, where that is what the page is about

/** A list of cards; `page` as of `card`, `name` what tests know it by. */
export class AnomalyList {
  constructor(name, page, nothing = "Nothing was found.") {
    Object.assign(this, { name, page, nothing, cards: new Map() });
    this.node = h("div", { class: "anomalies", "data-list": name });
  }

  /** Show these, in their order. */
  update(rows) {
    const open = !this.page.whole && rows.length <= FEW;
    const kept = new Map(rows.map((row) => [row.anomaly_id, this.kept(row, open)]));
    this.cards = kept;
    const shown = [...kept.values()];
    if (shown.length !== this.node.childElementCount || shown.some((one, i) => this.node.children[i] !== one)) {
      refocused(this.node, () => fill(this.node, shown.length ? shown : h("p", { class: "nothing" }, this.nothing)));
    }
    if (!rows.length) return void delete panels[this.name];
    panels[this.name] = { anomalies: rows.map((row) => ({ id: row.anomaly_id, kind: row.anomaly.kind, job: row.anomaly.job_id, attempt: row.anomaly.attempt, host: row.anomaly.host, since: row.anomaly.since, found: row.anomaly.found, over: row.over, actions: row.actions.map(({ action }) => action.action_id) })) };
  }

  /** The card of an anomaly: the same as before where nothing of it has changed, else as far open as it was. */
  kept(row, open) {
    const told = JSON.stringify([row, this.page.attemptsOn?.(row.anomaly.host)]);
    const before = this.cards.get(row.anomaly_id);
    if (before?.told === told) return before;
    return Object.assign(card(row, { ...this.page, open: before ? before.querySelector("details").open : open }), { told });
  }
}
