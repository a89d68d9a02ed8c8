// A box for SQL, and what it answers.

import { el, foreign, plural } from "../dom.js";
import { latest, post } from "./ask.js";

const LIMIT = 500; // rows
const START = `SELECT name, count(*) AS shots, round(avg(duration_seconds), 2) AS seconds
FROM shots
GROUP BY name
ORDER BY shots DESC`;

export function sqlPage(app) {
  const box = el("textarea", { class: "code", rows: 6, spellcheck: "false", "aria-label": "SQL", "aria-describedby": "sql-told",
    onkeydown: (event) => {
      if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      run();
    } });
  const told = el("p", { class: "hint", id: "sql-told", role: "status" });
  const problem = el("pre", { class: "error", role: "alert", hidden: true });
  const place = el("div", { class: "scroll answer", tabindex: 0 });
  const tables = el("p", { class: "tables" });
  const node = el("div", { class: "sql" },
    tables, box,
    el("div", { class: "tools" }, el("button", { type: "button", class: "run", onclick: run }, "Run"),
      el("span", { class: "hint" }, "Ctrl-Enter"), told),
    problem, place);
  const ask = latest();
  let shownFor = null;

  function run() {
    if (box.value.trim() === app.state.sql) answer();
    else app.go({ sql: box.value.trim() });
  }
  async function answer() {
    const { sql } = app.state;
    told.textContent = "Running …";
    try {
      const found = await ask((signal) => post("sql", { sql, limit: LIMIT }, signal));
      if (!found) return;
      problem.hidden = true;
      const rows = plural(found.rows.length, "row");
      told.textContent = `${found.more ? "the first " : ""}${rows} in ${Math.round(found.ms).toLocaleString("en")} ms`;
      place.replaceChildren(table(found));
    } catch (error) {
      told.textContent = "";
      problem.hidden = false;
      problem.textContent = error.message;
      place.replaceChildren();
    }
  }
  function table({ columns, rows }) {
    const names = columns.map((column) => (Array.isArray(column) ? column[0] : column));
    const link = linkOf(names);
    const head = names.map((name) => el("th", {}, foreign(name)));
    return el("table", {}, el("thead", {}, el("tr", {}, link ? el("th", {}, "") : null, ...head)),
      el("tbody", {}, ...rows.map((row) => el("tr", {}, link ? el("td", {}, link(row)) : null, ...row.map(cell)))));
  }
  function cell(value) {
    if (value === null) return el("td", { class: "null" }, "NULL");
    if (typeof value === "number") return el("td", { class: "num" }, String(value));
    return el("td", {}, foreign(typeof value === "string" ? value : JSON.stringify(value)));
  }
  /** What leads from a row to its shot, or to its place in a file. */
  function linkOf(names) {
    const at = (name) => names.indexOf(name);
    const source = at("source_id");
    if (source < 0) return null;
    const [shot, seconds] = [at("scene_index"), Math.max(at("start_seconds"), at("pts_seconds"))];
    return (row) => {
      if (!row[source]) return null;
      if (shot >= 0 && row[shot] !== null) {
        return el("button", { type: "button", class: "link", onclick: () => app.openShot(row[source], row[shot]) }, "shot");
      }
      const when = seconds >= 0 && row[seconds] !== null ? String(row[seconds]) : "";
      return el("a", { href: app.address({ page: "file", file: row[source], at: when, sql: "" }) }, when ? "place" : "file");
    };
  }
  async function showTables() {
    try {
      const names = ["shots", ...await app.tables()]; // a view over the others, which nothing lists
      const show = (name) => () => {
        box.value = `SELECT * FROM ${name} LIMIT 50`;
        run();
      };
      tables.replaceChildren(el("span", { class: "hint" }, "Tables: "),
        ...names.flatMap((name) => [el("button", { type: "button", class: "code", onclick: show(name) }, name), " "]));
    } catch (error) {
      tables.replaceChildren(el("span", { class: "error" }, error.message));
    }
  }
  return {
    node,
    update() {
      if (app.state.sql === shownFor) return;
      shownFor = app.state.sql;
      box.value = shownFor || box.value || START;
      if (shownFor) answer();
    },
    refresh: showTables, // what is typed and what was answered stay
    begin: showTables,
    close() {},
  };
}
