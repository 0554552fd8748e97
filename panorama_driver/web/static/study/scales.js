// Where a value stands on an axis and what colour it has: straight, by powers of ten, or a place for each word.

const SPREAD = 100; // as far apart, and crowded at the low end, values ask for powers of ten
const CROWDED = 0.1;
const MOST_WORDS = 12;
const CLOCK = [15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400]; // [s]
/** Viridis, which grows lighter from end to end for people with any colour vision. */
const VIRIDIS = ["#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"];

/**
 * The scale of one column: `at(value)` from 0 to 1, null if not known; `from(at)` back; `ticks` as [at, value].
 * `log` as asked, or by the values where it is undefined.
 */
export function scale(evaluations, column, log) {
  return evaluations.wordy(column) ? ofWords(evaluations.order(column)) : ofNumbers(evaluations.values(column), log, column.unit);
}

function ofWords(order) {
  const last = Math.max(order.size - 1, 1);
  const at = (value) => (value === null || !order.has(value) ? null : order.size === 1 ? 0.5 : order.get(value) / last);
  const every = Math.ceil(order.size / MOST_WORDS);
  const ticks = [...order].filter(([, place]) => place % every === 0).map(([word]) => [at(word), word]);
  return { words: [...order.keys()], log: false, at, ticks, low: 0, high: last, from: (share) => share * last, to: (place) => place / last };
}

function ofNumbers(values, asked, unit) {
  const [least, most] = extent(values);
  const whole = values.every((value) => value === null || Number.isInteger(value));
  const logarithmic = least > 0 && (asked ?? decadesApart(values));
  const [turn, back] = logarithmic ? [Math.log10, (power) => 10 ** power] : [Number, Number];
  const [low, high] = widened(turn(least), turn(most));
  const marks = () => (least === most ? [least] : logarithmic ? decades(low, high) : steps(low, high, 5, { least: whole ? 1 : 0, unit }));
  const to = (value) => (turn(value) - low) / (high - low);
  return {
    log: logarithmic, possible: least > 0, to, single: least === most ? least : null,
    low: least === most ? back(low) : least,
    high: least === most ? back(high) : most,
    at: (value) => (value === null ? null : to(value)),
    from: (share) => back(low + share * (high - low)),
    ticks: marks().map((value) => [to(value), value]),
  };
}

/** Whether the values ask for powers of ten: they are positive, far apart, and most of them at the low end. */
export function decadesApart(values) {
  const known = Float64Array.from(values.filter((value) => typeof value === "number")).sort();
  const [least, most] = [known[0], known.at(-1)];
  return least > 0 && most / least >= SPREAD && known[known.length >> 1] - least < CROWDED * (most - least);
}

/** Least and most of what is known. */
export function extent(values) {
  let least = Infinity;
  let most = -Infinity;
  for (const value of values) {
    if (value === null || !Number.isFinite(value)) continue;
    if (value < least) least = value;
    if (value > most) most = value;
  }
  return least > most ? [0, 1] : [least, most];
}

function widened(low, high) {
  if (low !== high) return [low, high];
  const room = Math.abs(low) * 0.1 || 1;
  return [low - room, high + room];
}

function decades(low, high) {
  const every = Math.max(1, Math.ceil((high - low) / 6));
  const found = [];
  for (let power = Math.ceil(low - 1e-9); power <= high + 1e-9; power += every) found.push(10 ** power);
  return found.length >= 2 ? found : steps(10 ** low, 10 ** high, 3);
}

/** Some `number` of numbers between two, round in their `unit`, `least` or more apart. */
export function steps(low, high, number = 5, { least = 0, unit = "" } = {}) {
  const step = round(Math.max((high - low) / number, least), unit);
  const first = Math.ceil(low / step - 1e-9);
  const count = Math.floor(high / step + 1e-9) - first + 1;
  return Array.from({ length: count }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

function round(raw, unit) {
  if (unit === "bytes") return 2 ** Math.ceil(Math.log2(raw));
  const clock = unit === "s" && raw > 10 ? CLOCK.find((step) => step >= raw) : undefined;
  if (clock) return clock;
  const size = 10 ** Math.floor(Math.log10(raw));
  return size * [1, 2, 5, 10].find((factor) => factor * size >= raw * 0.999);
}

/** Colours from good (0) to bad (1): the good ones stand out from the paper, dark on light or bright on dark. */
export function colour(share, dark) {
  const along = dark ? 1 - 0.7 * share : 0.85 * share;
  const place = Math.min(Math.max(along, 0), 1) * (VIRIDIS.length - 1);
  const left = Math.min(Math.floor(place), VIRIDIS.length - 2);
  const [from, to] = [VIRIDIS[left], VIRIDIS[left + 1]].map(parsed);
  return `rgb(${from.map((part, i) => Math.round(part + (to[i] - part) * (place - left))).join(" ")})`;
}

/** Whether the page is dark now. */
export function isDark() {
  const theme = document.documentElement.dataset.theme;
  return theme === "dark" || (theme !== "light" && matchMedia("(prefers-color-scheme: dark)").matches);
}

function parsed(hex) {
  return [1, 3, 5].map((start) => Number.parseInt(hex.slice(start, start + 2), 16));
}
