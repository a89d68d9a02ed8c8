// Pages that are read: errors, runs, and the figures of the whole folder.

import { el, foreign, plural } from "../dom.js";
import { figures, spread, table, work } from "../overview.js";
import { get } from "./ask.js";
import { answerPage } from "./people.js";

const PAGE = 200; // rows

export function errorsPage() {
  const count = el("p", { class: "counted", role: "status" });
  const body = el("tbody");
  const more = el("button", { type: "button", class: "soft", hidden: true, onclick: () => load(body.children.length, false) },
    "Show more");
  const problem = el("p", { class: "error", role: "alert", hidden: true });
  const head = ["file", "operation", "status", "why"];
  const list = el("div", { class: "scroll", tabindex: 0 },
    el("table", {}, el("thead", {}, el("tr", {}, ...head.map((name) => el("th", {}, name)))), body));
  const row = (one) => el("tr", {}, ...[one.uri, one.operation === "*" ? "whole file" : one.operation, one.status, one.message]
    .map((value) => el("td", {}, foreign(String(value ?? "")))));
  async function load(offset, isFresh) {
    try {
      const { total, rows } = await get("errors", { offset, limit: isFresh ? Math.max(PAGE, body.children.length) : PAGE });
      if (isFresh) body.replaceChildren();
      body.append(...rows.map(row));
      problem.hidden = true;
      list.hidden = !total;
      count.textContent = total ? plural(total, "problem") : "No file failed.";
      more.hidden = body.children.length >= total;
    } catch (error) {
      problem.hidden = false;
      problem.textContent = error.message;
    }
  }
  let isAsked = false;
  return { node: el("div", { class: "errors" }, el("div", { class: "tools" }, count), problem, list, more),
    update() {
      if (!isAsked) load(0, true);
      isAsked = true;
    }, refresh: () => load(0, true), close() {} };
}

export const runsPage = () => answerPage("runs", "overview", (answer) => {
  const sections = work({ ...answer, runs: answer.rows });
  return sections.length ? sections : [el("p", { class: "empty" }, "No run has ended yet.")];
});

export const overviewPage = () => answerPage("overview", "overview", (answer) =>
  [figures(answer.totals), ...spread(answer), ...work(answer)]);
