// The data themselves: what they are, who made them, under which licence they may be used, and the files to take.

import { fill, h, panel, wide } from "../dom.js";
import { bytes, time } from "../format.js";

/** Show what is published here. */
export async function show(view, place, source) {
  const data = await source.repository();
  fill(view, h("h1", {}, data.title), data.description && h("p", {}, data.description), about(data, source), reading(data), wide(tables(data)), wide(files(data)));
}

function about(data, source) {
  const { software, creators, sites, pseudonyms } = data;
  const facts = [
    ["licence", data.license ?? "none: ask those who made them"],
    ["by", creators.map(who).join("; ") || "nobody is named"],
    ["made", time(Date.parse(data.created) / 1000, "created")],
    ["studies", h("a", { href: source.link("studies") }, String(data.studies.length))],
    ["events", data.studies.reduce((sum, study) => sum + study.events, 0).toLocaleString("en")],
    ["ran at", sites.join(", ") || "no site is named"],
    ["names of hosts, users, paths", !pseudonyms ? "as they were" : "pseudonyms"],
    ["size", bytes(data.files.reduce((sum, file) => sum + file.bytes, 0))],
  ];
  const programs = new Set(software.map(({ name, version }) => [name, version].filter(Boolean).join(" ")));
  return panel("about", "About these data", h("dl", { class: "terms" }, facts.map(([name, what]) => h("div", {}, h("dt", {}, name), h("dd", {}, what)))),
    h("p", { class: "note" }, `Programs that had a part in them: ${[...programs].join(", ") || "none is named"}.`));
}

function who({ name, affiliation, orcid }) {
  return [name, affiliation && `(${affiliation})`, orcid].filter(Boolean).join(" ");
}

/** How to read a table from here, in the words of those who read tables. */
function reading(data) {
  const first = data.tables.find(({ name }) => name === "workflows") ?? data.tables[0];
  const file = first && data.files.find(({ path }) => path.startsWith(`${first.name}/`));
  if (!file) return null;
  const url = new URL(address(file.path), document.baseURI).href;
  const lines = [`-- DuckDB`, `SELECT * FROM read_parquet('${url}');`, ``, `# Python`, `import pandas`, `pandas.read_parquet("${url}")`];
  return panel("reading", "Read them", h("pre", {}, lines.join("\n")), h("p", { class: "note" }, "The API of these pages is for everybody as well: ", h("a", { href: "api/openapi.json" }, "openapi.json"), "."));
}

function tables(data) {
  const row = (column) => h("tr", {}, h("td", {}, column.name), h("td", {}, column.type), h("td", {}, column.unit), h("td", { class: "words" }, column.description));
  const one = (table) => h("details", {}, h("summary", {}, h("strong", {}, table.name), " ", table.description),
    h("div", { class: "scroll" }, h("table", {}, h("thead", {}, h("tr", {}, ["column", "type", "unit", "meaning"].map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, table.columns.map(row)))));
  return panel("tables", "Tables", data.tables.map(one));
}

function files(data) {
  const row = ({ path, bytes: size, rows, sha256 }) => h("tr", {}, h("td", {}, h("a", { href: address(path), download: true }, path)),
    h("td", { class: "number" }, bytes(size)), h("td", { class: "number" }, rows === null || rows === undefined ? "" : String(rows)), h("td", {}, h("code", { title: sha256 }, sha256.slice(0, 12))));
  return panel("files", "Files", h("div", { class: "scroll" }, h("table", {}, h("thead", {}, h("tr", {}, ["file", "size", "rows", "SHA-256"].map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, data.files.map(row)))));
}

/** Where a file of the repository is, relative to the pages' base. */
function address(path) {
  return `data/${path.split("/").map(encodeURIComponent).join("/")}`;
}
