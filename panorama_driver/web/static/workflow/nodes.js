// How a job, a group of alike jobs, and the frame of an opened group look in a DAG, and what they tell.

import { SIGNS, numberOf, wordOf } from "../anomalies/kinds.js";
import { fill, h, svg } from "../dom.js";
import { STATES, seconds, state, time } from "../format.js";

/** Room around the drawing [px]. */
export const MARGIN = 14;
const TONES = ["failed", "running", "queued", "waiting", "done"];
const LETTER = 7; // [px] a letter is wide at most
const SMALL = 5.9;
const MOST_FOUND = 6;

/** The empty shape of a node; `told` puts its jobs' states into it. */
export function nodeShape({ item, x, y, w, h: tall, cell }, link) {
  const place = { "data-key": item.key, tabindex: -1, transform: moved(x, y) };
  const box = svg("rect", { class: "box", width: w, height: tall, rx: 4 });
  if (item.children) return svg("g", { ...place, class: "node group", role: "button", "aria-expanded": "false", "data-group": item.title }, box);
  return svg("a", { ...place, class: cell ? "node job cell" : "node job", href: link(item.title), "data-job": item.title, draggable: "false" }, box);
}

/** Where something of the layout stands in the drawing. */
export function moved(x = 0, y = 0) {
  return `translate(${x + MARGIN} ${y + MARGIN})`;
}

/** The frame of an opened group; its head closes it. */
export function frameShape({ item, x, y, w, h: tall }, close) {
  return svg("g", { class: "frame", transform: moved(x, y), "data-frame": item.title },
    svg("rect", { width: w, height: tall, rx: 6 }),
    svg("g", { class: "close", role: "button", "aria-label": `${item.title}: close the group`, on: { click: close } },
      svg("rect", { class: "head", width: w, height: 22, rx: 6 }), svg("text", { x: 10, y: 16 }, `▾ ${shortened(item.label, w - 80)} × ${item.jobs.length}`)));
}

/** State, tries and critical path of a node as its jobs are now. */
export function told(shape, node, jobs, critical, found) {
  const now = JSON.stringify([critical, jobs.map((job) => [job.state, job.attempts.length]), found.map((row) => [row.anomaly_id, row.over])]);
  if (shape.told === now) return;
  shape.told = now;
  shape.classList.toggle("critical", critical);
  const [words, parts] = node.item.children ? groupParts(shape, node, jobs) : jobParts(shape, node, jobs[0]);
  shape.setAttribute("aria-label", [words, critical && "on the critical path", found.length && numberOf(found.length)].filter(Boolean).join(", "));
  fill(shape, shape.firstChild, parts, found.length > 0 && flag(node, found));
}

function jobParts(shape, { item, w, cell }, job) {
  const { word, sign, tone } = STATES[job.state] ?? { word: job.state, sign: "?", tone: "waiting" };
  const tries = job.attempts.length;
  Object.assign(shape.dataset, { state: job.state, tries });
  shape.classList.remove(...TONES);
  shape.classList.add(tone);
  const words = `${job.job_id}: ${word}${tries > 1 ? `, ${tries} tries` : ""}`;
  if (cell) return [words, [svg("text", { class: "sign", x: 11, y: 15.5 }, sign), tries > 1 && svg("circle", { class: "again", cx: 19, cy: 3, r: 4 })]];
  return [words, [
    svg("path", { class: "band", d: "M4 0H24V42H4Q0 42 0 38V4Q0 0 4 0Z" }), svg("text", { class: "sign", x: 12, y: 26 }, sign),
    item.kind && svg("text", { class: "told", x: 31, y: 16 }, shortened(item.kind, w - (tries > 1 ? 70 : 38), SMALL, false)),
    svg("text", { class: "name", x: 31, y: item.kind ? 33 : 26 }, shortened(item.label, w - 38)), tries > 1 && badge(w, tries),
  ]];
}

function groupParts(shape, { item, w }, jobs) {
  const { states, retried } = counted(jobs);
  shape.dataset.counts = JSON.stringify(Object.fromEntries(states));
  const words = states.map(([name, count]) => `${count} ${STATES[name]?.word ?? name}`);
  if (retried) words.push(`${retried} tried again`);
  return [`${item.title}: ${jobs.length} jobs, ${words.join(", ")}`, [
    svg("text", { class: "name", x: 10, y: 19 }, shortened(item.label, w - 70)), svg("text", { class: "count", x: w - 10, y: 19 }, `× ${jobs.length}`),
    stack(states, jobs.length, w - 20), svg("text", { class: "told", x: 10, y: 47 }, shortened(words.join(", "), w - 20, SMALL, false)),
  ]];
}

