// The one selection of a study's page: ranges of columns and picked evaluations, shared by all panels and the table.

/**
 * Which evaluations are chosen.
 *
 * Ranges are [low, high] of a column, places of words for those of words, or `{ unknown: true }`; an evaluation is
 * chosen if it lies in all of them. Picking evaluations one by one puts these in the place of the ranges.
 */
export class Brush {
  constructor(evaluations) {
    this.evaluations = evaluations;
    this.ranges = new Map();
    this.picked = null;
    this.heard = new Set();
    this.chosen = null;
    this.moving = false;
  }

  /** Call `listener(moving)` after each change; `moving` while a finger or the mouse is still down. */
  listen(listener) {
    this.heard.add(listener);
  }

  /** Whether anything is chosen at all; if not, all evaluations are alike. */
  get active() {
    return this.chosen !== null;
  }

  /** How many are chosen. */
  get size() {
    return this.chosen?.size ?? 0;
  }

  has(key) {
    return this.chosen?.has(key) ?? false;
  }

  /** Set the ranges of columns, by id; null takes a range away. */
  range(ranges, moving = false) {
    for (const [id, range] of ranges) {
      if (range === null) this.ranges.delete(id);
      else this.ranges.set(id, range);
    }
    this.refresh(moving);
  }

  /** Choose exactly these. */
  pick(keys) {
    this.ranges.clear();
    this.picked = new Set(keys);
    this.refresh();
  }

  /** Choose one more, or one less. */
  toggle(key) {
    const keys = new Set(this.chosen ?? []);
    if (!keys.delete(key)) keys.add(key);
    this.ranges.clear();
    this.picked = keys.size ? keys : null;
    this.refresh();
  }

  clear() {
    this.ranges.clear();
    this.picked = null;
    this.refresh();
  }

  /** Find anew what is chosen: after a change of it, or of the evaluations. */
  refresh(moving = false) {
    this.moving = moving;
    this.chosen = this.found();
    for (const listener of this.heard) listener(moving);
  }

  found() {
    const tests = [...this.ranges].flatMap(([id, range]) => this.test(id, range));
    if (!tests.length && !this.picked) return null;
    const kept = this.evaluations.rows.filter((row, place) => (this.picked?.has(row.key) ?? true) && tests.every((test) => test(place)));
    return new Set(kept.map((row) => row.key));
  }

  test(id, range) {
    const column = this.evaluations.column(id);
    if (!column) return [];
    const values = this.evaluations.values(column);
    if (range.unknown) return [(place) => values[place] === null];
    const [low, high] = range;
    if (!this.evaluations.wordy(column)) return [(place) => values[place] !== null && values[place] >= low && values[place] <= high];
    const order = this.evaluations.order(column);
    return [(place) => values[place] !== null && order.get(values[place]) >= low && order.get(values[place]) <= high];
  }
}

/** Ranges as words for the address: `x~0.1~0.5`. */
export function written(ranges) {
  return [...ranges].map(([id, range]) => (range.unknown ? `${id}~unknown` : `${id}~${range[0]}~${range[1]}`));
}

/** And back. */
export function readRanges(texts) {
  return texts.flatMap((text) => {
    const parts = text.split("~");
    if (parts.at(-1) === "unknown" && parts.length > 1) return [[parts.slice(0, -1).join("~"), { unknown: true }]];
    const [low, high] = parts.slice(-2).map(Number);
    return parts.length > 2 && low <= high ? [[parts.slice(0, -2).join("~"), [low, high]]] : [];
  });
}
