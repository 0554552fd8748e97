// Speed and bytes over time of one transfer or of many together, from the spans between their progress events.

const BINS = 200;

/** Speed as steps: moments [s] and what was moved from each of them to the next, all spans added [bytes/s]. */
export function speedSteps(spans) {
  const changes = spans.filter(([begin, end]) => end > begin).flatMap(([begin, end, size]) => [[begin, size / (end - begin)], [end, -size / (end - begin)]]);
  changes.sort((a, b) => a[0] - b[0]);
  const x = [];
  const y = [];
  let running = 0;
  let speed = 0;
  for (const [moment, change] of changes) {
    running += Math.sign(change);
    speed = running || change > 0 ? speed + change : 0; // what rounding leaves over is no speed
    if (x.at(-1) === moment) y[y.length - 1] = speed;
    else x.push(moment) && y.push(speed);
  }
  return { x, y: y.map((each) => Math.max(0, each)) };
}

/** Bytes in bins of equal width; a span that crosses an edge is shared out by time, so that nothing is lost. */
export function binnedBytes(spans) {
  if (!spans.length) return { time: [], width: 1, bytes: [] };
  const begin = spans.reduce((least, span) => Math.min(least, span[0]), Infinity);
  const end = spans.reduce((most, span) => Math.max(most, span[1]), -Infinity);
  const count = end > begin ? Math.min(BINS, Math.max(20, spans.length)) : 1;
  const width = (end - begin) / count || 1;
  const bytes = new Array(count).fill(0);
  for (const span of spans) shareOut(bytes, span, begin, width);
  return { time: bytes.map((_, i) => begin + i * width), width, bytes };
}

function shareOut(bytes, [from, to, size], begin, width) {
  const bin = (moment) => Math.min(bytes.length - 1, Math.max(0, Math.floor((moment - begin) / width)));
  const [first, last] = [bin(from), bin(to)];
  if (first === last || to <= from) return void (bytes[last] += size);
  for (let i = first; i <= last; i += 1) {
    const spent = Math.min(to, begin + (i + 1) * width) - Math.max(from, begin + i * width);
    bytes[i] += (size * Math.max(0, spent)) / (to - from);
  }
}
