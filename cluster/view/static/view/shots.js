// The page of shots: facets, filters, and a grid without end.

import { el, foreign, plural } from "../dom.js";
import { get } from "./ask.js";
import { fillCard, tickOf } from "./card.js";
import { drawer } from "./drawer.js";
import { endless } from "./endless.js";
import { facetList } from "./facets.js";
import { filterOf, shotKey, toggled } from "./state.js";
import { whereBox } from "./where.js";

const SORTS = [["", "by file"], ["-sharpness", "sharpest"], ["-motion", "most motion"], ["-loudness", "loudest"],
  ["-num_faces", "most faces"], ["-duration", "longest"], ["duration", "shortest"]];
const MOST_TICKED = 5000; // at once: what "all" and a range of ticks take

export function shotsPage(app) {
  let asking = new AbortController();
  let anchor = 0; // where a range of ticks begins
  let isWrong = false; // what was asked for last was refused
  let shownFor = null; // filter and order of what is shown
  const count = el("p", { class: "counted", role: "status" });
  const news = el("button", { type: "button", class: "news", hidden: true, onclick: () => renew() });
  const chips = el("div", { class: "chips", role: "list", "aria-label": "Filters" });
  const empty = el("p", { class: "empty", hidden: true });
  const problem = el("p", { class: "error", role: "alert", hidden: true });
  const facets = facetList((chosen) => app.go({ facets: chosen }));
  const side = drawer("Filters", facets.node);
  const where = whereBox(app, (text) => { if (text !== app.state.where) app.go({ where: text }); else update(); });
  const sort = el("select", { "aria-label": "Order", onchange: () => app.go({ sort: sort.value }) },
    ...SORTS.map(([value, name]) => el("option", { value }, name)));
  const all = el("button", { type: "button", class: "quiet every", onclick: tickAll }, "Tick all");

  const grid = endless({
    label: "Shots",
    narrowest: () => (innerWidth < 820 ? 150 : 232),
    height: (width) => Math.round((width * 9) / 16) + 88,
    top: () => app.headHeight(),
    load: async (offset, limit) => {
      const { signal } = asking;
      try {
        const answer = await get("shots", { filter: filterOf(app.state), sort: app.state.sort, offset, limit }, signal);
        return signal.aborted ? undefined : answer;
      } catch (error) {
        if (signal.aborted) return undefined;
        throw error;
      }
    },
    key: (row) => shotKey(row.source, row.index),
    fill: (item, row, index) => fillCard(app, item, row, index, app.state.words.trim().toLowerCase(), tick),
    loaded: (total) => {
      told(null);
      news.hidden = true;
      app.arrived();
      count.replaceChildren(el("b", {}, plural(total, "shot")),
        grid.room < total ? `, the first ${grid.room.toLocaleString("en")} of them here` : "");
      all.disabled = !total;
      empty.hidden = total > 0;
      empty.textContent = filterOf(app.state) ? "No shot is like that." : app.index?.ready === false
        ? "Shots are being gathered." : "No shots here yet: framemill extract SOURCES -o OUT --ops scenes,frames";
    },
    moved: (more) => {
      news.hidden = false;
      news.textContent = more ? `${plural(more, "more shot")}: show` : "There is something new: show";
    },
    failed: told,
  });
  grid.node.addEventListener("keydown", (event) => {
    const item = event.target.closest("li");
    if (!item || event.altKey || event.ctrlKey || event.metaKey) return;
    const box = item.querySelector(".tick input");
    if (event.key === " " && event.target.tagName === "BUTTON") {
      event.preventDefault();
      box.checked = !box.checked;
      tick(Number(item.dataset.index), box.checked, event.shiftKey);
    } else if (event.key === "t") {
      event.preventDefault();
      app.tag(app.ticked.size ? undefined : [grid.rowAt(Number(item.dataset.index))]);
    }
  });
  grid.node.addEventListener("keyup", (event) => {
    // A button is pressed by the key's way up: Space ticks, Enter opens.
    if (event.key === " " && event.target.tagName === "BUTTON") event.preventDefault();
  });

  const node = el("div", { class: "curate" }, side.node,
    el("div", { class: "found" },
      el("div", { class: "tools" }, side.opens, count, news, el("span", { class: "gap" }), all, sort),
      where, chips, problem, grid.node, empty));

  function told(error) {
    const isCondition = error?.status === 400 && app.state.where.trim();
    where.show(app.state.where, isCondition ? error.message : null);
    isWrong = Boolean(error);
    grid.node.classList.toggle("stale", isWrong); // what is shown is of before
    problem.hidden = !error || Boolean(isCondition);
    problem.textContent = error && !isCondition ? error.message : "";
  }
  async function tick(index, isTicked, withShift) {
    const range = withShift ? [Math.min(anchor, index), Math.max(anchor, index) + 1] : [index, index + 1];
    anchor = index;
    mark(await grid.rows(range[0], Math.min(range[1], range[0] + MOST_TICKED)), isTicked);
  }
  async function tickAll() {
    mark(await grid.rows(0, Math.min(grid.total, MOST_TICKED)), true);
    if (grid.total > MOST_TICKED) app.say(`The first ${MOST_TICKED.toLocaleString("en")} are ticked: narrow them for others.`);
  }
  function mark(rows, isTicked) {
    for (const row of rows) {
      const key = shotKey(row.source, row.index);
      if (isTicked) app.ticked.set(key, tickOf(app, row));
      else app.ticked.delete(key);
    }
    for (const item of grid.node.children) {
      const box = item.querySelector(".tick input");
      if (box) box.checked = app.ticked.has(item.dataset.shot);
    }
    app.changed();
  }
  function showChips() {
    const { facets: chosen, where: condition, words, file } = app.state;
    const all = Object.entries(chosen).flatMap(([name, values]) => values.map((value) => {
      const [title, shown] = facets.called(name, value);
      return [title, shown, () => app.go({ facets: toggled(chosen, name, value) })];
    }));
    if (words.trim()) all.push(["words", words.trim(), () => app.go({ words: "" })]);
    if (condition.trim()) all.push(["where", condition, () => app.go({ where: "" })]);
    if (file) all.push(["file", app.files.get(file)?.name ?? file.slice(0, 8), () => app.go({ file: "" })]);
    chips.hidden = !all.length;
    chips.replaceChildren(...all.map(([title, shown, remove]) => el("span", { class: "filter", role: "listitem" },
      el("span", {}, title), " ", el("b", {}, foreign(shown)),
      el("button", { type: "button", "aria-label": `Remove the filter ${title}`, onclick: remove }, "×"))),
    all.length > 1 ? el("button", { type: "button", class: "quiet",
      onclick: () => app.go({ facets: {}, where: "", words: "", file: "" }) }, "Clear all") : "");
    side.count(all.length);
  }
  async function countFacets() {
    const { signal } = asking;
    if (isWrong) return; // nor is there anything to count
    try {
      const answer = await get("facets", { filter: filterOf(app.state) }, signal);
      if (signal.aborted) return;
      facets.show(answer.facets, app.state.facets);
      showChips();
    } catch (error) {
      if (!signal.aborted) told(error);
    }
  }
  function renew() {
    news.hidden = true;
    grid.refresh(true);
    countFacets();
  }
  /** Shows what the state says, where that is something else than what is shown. */
  function update() {
    const wanted = JSON.stringify([filterOf(app.state), app.state.sort]);
    sort.value = app.state.sort;
    where.show(app.state.where, null);
    showChips();
    if (wanted === shownFor) return;
    shownFor = wanted;
    asking.abort();
    asking = new AbortController();
    anchor = 0;
    grid.reload().then(countFacets);
  }
  return {
    node, update,
    /** More is in the folder. */
    async refresh() {
      await grid.refresh();
      await countFacets();
    },
    focusAt: (index = grid.current) => grid.goTo(index),
    neighbour: async (index) => (index < 0 || index >= grid.total ? undefined : (await grid.rows(index, index + 1))[0]),
    close: () => {
      asking.abort();
      grid.close();
    },
  };
}
