// Where the time of each evaluation went: a bar an evaluation, each moment in it counted once.

import { fill, h, panel, panels, renew } from "../dom.js";
import { short } from "./evaluations.js";
import { TIMES, seconds } from "../format.js";
import { steps } from "./scales.js";

const MOST = 60;

/** The panel. */
export class Shares {
  constructor(evaluations, brush, source, wide) {
    Object.assign(this, { evaluations, brush, source });
    this.said = h("p", { class: "note" });
    this.bars = h("div", { class: "timings" });
    this.node = panel("times", "Where the time went", this.said, legend(), this.bars);
    this.node.classList.toggle("wide", wide);
    this.update();
  }

  update() {
    const { active } = this.brush;
    const of = this.evaluations.rows.filter((row) => !active || this.brush.has(row.key));
    const timed = of.filter((row) => row.times);
    const shown = active ? timed.slice(0, MOST) : timed.slice(-MOST);
    const longest = Math.max(...shown.map(({ times }) => whole(times)), 0);
    fill(this.said, told(active, of.length, timed.length, shown.length));
    renew(this.bars, shown, () => [shown.map((row) => this.bar(row, longest)), shown.length > 0 && scaleLine(longest)]);
    panels.times = { rows: shown.map(({ key, times }) => ({ key, ...times })) };
  }

  bar(row, longest) {
    const { times } = row;
    const parts = TIMES.filter(([name]) => times[name] > 0);
    const words = parts.map(([name, title]) => `${title} ${seconds(times[name])}`).join(", ");
    const name = short(row.eval_id, 12);
    const { study } = this.evaluations.document.summary;
    return h("div", { class: "timing", "data-evaluation": row.key },
      row.wf_uuid ? h("a", { href: this.source.link("studies", study, "workflows", row.wf_uuid), "aria-label": `${this.evaluations.word} ${name}: ${words}` }, name) : h("span", {}, name),
      h("span", { class: "timing-track", title: times.unknown > 0 ? `${words} (${times.reasons.unknown ?? "not told"})` : words, "aria-hidden": "true" },
        parts.map(([part]) => h("span", { class: `timing-part of-${part}`, "data-metric": part, "data-value": times[part], style: `width: ${(100 * times[part]) / (longest || 1)}%` }))),
      h("data", { value: whole(times), "data-metric": "makespan", "data-value": whole(times) }, seconds(whole(times))));
  }
}

function told(active, of, timed, shown) {
  if (!timed) return of ? "Unknown of all: none is over, or no workflow run of theirs can be read." : "None has begun yet.";
  const which = active ? (shown < timed ? `The first ${shown} of the ${timed} chosen` : `The ${shown} chosen`) : shown < timed ? `The last ${shown} of ${timed}` : `All ${shown}`;
  return `${which}, in their order; each moment counts once, under the first of these that went on.${of > timed ? ` ${of - timed} more are not over, are not read yet, or have no workflow run.` : ""}`;
}

function legend() {
  return h("p", { class: "note legend" }, TIMES.map(([name, title]) => h("span", { class: "key" }, h("span", { class: `swatch timing-part of-${name}` }), ` ${title}`)));
}

function scaleLine(longest) {
  return h("div", { class: "timing foot", "aria-hidden": "true" }, h("span", {}), h("span", { class: "timing-track" }, longest > 0 && steps(0, longest, 4, { unit: "s" }).map((at) => h("span", { style: `left: ${(100 * at) / longest}%` }, seconds(at)))), h("span", {}));
}

function whole(times) {
  return TIMES.reduce((sum, [name]) => sum + times[name], 0);
}
