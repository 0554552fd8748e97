// When an attempt was not as it should be, for charts over time and for bars of a Gantt chart.

import { SIGNS, wordOf } from "./kinds.js";

/** Whether an anomaly is of an attempt: of it, of its job as a whole, or of the host that it ran on. */
export function concerns({ anomaly }, job, attempt) {
  if (anomaly.job_id !== null) return anomaly.job_id === job && (anomaly.attempt === null || anomaly.attempt === attempt.attempt);
  return anomaly.host !== null && anomaly.host === attempt.host;
}

/**
 * Spans for a chart: from when it began until it was over, or was found, where nobody told that it is over. What is of
 * the host goes on before and after the attempt: of that, its time alone is shown, and `quietly`.
 */
export function spansOf(rows, job, attempt) {
  return rows.filter((row) => concerns(row, job, attempt)).map((row) => spanOf(row, attempt)).filter(({ since, to }) => since <= to);
}

function spanOf({ anomaly_id: id, anomaly, over }, { submit, start, end }) {
  const words = `${over === null ? SIGNS.open : SIGNS.over} ${wordOf(anomaly.kind)}`;
  const span = { id, kind: anomaly.kind, since: anomaly.since, found: anomaly.found, to: over ?? anomaly.found, words };
  if (anomaly.job_id !== null) return span;
  const [from, until] = [start ?? submit ?? span.since, end ?? Infinity];
  return { ...span, since: Math.max(span.since, from), to: Math.min(span.to, until), found: span.found > until || span.found < from ? null : span.found, quietly: true };
}

/** From when to when a mark on an attempt's bar goes, which begins and ends with the bar; null where it has no part. */
export function markOf({ anomaly, over }, { from, to }) {
  const [since, until] = [Math.max(anomaly.since, from), Math.min(over ?? Infinity, to)];
  return since <= until ? [since, until] : null;
}
