// What is ticked, and the ways to take it along: as CSV, as an EDL.

import { el, plural } from "./dom.js";
import { toCsv, toEdl } from "./times.js";

/**
 * The bar of ticked shots. `page.ticked` is a Map of { file, shot, number, text, words }; `order(file)` is the
 * position of a file among the others; `actions` are buttons of the page's own. `show()` draws it anew.
 */
export function ticks(page, title, order, actions = []) {
  const node = el("div", { class: "tray", role: "status" });
  const give = (write, kind) => () => {
    const all = [...page.ticked.values()];
    const place = new Map([...new Set(all.map((one) => one.file))].map((file) => [file, order(file)]));
    all.sort((a, b) => place.get(a.file) - place.get(b.file) || a.number - b.number);
    copied(write(all, title), kind);
  };
  const show = () => {
    node.hidden = !page.ticked.size;
    node.replaceChildren();
    if (node.hidden) return;
    node.append(el("b", {}, `${plural(page.ticked.size, "shot")} ticked`), ...actions,
      el("button", { type: "button", onclick: give(toCsv, "CSV") }, "Copy as CSV"),
      el("button", { type: "button", onclick: give(toEdl, "EDL") }, "Copy as EDL"),
      el("button", { type: "button", class: "quiet", onclick: () => {
        page.ticked.clear();
        for (const box of document.querySelectorAll(".tick input")) box.checked = false;
        show();
      } }, "Clear"));
  };
  return { node, show };
}

/** Copies a text, and shows it, so that it can be taken by hand where copying is not allowed. */
async function copied(text, kind) {
  const area = el("textarea", { readonly: true, rows: 12, "aria-label": kind });
  area.value = text;
  const note = el("p", {}, "");
  const dialog = el("dialog", { class: "copy", onclose: () => dialog.remove() }, el("h2", {}, kind), area, note,
    el("form", { method: "dialog" }, el("button", {}, "Close")));
  document.body.append(dialog);
  dialog.showModal();
  area.select();
  try {
    await navigator.clipboard.writeText(text);
    note.textContent = "Copied.";
  } catch {
    note.textContent = document.execCommand("copy") ? "Copied." : "Not copied: the text is selected, press Ctrl-C.";
  }
}
