// Tags: of the shot that is open, and of all that are ticked.

import { el, foreign, plural } from "../dom.js";
import { get, post } from "./ask.js";

let editors = 0; // for ids

/** A line of tags with a box for another. `rows()` are those that it changes; `show(tags)` draws what they have. */
export function tagEditor(app, rows) {
  const chips = el("span", { class: "chipline" });
  const problem = el("p", { class: "error", role: "alert", hidden: true });
  editors += 1;
  const known = el("datalist", { id: `known-tags-${editors}` });
  const box = el("input", { type: "text", placeholder: "Add a tag", "aria-label": "Add a tag", list: known.id, autocomplete: "off",
    maxlength: 200, onfocus: fillKnown, onkeydown: (event) => {
      if (event.key === "Enter" && box.value.trim()) change(box.value.trim(), true);
      else if (event.key === "Escape" && box.value) {
        event.stopPropagation();
        event.preventDefault();
        box.value = "";
      }
    } });
  const node = el("div", { class: "tagging" }, chips,
    el("form", { class: "row", onsubmit: (event) => event.preventDefault() }, box,
      el("button", { type: "button", class: "soft", onclick: () => box.value.trim() && change(box.value.trim(), true) }, "Add")),
    known, problem);

  async function fillKnown() {
    try {
      const { tags } = await get("tags");
      known.replaceChildren(...tags.map(([tag]) => el("option", { value: tag })));
    } catch (error) {
      told(error);
    }
  }
  function told(error) {
    problem.hidden = !error;
    problem.textContent = error?.message ?? "";
  }
  async function change(tag, isOn) {
    const all = rows();
    try {
      await app.setTag(tag, isOn, all);
      told(null);
      box.value = "";
      show(all.length === 1 ? all[0].tags : shared(all));
    } catch (error) {
      told(error);
    }
  }
  function show(tags) {
    chips.replaceChildren(...tags.map((tag) => el("span", { class: "chip tag" }, foreign(tag),
      el("button", { type: "button", "aria-label": "Take the tag away", onclick: () => change(tag, false) }, "×"))));
  }
  return { node, show, focus: () => box.focus() };
}

/** Tags that any of the rows has. */
export const shared = (rows) => [...new Set(rows.flatMap((row) => row.tags ?? []))].sort();

/** Asks for tags of many shots at once. */
export function tagDialog(app, rows) {
  const editor = tagEditor(app, () => rows);
  editor.show(shared(rows));
  const dialog = el("dialog", { class: "tags", "aria-labelledby": "tags-title", onclose: () => dialog.remove() },
    el("h2", { id: "tags-title" }, `Tags of ${plural(rows.length, "shot")}`),
    editor.node, el("form", { method: "dialog" }, el("button", {}, "Done")));
  document.body.append(dialog);
  dialog.showModal();
  editor.focus();
}

export const setTag = (tag, isOn, rows) =>
  post("tags", { tag, on: isOn, shots: rows.map((row) => [row.source, row.index]) });
