// The page of files, and that of one file: player, facts, timeline in lanes, its shots.

import { el, foreign, isolated, plural } from "../dom.js";
import { parts } from "../files.js";
import { still } from "../pictures.js";
import { tagChips } from "../shots.js";
import { clock } from "../times.js";
import { get } from "./ask.js";
import { pictures } from "./card.js";
import { endless } from "./endless.js";
import { overlay } from "./overlay.js";
import { filterOf } from "./state.js";

export function filesPage(app) {
  const count = el("p", { class: "counted", role: "status" });
  const note = el("p", { class: "hint" });
  const problem = el("p", { class: "error", role: "alert", hidden: true });
  let asking = new AbortController();
  let shownFor = null;
  const grid = endless({
    label: "Files",
    narrowest: () => (innerWidth < 820 ? 150 : 232),
    height: (width) => Math.round((width * 9) / 16) + 56,
    top: () => app.headHeight(),
    load: async (offset, limit) => {
      const { signal } = asking;
      try {
        const answer = await get("files", { filter: filterOf(app.state), offset, limit }, signal);
        return signal.aborted ? undefined : answer;
      } catch (error) {
        if (signal.aborted) return undefined;
        throw error;
      }
    },
    key: (row) => row.id,
    fill: (item, row) => item.append(el("a", { class: "poster", href: app.address({ page: "file", file: row.id }) },
      row.still ? still(pictures, row.still, row.name, [row.width, row.height], [], row.unsafe)
        : el("span", { class: "still sound" }, el("span", { class: "badge" }, row.width ? "no picture" : "sound")),
      el("span", { class: "caption" }, el("b", { title: isolated(row.uri) }, foreign(row.name)),
        el("span", {}, [clock(row.seconds), row.shots ? plural(row.shots, "shot") : null, row.codec].filter(Boolean).join(" · ")),
        row.status === "ok" ? null : el("span", { class: "chip bad" }, row.status)))),
    loaded: (total) => {
      problem.hidden = true;
      app.arrived();
      count.replaceChildren(el("b", {}, plural(total, "file")));
    },
    moved: () => grid.refresh(true), // files come in by path, a few at a time
    failed: (error) => {
      problem.hidden = false;
      problem.textContent = error.message;
    },
  });
  return {
    node: el("div", { class: "found" }, el("div", { class: "tools" }, count, note), problem, grid.node),
    update() {
      const filter = filterOf(app.state);
      note.textContent = filter ? "with shots that are like the filter" : "";
      if (filter === shownFor) return;
      shownFor = filter;
      asking.abort();
      asking = new AbortController();
      grid.reload();
    },
    refresh: () => grid.refresh(),
    focusAt: (index = grid.current) => grid.goTo(index),
    close: () => {
      asking.abort();
      grid.close();
    },
  };
}

export function filePage(app) {
  const node = el("div", { class: "files" });
  let shownFor = "";
  let shots = [];
  let boxes = null;

  async function update() {
    const { file: id, at } = app.state;
    if (id === shownFor) return void (at && node.querySelector("section")?.seek(Number(at)));
    shownFor = id;
    boxes?.close();
    node.replaceChildren(el("p", { class: "hint" }, "Reading …"));
    let file;
    try {
      file = await get(`files/${encodeURIComponent(id)}`);
    } catch (error) {
      if (id === shownFor) node.replaceChildren(el("p", { class: "error", role: "alert" }, error.message));
      return;
    }
    if (id !== shownFor) return;
    const held = app.files.get(file.id) ?? file;
    app.files.set(file.id, held);
    const section = el("section", { class: "file", "aria-label": isolated(file.name) });
    const page = { data: pictures, query: "", ticked: app.ticked, changed: app.changed };
    // Ticks of one file share one object, wherever they were set.
    ({ shots } = Object.assign(held, file));
    // What is ticked here is tagged as in the grid.
    shots.forEach((shot, index) => Object.assign(shot, { source: id, index, tags: file.tags[index] ?? [] }));
    section.append(...parts(page, held, shots.map((_, index) => index), section));
    node.replaceChildren(el("p", { class: "links" },
      el("a", { href: app.address({ page: "files", file: "" }) }, "‹ Files"),
      held.shots.length ? el("a", { href: app.address({ page: "shots", file: id }) }, "Its shots, to filter and tag") : null),
    section);
    if (held.url) {
      boxes = overlay(section.querySelector(".screen"), held);
      section.querySelector(".player").append(el("div", { class: "under" }, boxes.node));
      boxes.show(Number(at) || 0);
    }
    if (at) section.seek(Number(at));
  }
  /** Draws tags anew. */
  function refresh() {
    for (const labels of node.querySelectorAll("li.card .labels")) {
      for (const old of labels.querySelectorAll(".tag")) old.remove();
      labels.prepend(...tagChips(shots[Number(labels.closest("li").dataset.shot)]));
    }
  }
  return { node, update, refresh, close: () => boxes?.close() };
}
