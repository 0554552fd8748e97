// The evaluations of a study as columns: what every panel of its page reads, and what live changes are put into.

import { short } from "../dom.js";
import { exact, text, words } from "../format.js";
import { compared } from "../rows.js";

/** Columns that every study has, beside its parameters, responses and metrics. */
const OWN = [
  { name: "evaluation", kind: "own", unit: "", read: (row, place) => place + 1 },
  { name: "state", kind: "own", unit: "", read: (row) => row.state },
  { name: "duration", kind: "own", unit: "s", read: spent },
];
const ASKED_FIRST = ["makespan", "cpu_time", "queue_time", "peak_memory", "bytes_transferred"];

/** A study's document, with values by column. */
export class Evaluations {
  constructor(document) {
    this.take(document);
  }

  /** Put a document in the place of the one before. */
  take(document) {
    this.document = document;
    this.rows = document.evaluations;
    this.places = new Map(this.rows.map((row, place) => [row.key, place]));
    this.word = unitOf(document.summary);
    const [first, ...others] = OWN;
    this.columns = named([{ ...first, title: this.word }, ...others, ...document.columns.map(readable)]);
    this.byId = new Map(this.columns.map((column) => [column.id, column]));
    this.numbered = numbered(this.rows);
    this.kept = new Map();
  }

  /** The column that tells good from bad, and whether more of it is better. */
  get objective() {
    const { objective, maximized } = this.document.summary;
    return { column: objective ? this.response(objective) : undefined, maximized };
  }

  /** Put changed and new rows in; false if they do not fit these columns, and all must be read again. */
  merge({ summary, evaluations = [], front = this.document.front, unread = 0 }) {
    if (evaluations.some((row) => row.values.length !== this.document.columns.length)) return false;
    for (const row of evaluations) this.put(row);
    Object.assign(this.document, { summary, front, unread });
    this.numbered = numbered(this.rows);
    this.kept.clear();
    return true;
  }

  put(row) {
    const place = this.places.get(row.key) ?? this.rows.length;
    this.places.set(row.key, place);
    this.rows[place] = row;
  }

  row(key) {
    return this.rows[this.places.get(key)];
  }

  /** The column of an id; undefined if there is none. */
  column(id) {
    return this.byId.get(id);
  }

  /** The response of that name as a column. */
  response(name) {
    return this.columns.find((column) => column.kind === "response" && column.name === name);
  }

  /** The value of a row, null where it is not known. */
  value(row, column, place = this.places.get(row.key)) {
    if (column.name === "evaluation" && column.kind === "own") return this.numbered ? Number(row.eval_id) : place + 1;
    return column.read(row, place) ?? null;
  }

  /** Why a value is not known. */
  reason(row, column) {
    if (column.kind === "own") return row.over ? "nobody told when it started or ended" : "it goes on";
    if (Object.hasOwn(row.reasons, column.name)) return row.reasons[column.name];
    return row.message || (row.read ? "nobody told" : "its workflow is still being read");
  }

  /** Whether a value is a lower bound only: of a response of an evaluation that was ended early. */
  bound(row, column) {
    return row.state === "stopped" && column.kind === "response";
  }

  /** All values of a column, in the order of the rows. */
  values(column) {
    return this.once(`values ${column.id}`, () => this.rows.map((row, place) => this.value(row, column, place)));
  }

  once(name, find) {
    if (!this.kept.has(name)) this.kept.set(name, find());
    return this.kept.get(name);
  }

  /** Whether it holds words, not numbers. */
  wordy(column) {
    return this.once(`wordy ${column.id}`, () => this.values(column).some((value) => value !== null && typeof value !== "number"));
  }

  /** The place of each word on its axis. */
  order(column) {
    return this.once(`order ${column.id}`, () => places(this.values(column)));
  }

  /** Whether all that is known of it are numbers, and there is one. */
  numeric(column) {
    return !this.wordy(column) && this.values(column).some((value) => value !== null);
  }

  /** The column that evaluations are told apart by: the objective, or else what they cost. */
  get telling() {
    const numbers = (column) => column.kind === "metric" && this.numeric(column);
    return this.objective.column ?? this.columns.find((column) => column.name === "makespan" && numbers(column)) ?? this.columns.find(numbers) ?? this.columns[0];
  }

  /** The columns that a person would want to see first. */
  usual(most = 10) {
    const of = (kind) => this.columns.filter((column) => column.kind === kind);
    const metrics = ASKED_FIRST.flatMap((name) => of("metric").filter((column) => column.name === name && !column.twice && this.numeric(column)));
    const asked = [...of("parameter").slice(0, most - 3), ...of("response").slice(0, 3)];
    return [...asked, ...metrics.slice(0, Math.max(1, most - asked.length))].slice(0, most);
  }
}

export { short };

/** What stands for an evaluation: in a store without a study, a workflow run. */
function unitOf({ kind }) {
  return kind === "store" ? "workflow run" : "evaluation";
}

/** The title of an axis of a column: its name with its unit. */
export function titled(column) {
  return short(heading(column), 60) + (column.unit && column.unit !== "1" ? ` [${column.unit}]` : "");
}

/** The place of each word on its axis, in the order of the alphabet; numbers among words by their size. */
export function places(values) {
  const found = [...new Set(values)].filter((value) => value !== null);
  found.sort(compared);
  return new Map(found.map((value, place) => [value, place]));
}

/** What a value of a column looks like: parameters and responses to six digits, on axes (`brief`) as their unit is told. */
export function shown(value, column, { brief = false, precision = 3 } = {}) {
  if (typeof value === "number" && !(brief && column.unit) && column.kind !== "metric" && column.kind !== "own") return `${exact(value)}${column.unit && column.unit !== "1" ? ` ${column.unit}` : ""}`;
  return text(value, column.unit, precision);
}

/** The heading of a column. */
export function heading(column) {
  const name = column.title ?? (column.kind === "metric" || column.kind === "own" ? words(column.name) : column.name);
  return column.twice && column.kind === "metric" ? `${name} (measured)` : name;
}

function readable(column, index) {
  return { ...column, read: (row) => row.values[index] };
}

/** An id for each column: its name, with its kind where the same name stands twice. */
function named(columns) {
  const count = new Map();
  for (const { name } of columns) count.set(name, (count.get(name) ?? 0) + 1);
  const twice = ({ kind, name }) => kind !== "own" && count.get(name) > 1;
  return columns.map((column) => ({ ...column, twice: twice(column), id: twice(column) ? `${column.kind}:${column.name}` : column.name }));
}

/** Whether Dakota's numbers can stand on an axis: each is whole and there once. */
function numbered(rows) {
  return new Set(rows.map((row) => row.eval_id)).size === rows.length && rows.every((row) => /^\d{1,9}$/.test(row.eval_id));
}

function spent(row) {
  return row.started === null || row.ended === null ? null : row.ended - row.started;
}
