// What the keys do.

import { el } from "../dom.js";

const KEYS = [
  ["Everywhere", [["/", "to the box for words"], ["?", "this page"], ["t", "tag what is ticked"],
    ["Esc", "close what is open"]]],
  ["In the grid", [["← → ↑ ↓", "another shot"], ["Home End", "the first, the last"], ["Enter", "open it"],
    ["Space", "tick it; with Shift all from the last tick"], ["t", "tag it, or what is ticked"]]],
  ["In an open shot", [["← →", "the shot before, the next"], ["p", "play the shot, or pause"],
    [", .", "one frame back, one on"], ["t", "to its tags"]]],
  ["In the box for SQL", [["Ctrl Enter", "run it"]]],
];

export function helpDialog() {
  const node = el("dialog", { class: "help", "aria-labelledby": "help-title" }, el("h2", { id: "help-title" }, "Keys"),
    ...KEYS.map(([place, keys]) => el("section", {}, el("h3", {}, place), el("dl", {}, ...keys.map(([key, does]) =>
      el("div", {}, el("dt", {}, ...key.split(" ").map((one) => el("kbd", {}, one))), el("dd", {}, does)))))),
    el("form", { method: "dialog" }, el("button", {}, "Close")));
  return node;
}
