// What a person would want to share of a study's page, as the query of its address.

import { readRanges, written } from "./brush.js";

/** The view that a query tells: what it leaves out is as usual for these evaluations. */
export function viewOf(query, evaluations) {
  const known = (id) => evaluations.column(id) !== undefined;
  const usual = evaluations.usual().map(({ id }) => id);
  const all = (name, otherwise) => (query.has(name) ? query.getAll(name).filter(known) : otherwise);
  const single = (name, otherwise) => (known(query.get(name)) ? query.get(name) : otherwise);
  const telling = evaluations.telling.id;
  const first = evaluations.columns.find((column) => column.kind === "parameter" && evaluations.numeric(column))?.id ?? "evaluation";
  const sort = query.get("sort") ?? "evaluation";
  return {
    axes: all("axis", usual),
    colour: single("colour", telling),
    log: new Map([...query.getAll("log").map((id) => [id, true]), ...query.getAll("linear").map((id) => [id, false])]),
    columns: all("column", ["state", ...usual]),
    sort: { column: sort.replace(/^-/, ""), down: sort.startsWith("-") && !known(sort) },
    filter: query.get("filter") ?? "",
    only: query.has("only"),
    x: single("x", first),
    y: single("y", telling),
    ranges: readRanges(query.getAll("range")),
  };
}

/** The query that tells a view: what is as usual is left out. */
export function queryOf(view, brush, evaluations) {
  const usual = viewOf(new URLSearchParams(), evaluations);
  const differ = (name, ids, otherwise) => (ids.join("\n") === otherwise.join("\n") ? [] : ids.map((id) => [name, id]));
  const other = (name) => (view[name] === usual[name] ? [] : [[name, view[name]]]);
  const sort = `${view.sort.down ? "-" : ""}${view.sort.column}`;
  return new URLSearchParams([
    ...differ("axis", view.axes, usual.axes), ...other("colour"), ...[...view.log].map(([id, log]) => [log ? "log" : "linear", id]),
    ...differ("column", view.columns, usual.columns), ...(sort === "evaluation" ? [] : [["sort", sort]]),
    ...other("filter"), ...(view.only ? [["only", ""]] : []), ...other("x"), ...other("y"), ...written(brush.ranges).map((range) => ["range", range]),
  ]);
}
