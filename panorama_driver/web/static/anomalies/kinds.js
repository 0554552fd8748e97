// What may be wrong, in words, and how it looks wherever it is marked: a sign and a word beside the colour.

import { h } from "../dom.js";
import { local, seconds } from "../format.js";

/** Sign of what goes on, and of what is over. */
export const SIGNS = { open: "▲", over: "△" };

const KINDS = {
  throttled: ["throttled", "gets less processor time than it would use"],
  slow_disk: ["slow disk", "its input and output take far longer than they did"],
  stalled: ["stalled", "neither computes nor moves anything"],
  leaking: ["leaking memory", "its memory grows as that of no other of its transformation"],
  runaway_output: ["runaway output", "it writes as no other of its transformation"],
  idle_in_queue: ["idle in queue", "it waits for a slot as no other has"],
  slow_job: ["slow job", "has taken far longer than others of its transformation"],
  slow_host: ["slow host", "jobs take longer there than elsewhere, whatever they are"],
  failing_host: ["failing host", "jobs fail there that succeed elsewhere"],
  unusual_workflow: ["unusual run", "a run unlike the others of its name"],
  tcp_loss: ["segments lost", "the network lost segments of a transfer"],
  tcp_duplication: ["segments duplicated", "the network sent segments of a transfer twice"],
  tcp_reordering: ["segments reordered", "the network changed the order of a transfer's segments"],
};

/** A kind as a word. */
export function wordOf(kind) {
  return KINDS[kind]?.[0] ?? kind;
}

/** What a kind means. */
export function meaningOf(kind) {
  return KINDS[kind]?.[1] ?? "";
}

/** How many anomalies, in words. */
export function numberOf(count) {
  return `${count} ${count === 1 ? "anomaly" : "anomalies"}`;
}

/** The kind of an anomaly: a sign, full while it goes on, and a word. */
export function kindOf({ anomaly, over }) {
  const stands = over === null ? "open" : "over";
  return h("span", { class: `kind ${stands}`, "data-metric": "kind", "data-value": anomaly.kind, title: meaningOf(anomaly.kind) },
    h("span", { class: "sign", "aria-hidden": "true" }, SIGNS[stands]), ` ${wordOf(anomaly.kind)}`);
}

/** An anomaly in a few words, for hints and labels: what, since when, and until when. */
export function inShort({ anomaly, over }) {
  return `${wordOf(anomaly.kind)} since ${local(anomaly.since)}${over === null ? "" : `, over after ${seconds(over - anomaly.since)}`}`;
}
