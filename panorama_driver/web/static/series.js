// A run, a job or an attempt over time as traces of charts: what each bin holds, running totals, and why one is missing.

/** Columns of a series as they are, a value a bin; `columns` are rows of [column, name, colour, dash]. */
export function binned(series, columns, more = {}) {
  return known(series, columns).map(([column, name, color, dash = "solid"]) => ({
    name, color, metric: column, x: series.time, y: series[column], bins: series.width, mode: "lines", line: { dash, shape: "hv" }, ...more,
  }));
}

/** Their running totals: 0 where the first bin begins, then what is reached at the end of each. */
export function totals(series, columns, more = {}) {
  const ends = series.time.map((begin) => begin + series.width);
  return known(series, columns).map(([column, name, color, dash = "solid"]) => ({
    name, color, metric: column, x: [series.time[0], ...ends], y: accumulated(series[column]), mode: "lines", line: { dash }, ...more,
  }));
}

/** One column over another, where both are known and the other is not 0. */
export function ratio(series, above, below) {
  if (!series[above] || !series[below]) return null;
  return series[above].map((amount, i) => (series[below][i] && amount !== null ? amount / series[below][i] : null));
}

/** Why columns are missing, in words; empty if none is. */
export function lacking(series, columns) {
  const missing = columns.filter(([column]) => !series[column]);
  if (!missing.length) return series.time.length ? "" : "no trace";
  const names = new Map();
  for (const [column, name] of missing) {
    const reason = series.reasons[column] ?? "nobody told";
    names.set(reason, [...(names.get(reason) ?? []), name]);
  }
  if (missing.length === columns.length && names.size === 1) return [...names.keys()][0];
  return [...names].map(([reason, lacked]) => `${lacked.join(", ")}: ${reason}`).join("; ");
}

function known(series, columns) {
  return series.time.length ? columns.filter(([column]) => series[column]) : [];
}

function accumulated(column) {
  let total = 0;
  return [0, ...column.map((amount) => (total += amount))];
}
