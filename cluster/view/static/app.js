// The page: tabs, the search box, the choice of a file, and what is ticked.

import { el, isolated } from "./dom.js";
import { filesView } from "./files.js";
import { peopleView, textView, transcriptView, twinsView } from "./lists.js";
import { overview } from "./overview.js";
import { ticks } from "./tray.js";

const VIEWS = { overview: ["Overview", overview], shots: ["Shots", filesView], transcript: ["Transcript", transcriptView],
  text: ["Text", textView], people: ["People", peopleView], twins: ["Duplicates", twinsView] };

/** Builds the page in the document's body from a source of data (see data.js). */
export async function start(data) {
  const held = await data.load();
  const main = el("main", { id: "main" });
  const tabs = el("div", { class: "tabs", role: "tablist" });
  const search = el("input", { type: "search", placeholder: "Search words, text, labels", spellcheck: "false",
    "aria-label": "Search words, text on screen, labels and paths" });
  const choice = el("select", { "aria-label": "Files to show" }, el("option", { value: "" }, "All files"),
    ...held.files.map((file, index) => el("option", { value: index }, isolated(file.name))));

  const page = {
    data, document: held, query: "", ticked: new Map(), view: "",
    files: () => (choice.value === "" ? held.files : [held.files[Number(choice.value)]]),
    changed: () => tray.show(),
    /** Shows one file. */
    open(file) {
      choice.value = String(held.files.indexOf(file));
      turnTo("shots");
    },
    /** Goes to a place in a file. */
    go(file, seconds) {
      setQuery("");
      page.open(file);
      const section = main.querySelector("section.file");
      section.fill();
      section.seek(seconds);
    },
  };

  const tray = ticks(page, held.title, (file) => held.files.indexOf(file));
  function setQuery(text) {
    search.value = text;
    page.query = text.trim().toLowerCase();
  }
  function show(view) {
    page.view = view in VIEWS ? view : "overview";
    for (const tab of tabs.children) {
      const isOpen = tab.dataset.view === page.view;
      tab.setAttribute("aria-selected", isOpen);
      tab.tabIndex = isOpen ? 0 : -1;
    }
    main.dataset.view = page.view;
    main.setAttribute("aria-labelledby", `tab-${page.view}`);
    main.replaceChildren(VIEWS[page.view][1](page));
    if (location.hash.slice(1) !== page.view) history.replaceState(null, "", `#${page.view}`);
  }
  function turnTo(view) {
    show(view);
    scrollTo(0, 0);
  }
  for (const [view, [name]] of Object.entries(VIEWS)) {
    tabs.append(el("button", { role: "tab", type: "button", id: `tab-${view}`, "aria-controls": "main", data: { view },
      onclick: () => turnTo(view) }, name));
  }
  tabs.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const all = [...tabs.children];
    const next = all[(all.findIndex((tab) => tab.dataset.view === page.view) + step + all.length) % all.length];
    turnTo(next.dataset.view);
    next.focus();
  });
  let typing = 0;
  search.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => {
      setQuery(search.value);
      show(page.view === "overview" && page.query ? "shots" : page.view);
    }, 150);
  });
  choice.addEventListener("change", () => show(page.view === "overview" && choice.value !== "" ? "shots" : page.view));
  addEventListener("hashchange", () => show(location.hash.slice(1)));
  addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.target.closest("input, textarea, select, dialog")) {
      event.preventDefault();
      search.focus();
      search.select();
    }
  });
  main.setAttribute("role", "tabpanel");
  document.body.replaceChildren(
    el("a", { class: "skip", href: "#main", onclick: (event) => { event.preventDefault(); main.focus(); } }, "To the content"),
    el("header", { class: "top" }, el("h1", { title: isolated(held.title) }, el("bdi", {}, held.title)), tabs,
      el("div", { class: "find" }, choice, search)),
    main, tray.node);
  main.tabIndex = -1;
  document.title = `${held.title} · Framemill`;
  for (const notice of held.notices) main.before(el("p", { class: "notice" }, notice));
  tray.show();
  show(location.hash.slice(1));
}
