// The first page: what is there, what failed, what it cost.

import { el, foreign, isolated, plural } from "./dom.js";
import { soundPicture, still } from "./pictures.js";
import { holds } from "./search.js";
import { bytes, clock } from "./times.js";

/** Figures of the whole folder, the files, then how they are spread and what the runs did. */
export function overview(page) {
  const { totals, failures, files } = page.document;
  const node = el("div", { class: "overview" }, figures(totals));
  if (failures.length) node.append(failed(failures));
  const shown = files.filter((file) => holds(file.uri, page.query));
  node.append(el("section", {}, el("h2", {}, "Files"), shown.length
    ? el("ul", { class: "posters" }, ...shown.map((file) => poster(page, file)))
    : el("p", { class: "empty" }, "No file has that in its path.")), ...spread(page.document), ...work(page.document));
  return node;
}

/** Numbers of the whole folder. */
export function figures(totals) {
  const all = [
    [totals.files.toLocaleString("en"), totals.files === 1 ? "file" : "files"],
    [clock(Math.round(totals.seconds)), "of media"],
    [totals.shots.toLocaleString("en"), totals.shots === 1 ? "shot" : "shots"],
    [bytes(totals.bytes), "on disk"],
    [totals.failed, "failed", totals.failed > 0],
    [totals.partial, "partial", totals.partial > 0],
  ];
  return el("ul", { class: "figures" },
    ...all.map(([number, word, isBad]) => el("li", { class: isBad && "bad" }, el("b", {}, String(number)), word)));
}

/** How lengths, codecs and labels are spread: a section, or nothing. */
export function spread({ histograms }) {
  const charts = Object.entries(histograms).map(([title, rows]) => chart(title, rows, (n) => n.toLocaleString("en")));
  return charts.length ? [el("section", {}, el("h2", {}, "Spread"), el("div", { class: "charts" }, ...charts))] : [];
}

/** What the runs did, with which models: a section, or nothing. */
export function work({ costs, models, runs }) {
  const node = el("div", { class: "charts" });
  if (costs.length) node.append(chart("Seconds of work", costs.slice(0, 16), (n) => `${n < 10 ? n.toFixed(1) : Math.round(n)} s`));
  if (models.length) {
    node.append(el("figure", { class: "wide-chart" }, el("figcaption", {}, "Models, and where they ran"),
      table(["role", "model", "ran on", "precision"], models.map((m) => [m.role, m.model, m.provider, m.precision]))));
  }
  if (runs.length) {
    node.append(el("figure", { class: "wide-chart" }, el("figcaption", {}, "Runs"),
      table(["started (UTC)", "engine", "files", "took", "exit"],
        runs.map((r) => [r.started, r.engine, r.num_files, `${r.seconds} s`, r.exit_code]))));
  }
  return node.firstChild ? [el("section", {}, el("h2", {}, "Work"), node)] : [];
}

function poster(page, file) {
  const shot = file.shots[file.poster];
  const shown = shot ? still(page.data, shot.still, file.name, [file.width, file.height], [], shot.unsafe)
    : soundPicture(file);
  const facts = [clock(file.seconds), file.shots.length && plural(file.shots.length, "shot"), file.codec];
  return el("li", {}, el("button", { class: "poster", type: "button", onclick: () => page.open(file) }, shown,
    el("span", { class: "caption" }, el("b", { title: isolated(file.name) }, foreign(file.name)),
      el("span", {}, facts.filter(Boolean).join(" · ")),
      file.status === "ok" ? null : el("span", { class: "chip bad" }, file.status))));
}

function failed(failures) {
  const rows = failures.map((row) => [row.uri, row.operation === "*" ? "whole file" : row.operation, row.status, row.message]);
  return el("details", { class: "failures", open: failures.length <= 8 },
    el("summary", {}, `${plural(failures.length, "problem")}`),
    table(["file", "operation", "status", "why"], rows));
}

function chart(title, rows, shown) {
  const most = Math.max(...rows.map((row) => row[1]), 1e-9);
  return el("figure", { class: "chart" }, el("figcaption", {}, title), el("dl", {}, ...rows.map(([name, number]) =>
    el("div", {}, el("dt", { title: isolated(name) }, foreign(name)),
      el("dd", {}, el("span", { class: "bar", css: { width: `${(number / most) * 100}%` } }), el("span", {}, shown(number)))))));
}

/** A table of texts, within a box that scrolls. */
export function table(head, rows) {
  const titles = head.map((cell) => el("th", {}, cell));
  return el("div", { class: "scroll", tabindex: 0 }, el("table", {}, el("thead", {}, el("tr", {}, ...titles)),
    el("tbody", {}, ...rows.map((row) => el("tr", {}, ...row.map((cell) => el("td", {}, foreign(String(cell))))))))); 
}
