// Which jobs of a DAG are alike, so that one node can stand for hundreds of them.

/** Above so many jobs, or so many on one level, alike ones are drawn as one. */
const MOST_JOBS = 60;
const MOST_ABREAST = 16;
const MOST_GROUPS = 120;
const FEWEST_ALIKE = 3;

/** Parents and children of each job. */
export function neighbours(count, edges) {
  const found = Array.from({ length: count }, () => ({ parents: [], children: [] }));
  for (const [parent, child] of edges) {
    found[parent].children.push(child);
    found[child].parents.push(parent);
  }
  return found;
}

/** Level of each job: the longest way to it from a job without parents. Those of a cycle stay where it was met. */
export function levels(around) {
  const level = around.map(() => 0);
  const open = around.map(({ parents }) => parents.length);
  const ready = [...open.keys()].filter((job) => !open[job]);
  for (let i = 0; i < ready.length; i += 1) {
    for (const child of around[ready[i]].children) {
      level[child] = Math.max(level[child], level[ready[i]] + 1);
      if (!(open[child] -= 1)) ready.push(child);
    }
  }
  return level;
}

/**
 * The jobs as items: `{ key, title, kind, label, level, jobs, children }`. A job alone has no children; a group has those of its jobs that have
 * the very same parents and children as groups of their own, where that is not all of them.
 */
export function items(jobs, edges) {
  const around = neighbours(jobs.length, edges);
  const level = levels(around);
  const grouped = jobs.length > MOST_JOBS || abreast(level) > MOST_ABREAST;
  const classes = grouped ? alike(jobs, around, level) : jobs.map((_, i) => i);
  const made = gathered(jobs.keys(), (job) => classes[job]).flatMap((members) => {
    if (members.length < FEWEST_ALIKE) return members.map((job) => single(jobs, level, job));
    return [group(jobs, level, members, jobs[members[0]].transformation ?? jobs[members[0]].type ?? "jobs", twins(jobs, around, level, members))];
  });
  return { items: made.sort(natural), around, level, grouped };
}

/** All groups among these, those within others as well. */
export function groups(among) {
  return among.flatMap((item) => (item.children ? [item, ...groups(item.children)] : []));
}

function abreast(level) {
  return Math.max(0, ...gathered(level.keys(), (job) => level[job]).map((members) => members.length));
}

/** Same kind and level, and the same of all parents and children: refined until nothing more falls apart. */
function alike(jobs, around, level) {
  const coarse = numbered(jobs.map((job, i) => `${level[i]} ${job.type} ${job.transformation}`));
  let now = coarse;
  for (;;) {
    const finer = numbered(around.map(({ parents, children }, i) => `${now[i]} ${kinds(parents, now)} ${kinds(children, now)}`));
    if (most(finer) === most(now)) return now;
    if (most(finer) > MOST_GROUPS) return coarse;
    now = finer;
  }
}

function kinds(some, classes) {
  return [...new Set(some.map((job) => classes[job]))].sort((a, b) => a - b).join(",");
}

function numbered(words) {
  const numbers = new Map();
  return words.map((word) => numbers.get(word) ?? numbers.set(word, numbers.size).size - 1);
}

function most(numbers) {
  return numbers.reduce((largest, number) => Math.max(largest, number), -1);
}

function twins(jobs, around, level, members) {
  const same = ({ parents, children }) => `${[...parents].sort()} ${[...children].sort()}`;
  const sets = gathered(members, (job) => same(around[job]));
  if (sets.length === 1 || sets.length === members.length) return members.map((job) => single(jobs, level, job));
  return sets.flatMap((set) => (set.length < FEWEST_ALIKE ? set.map((job) => single(jobs, level, job)) : [
    group(jobs, level, set, shared(set.map((job) => jobs[job].job_id)), set.map((job) => single(jobs, level, job))),
  ]));
}

function single(jobs, level, job) {
  const { job_id: title } = jobs[job];
  return { key: `job ${title}`, title, kind: kindOf(jobs[job]), label: bare(title, jobs[job]), level: level[job], jobs: [job], children: null };
}

function group(jobs, level, members, title, children) {
  const first = jobs[members[0]];
  const key = `group ${members.length === children.length ? "jobs" : "groups"} ${first.job_id}`;
  return { key, title, kind: kindOf(first), label: bare(title, first), level: level[members[0]], jobs: members, children: children.sort(natural) };
}

/** What a job runs, or what it is for where that is the workflow system's. */
function kindOf({ type, transformation }) {
  return (type === "compute" || !type ? transformation : type) ?? "";
}

/** A name without the transformation that it begins with, once or twice: what tells it from others. */
function bare(name, { transformation }) {
  let rest = name;
  while (transformation && rest.length > transformation.length + 1 && rest.startsWith(transformation) && /[\W_]/.test(rest[transformation.length])) rest = rest.slice(transformation.length + 1);
  return rest;
}

function natural(one, other) {
  return one.title.localeCompare(other.title, undefined, { numeric: true });
}

/** What names begin with in common, without the separator at its end. */
function shared(names) {
  let length = names[0].length;
  for (const name of names) while (!name.startsWith(names[0].slice(0, length))) length -= 1;
  return names[0].slice(0, length).replace(/[\W_]+$/, "") || names[0];
}

/** Lists of those for which `key` gives the same. */
function gathered(some, key) {
  const found = new Map();
  for (const one of some) {
    const name = key(one);
    if (!found.has(name)) found.set(name, []);
    found.get(name).push(one);
  }
  return [...found.values()];
}
