// The viewer: its pages, the address they are kept in, what is ticked, and what a run at work adds.

import { el, isolated } from "../dom.js";
import { ticks } from "../tray.js";
import { get, post } from "./ask.js";
import { filePage, filesPage } from "./files.js";
import { helpDialog } from "./help.js";
import { watch } from "./live.js";
import { peoplePage, twinsPage } from "./people.js";
import { shotDialog } from "./shot.js";
import { shotsPage } from "./shots.js";
import { sqlPage } from "./sql.js";
import { readState, shotKey, shotOf, writeState } from "./state.js";
import { errorsPage, overviewPage, runsPage } from "./tables.js";
import { setTag, tagDialog } from "./tags.js";

const PAGES = { shots: ["Shots", shotsPage], files: ["Files", filesPage], people: ["People", peoplePage],
  twins: ["Duplicates", twinsPage], sql: ["SQL", sqlPage], errors: ["Errors", errorsPage], runs: ["Runs", runsPage],
  overview: ["Overview", overviewPage], file: ["", filePage] };
const TYPING = 250; // milliseconds of rest before words are looked for
const PLACE = "framemill.place";

export async function start() {
  const about = await get("sequence");
  const main = el("main", { id: "main", tabindex: -1 });
  const tabs = el("nav", { class: "tabs", "aria-label": "Pages" });
  const words = el("input", { type: "search", id: "words", spellcheck: "false", autocomplete: "off",
    placeholder: "Words, text, captions, labels, file names", "aria-label": "Words, text on screen, captions, labels and file names",
    "aria-keyshortcuts": "/" });
  const head = el("header", { class: "top" });
  const notice = el("div", { class: "live", role: "status" });
  const places = new Map(); // address -> how far it was scrolled
  let page = null;
  let openName = "";
  let opened = null; // the shot that was opened from the page: its row, and position in the grid
  let wanted = null; // how far to scroll once there is what to scroll
  let columns = null;

  const told = async (sql) => (await post("sql", { sql, limit: 200 })).rows;
  const app = {
    state: readState(location.hash), files: new Map(), ticked: new Map(), index: about.index,
    changed: () => tray.show(),
    headHeight: () => (getComputedStyle(head).position === "sticky" ? head.offsetHeight : 0),
    address: (changes) => writeState({ ...app.state, shot: "", at: "", ...changes }),
    /** The address of shots of one filter alone. */
    only: (filter) => app.address({ page: "shots", facets: {}, where: "", words: "", file: "", ...filter }),
    /** Goes to another state; `replaces` leaves no way back to this one. */
    go(changes, replaces = false, held = { known: true }) {
      const next = writeState({ ...app.state, ...changes });
      if (next === location.hash) return;
      if (replaces) history.replaceState(held, "", next);
      else history.pushState(held, "", next);
      render(!("shot" in changes) || "page" in changes);
    },
    open(row, index) {
      opened = { row, index };
      const isOpen = Boolean(app.state.shot);
      app.go({ shot: shotKey(row.source, row.index) }, isOpen, isOpen ? history.state : { known: true, opened: true });
    },
    openShot(source, index) {
      opened = null;
      app.go({ shot: shotKey(source, index) }, false, { known: true, opened: true });
    },
    async step(by) {
      const row = opened && opened.index >= 0 && await page.neighbour?.(opened.index + by);
      if (row) app.open(row, opened.index + by);
    },
    leaveShot() {
      if (history.state?.opened) history.back();
      else app.go({ shot: "" }, true);
    },
    tag(rows = [...app.ticked.values()].map((one) => one.shot)) {
      if (rows.length && rows[0]) tagDialog(app, rows);
    },
    async setTag(tag, isOn, rows) {
      await setTag(tag, isOn, rows);
      for (const row of rows) {
        const others = (row.tags ?? []).filter((one) => one !== tag);
        row.tags = isOn ? [...others, tag].sort() : others;
        const ticked = app.ticked.get(shotKey(row.source, row.index));
        for (const same of [ticked?.shot, app.files.get(row.source)?.shots?.[row.index]]) if (same) same.tags = row.tags;
      }
      page.refresh();
    },
    columns: async () => (columns ??= (await told("SELECT column_name, column_type FROM (DESCRIBE shots)"))
      .filter(([name]) => name !== "still")),
    tables: async () => (await told("SELECT table_name FROM information_schema.tables ORDER BY 1"))
      .map((row) => row[0]).filter((name) => name !== "shots"),
    /** Words for whoever looks, which go by themselves. */
    say(text) {
      const said = el("p", { class: "said-once", role: "status" }, text);
      document.body.append(said);
      setTimeout(() => said.remove(), 5000);
    },
    /** There is what to scroll: back to where one was. */
    arrived() {
      if (wanted !== null) scrollTo(0, wanted);
      wanted = null;
    },
  };
  const tray = ticks(app, about.title ?? "Framemill", (file) => [...app.files.values()].indexOf(file),
    [el("button", { type: "button", onclick: () => app.tag() }, "Tag")]);
  const dialog = shotDialog(app);
  const help = helpDialog();

  function render(isMoved) {
    const before = app.state;
    app.state = readState(location.hash);
    if (!(app.state.page in PAGES)) app.state.page = "shots";
    for (const tab of tabs.children) {
      const [name] = tab.hash.slice(1).split("?");
      const file = app.state.page === "file" ? "" : app.state.file;
      tab.href = app.address({ page: name, sql: name === "sql" ? app.state.sql : "", file });
      if (name === app.state.page || (name === "files" && app.state.page === "file")) {
        tab.setAttribute("aria-current", "page");
        tabs.scrollLeft = Math.max(0, tab.offsetLeft - tabs.offsetLeft - 60);
      }
      else tab.removeAttribute("aria-current");
    }
    if (document.activeElement !== words) words.value = app.state.words;
    if (app.state.page !== openName) {
      page?.close();
      openName = app.state.page;
      page = PAGES[openName][1](app);
      main.replaceChildren(page.node);
      main.dataset.page = openName;
      document.title = `${PAGES[openName][0] || "File"} · ${about.title ?? "Framemill"}`;
      page.begin?.();
    }
    if (isMoved && wanted === null && before.page !== app.state.page) scrollTo(0, 0);
    page.update();
    showShot();
  }
  async function showShot() {
    const key = app.state.shot;
    if (!key) {
      if (!dialog.row) return;
      const index = opened?.index ?? -1;
      dialog.close();
      if (index >= 0) page.focusAt?.(index);
      return;
    }
    if (opened && shotKey(opened.row.source, opened.row.index) === key) return dialog.show(opened.row, opened.index);
    const { source, index } = shotOf(key);
    opened = null;
    try {
      const filter = JSON.stringify({ file: source, where: `scene_index = ${Number(index)}` });
      const { rows } = await get("shots", { filter, limit: 1 });
      if (app.state.shot !== key) return;
      if (!rows.length) app.say("That shot is not in the folder any more.");
      else {
        opened = { row: rows[0], index: -1 };
        dialog.show(rows[0], -1);
      }
    } catch (error) {
      app.say(error.message);
    }
  }

  for (const [name, [title]] of Object.entries(PAGES)) {
    if (title) tabs.append(el("a", { href: `#${name}` }, title));
  }
  let typing = 0;
  const look = () => {
    clearTimeout(typing);
    const isHere = ["shots", "files"].includes(app.state.page);
    if (words.value === app.state.words) return;
    // One step back leads to before the words, not through each letter of them.
    const place = isHere ? {} : { page: "shots", file: "" };
    app.go({ words: words.value, ...place }, isHere && app.state.words !== "");
  };
  words.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(look, TYPING);
  });
  words.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === "ArrowDown") {
      event.preventDefault();
      look();
      page.focusAt?.(0);
    }
  });
  addEventListener("popstate", () => {
    // Links make entries that are not known yet; those that are were left by the way back or forward.
    if (history.state?.known) {
      const key = placeKey();
      if (writeState({ ...app.state, shot: "" }) !== key) wanted = places.get(key) ?? 0;
    } else history.replaceState({ known: true }, "");
    render(true);
  });
  const placeKey = () => writeState({ ...readState(location.hash), shot: "" });
  addEventListener("scroll", () => {
    if (wanted === null) places.set(placeKey(), scrollY);
  }, { passive: true });
  addEventListener("pagehide", () => sessionStorage.setItem(PLACE, JSON.stringify([placeKey(), scrollY])));
  addEventListener("keydown", (event) => {
    const isElsewhere = event.target.closest("input:not([type=checkbox]), textarea, select, dialog");
    if (isElsewhere || event.altKey || event.ctrlKey || event.metaKey || event.defaultPrevented) return;
    const isFree = event.target === document.body || event.target === main;
    const act = { "/": () => { words.focus(); words.select(); }, "?": () => help.showModal(), t: () => app.tag(),
      ArrowRight: isFree && (() => page.focusAt?.()), ArrowLeft: isFree && (() => page.focusAt?.()) }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });

  // A still that cannot be made, of a file that is gone: said, where it would stand. Such events do not bubble.
  document.addEventListener("error", ({ target }) => {
    if (target.matches?.(".picture img")) target.replaceWith(el("span", { class: "no-still" }, "no picture"));
  }, true);
  history.scrollRestoration = "manual";
  history.replaceState({ known: true }, "");
  try {
    const [key, far] = JSON.parse(sessionStorage.getItem(PLACE) ?? "[]");
    if (key === placeKey()) wanted = far;
  } catch {
    wanted = null;
  }
  head.append(el("h1", { title: isolated(about.title ?? "") }, el("bdi", {}, about.title ?? "Framemill")), tabs,
    el("div", { class: "find" }, words,
      el("button", { type: "button", class: "quiet", "aria-label": "Help", onclick: () => help.showModal() }, "?")));
  document.body.classList.add("viewer");
  document.body.replaceChildren(
    el("a", { class: "skip", href: "#main", onclick: (event) => { event.preventDefault(); main.focus(); } }, "To the content"),
    head, notice, main, tray.node, dialog.node, help);
  tray.show();
  render(true);
  watch(app, about, notice, () => page.refresh());
}