/** A flag at the lower right of a node in which something was found: full while it goes on. */
function flag({ w, h: tall, cell }, found) {
  const stands = found.some(({ over }) => over === null) ? "open" : "over";
  const many = found.length > 1 && !cell ? found.length : "";
  return svg("g", { class: `flag ${stands}`, "data-anomalies": found.length, transform: `translate(${w - (cell ? 7 : 2)} ${cell ? tall : tall - 2})` }, svg("text", {}, `${many}${SIGNS[stands]}`));
}

function stack(states, all, room) {
  let x = 0;
  return states.map(([name, count]) => {
    const wide = Math.min(Math.max(2, (room * count) / all), room - x);
    x += wide;
    return svg("rect", { class: `share ${STATES[name]?.tone ?? "waiting"}`, x: 10 + x - wide, y: 27, width: wide, height: 6 });
  });
}

function badge(w, tries) {
  return svg("g", { class: "again", transform: `translate(${w - 33} 4)` }, svg("rect", { width: 28, height: 16, rx: 8 }), svg("text", { x: 14, y: 12 }, `↻${tries}`));
}

/** States of jobs and their numbers, worst first, and how many jobs were tried more than once. */
function counted(jobs) {
  const states = new Map();
  for (const job of jobs) states.set(job.state, (states.get(job.state) ?? 0) + 1);
  const rank = ([name]) => TONES.indexOf(STATES[name]?.tone ?? "waiting");
  return { states: [...states].sort((a, b) => rank(a) - rank(b)), retried: jobs.filter((job) => job.attempts.length > 1).length };
}

/** A node in words, for a hint beside it. */
export function hintOf({ item }, jobs, found = []) {
  return [item.children ? groupHint(item, jobs) : jobHint(jobs[0]), found.slice(0, MOST_FOUND).map(({ anomaly, over }) => h("div", { class: "found" }, `${over === null ? SIGNS.open : SIGNS.over} ${wordOf(anomaly.kind)}${over === null ? "" : ", over"}`))];
}

function jobHint(job) {
  const known = (name) => job[name] !== null && job[name] !== undefined;
  const spent = [["queue_time", "queue"], ["wall_time", "wall"], ["cpu_time", "CPU"]].filter(([name]) => known(name)).map(([name, word]) => `${word} ${seconds(job[name])}`);
  const start = job.attempts.at(-1)?.start ?? null;
  return [
    h("strong", {}, job.job_id), h("div", {}, state(job.state, "hint"), job.attempts.length > 1 ? ` · ${job.attempts.length} tries` : null, job.host ? ` · ${job.host}` : null),
    start !== null && h("div", {}, "started ", time(start, "hint")), spent.length > 0 && h("div", {}, spent.join(" · ")),
    job.failure && h("div", { class: "why" }, job.failure.slice(0, 300)),
  ];
}

function groupHint(item, jobs) {
  const { states, retried } = counted(jobs);
  return [
    h("strong", {}, `${item.title} × ${jobs.length}`), states.map(([name, count]) => h("div", {}, state(name, "hint"), ` ${count}`)),
    retried > 0 && h("div", {}, `${retried} tried more than once`), h("div", { class: "note" }, "Enter or a click opens the group"),
  ];
}

/** A text that fits; its end is kept, where names of alike jobs differ, unless it is no name. */
function shortened(text, room, letter = LETTER, name = true) {
  const letters = [...text.replace(/\s+/g, " ").slice(0, 1000)];
  const most = Math.max(4, Math.floor(room / letter));
  if (letters.length <= most) return letters.join("");
  const first = name ? Math.floor((most - 1) / 3) : most - 1;
  return `${letters.slice(0, first).join("")}…${name ? letters.slice(first + 1 - most).join("") : ""}`;
}

/** What colours and signs mean. */
export function legend() {
  const shown = ["unsubmitted", "submitted", "running", "succeeded", "failed"];
  return h("p", { class: "note legend" }, shown.map((name) => [state(name, "legend"), " "]), h("span", { class: "state" }, h("span", { class: "sign again" }, "↻"), "tried again"), " ", h("span", { class: "thick" }, "critical path"), " ", h("span", { class: "found" }, `${SIGNS.open} not as it should be, ${SIGNS.over} over`));
}
