// Rows of a Gantt chart: one a job, or, where there are very many, as few as alike jobs that overlap need.

/** Above so many jobs alike ones share lanes. */
export const MOST_ROWS = 200;

/** Which colour a job's run has. */
export function kind(type) {
  return { compute: "compute", "stage-in-tx": "stage-in", "stage-out-tx": "stage-out" }[type ?? "compute"] ?? "other";
}

/**
 * What is drawn: blocks `{ name, jobs, waiting, packed, rows }` in order of their first start, each row a list of bars
 * `{ job, attempt, submit, start, end, kind, open }`; `open` bars go on at `now`.
 *
 * `apart` names the blocks that show a row a job although they are many.
 */
export function blocks(jobs, { now, apart }) {
  const submitted = jobs.filter((job) => job.attempts.length);
  const bars = new Map(submitted.map((job) => [job, job.attempts.map((attempt) => bar(job, attempt, now))]));
  const order = (job) => Math.min(...bars.get(job).map(begin));
  submitted.sort((a, b) => order(a) - order(b));
  if (jobs.length <= MOST_ROWS) return [{ name: null, jobs: submitted.length, waiting: 0, packed: false, rows: submitted.map((job) => bars.get(job)) }];
  const alike = new Map();
  for (const job of submitted) {
    const name = job.transformation ?? job.type ?? "unknown";
    if (!alike.has(name)) alike.set(name, []);
    alike.get(name).push(bars.get(job));
  }
  return [...alike].map(([name, rows]) => ({ name, jobs: rows.length, waiting: rows.filter((row) => row.every((one) => one.open && !started(one))).length, packed: !apart.has(name), rows: apart.has(name) ? rows : packed(rows.flat()) }));
}

function bar(job, attempt, now) {
  const { submit, start } = attempt;
  const open = attempt.end === null && (attempt.state === "running" || attempt.state === "submitted" || attempt.state === "held");
  return { job, attempt, submit, start, end: open ? Math.max(now, start ?? submit ?? now) : attempt.end, open, kind: kind(job.type) };
}

/** When the first that is known of an attempt was. */
export function begin({ submit, start, end }) {
  return submit ?? start ?? end ?? Infinity;
}

/**
 * Runs in as few rows as can be: each in the first that is free; what it waited shows as far as its row has room. Those
 * that only wait are one row.
 */
function packed(bars) {
  const [ran, waits] = [bars.filter(started), bars.filter((one) => !started(one))];
  const lanes = [];
  for (const one of ran.sort((a, b) => a.start - b.start)) {
    let lane = lanes.find((some) => some.free <= one.start);
    if (!lane) lanes.push((lane = { free: -Infinity, bars: [] }));
    lane.bars.push({ ...one, submit: one.submit === null ? null : Math.max(one.submit, Math.min(lane.free, one.start)) });
    lane.free = one.end ?? one.start;
  }
  return [...lanes.map((lane) => lane.bars), ...(waits.length ? [waits] : [])];
}

function started({ start }) {
  return start !== null && start !== undefined;
}

/** First and last moment of all bars; `fallback` where there is none. */
export function extent(shown, fallback) {
  let [low, high] = [Infinity, -Infinity];
  for (const { rows } of shown) {
    for (const one of rows.flat()) {
      for (const moment of [one.submit, one.start, one.end]) {
        if (moment === null || moment === undefined) continue;
        low = Math.min(low, moment);
        high = Math.max(high, moment);
      }
    }
  }
  return low > high ? fallback : [low, Math.max(high, low + 1e-3)];
}

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400];

/** Round numbers [s] between two moments, at most so many. */
export function ticks(low, high, most) {
  const raw = (high - low) / Math.max(1, most);
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = raw <= 1 ? [1, 2, 5, 10].map((by) => by * power).find((one) => one >= raw * 0.999) : STEPS.find((one) => one >= raw) ?? Math.ceil(raw / 86400) * 86400;
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high * (1 + 1e-12) && found.length < 100; i += 1) found.push(Number((i * step).toPrecision(12)));
  return found;
}
