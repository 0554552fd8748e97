// What is written into the box above the table: words, and comparisons such as `makespan<3`.

import { heading } from "./evaluations.js";
import { STATES } from "../format.js";

const COMPARISON = /^(.+?)\s*(<=|>=|!=|=|<|>)\s*(.+)$/;
const TESTS = {
  "<": (a, b) => a < b,
  "<=": (a, b) => a <= b,
  ">": (a, b) => a > b,
  ">=": (a, b) => a >= b,
  "=": (a, b) => a === b || String(a).toLowerCase() === String(b).toLowerCase(),
  "!=": (a, b) => !TESTS["="](a, b),
};

/** Whether a row is asked for, as `test(row)`; `problem` where a comparison cannot be understood. All parts must hold. */
export function filter(text, evaluations) {
  const parts = split(text).map((part) => understood(part, evaluations));
  return { test: (row) => parts.every(({ test }) => test(row)), problem: parts.find(({ problem }) => problem)?.problem ?? "" };
}

/** At commas and `and`, and at spaces that do not stand beside a sign of comparison; what is quoted is one word. */
function split(text) {
  const tight = text.replace(/\s*(<=|>=|!=|=|<|>)\s*/g, "$1");
  return (tight.match(/(?:"[^"]*"|[^\s,"])+/g) ?? []).filter((part) => part.toLowerCase() !== "and").map((part) => part.replaceAll('"', ""));
}

function understood(part, evaluations) {
  const found = COMPARISON.exec(part);
  return found ? comparison(found[1], found[2], found[3], evaluations) : { test: (row) => says(row, part.toLowerCase()) };
}

function comparison(name, sign, wanted, evaluations) {
  const asked = name.toLowerCase().replaceAll("_", " ");
  const column = evaluations.column(name) ?? evaluations.columns.find((other) => [other.name, other.id, heading(other)].some((known) => known.toLowerCase().replaceAll("_", " ") === asked));
  if (!column) return { test: () => true, problem: `there is no column ${name}` };
  if (wanted === "unknown") return { test: (row) => (evaluations.value(row, column) === null) === (sign === "=") };
  const number = Number(wanted);
  const by = (value) => (typeof value === "number" ? number : wanted);
  if (/[<>]/.test(sign) && Number.isNaN(number)) return { test: () => true, problem: `${wanted} is no number` };
  return { test: (row) => known(evaluations.value(row, column), (value) => TESTS[sign](value, by(value))) };
}

/** What is not known is neither less nor more than anything. */
function known(value, test) {
  return value !== null && test(value);
}

function says(row, word) {
  return row.eval_id === word || [row.state, STATES[row.state]?.word ?? "", row.message, row.key, row.wf_uuid ?? ""].some((text) => text.toLowerCase().includes(word));
}
