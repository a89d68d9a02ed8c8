// The box for a condition in SQL, with the columns that it may name.

import { el } from "../dom.js";

const EXAMPLES = ["num_faces = 1 AND text IS NULL", "duration_seconds BETWEEN 3 AND 10", "sharpness > 50 AND transition = 'cut'"];

/** `apply(text)` is called with a condition that was entered. `node.show(text, error)` shows what holds now. */
export function whereBox(app, apply) {
  const box = el("input", { type: "text", class: "code", id: "where", spellcheck: "false", autocomplete: "off",
    autocapitalize: "off", placeholder: "num_faces = 1 AND duration_seconds > 3",
    "aria-describedby": "where-error", "aria-label": "Condition in SQL",
    onkeydown: (event) => { if (event.key === "Enter") apply(box.value.trim()); },
    onchange: () => apply(box.value.trim()) });
  const error = el("p", { class: "error", id: "where-error", role: "alert", hidden: true });
  const help = el("div", { class: "columns", id: "where-columns", hidden: true });
  const opens = el("button", { type: "button", class: "quiet", "aria-expanded": false, "aria-controls": "where-columns",
    onclick: () => toggle(help.hidden) }, "columns");
  const node = el("div", { class: "where" },
    el("div", { class: "row" }, el("label", { for: "where" }, "WHERE"), box, opens), error, help);

  function put(text) {
    const [from, to] = [box.selectionStart ?? box.value.length, box.selectionEnd ?? box.value.length];
    box.setRangeText(text, from, to, "end");
    box.focus();
  }
  async function toggle(isOpen) {
    help.hidden = !isOpen;
    opens.setAttribute("aria-expanded", isOpen);
    if (!isOpen || help.firstChild) return;
    let columns;
    try {
      columns = await app.columns();
    } catch (problem) {
      return void help.replaceChildren(el("p", { class: "error" }, problem.message));
    }
    help.replaceChildren(
      el("p", { class: "hint" }, "Columns of the view shots; a click writes one. For example:"),
      el("p", { class: "examples" }, ...EXAMPLES.map((text) => el("button", { type: "button", class: "code", onclick: () => {
        box.value = text;
        apply(text);
      } }, text))),
      el("ul", {}, ...columns.map(([name, type]) => el("li", {},
        el("button", { type: "button", class: "code", onclick: () => put(name) }, name), el("span", {}, type.toLowerCase())))));
  }
  node.show = (text, problem) => {
    if (document.activeElement !== box || !box.value) box.value = text;
    error.textContent = problem ?? "";
    error.hidden = !problem;
    box.setAttribute("aria-invalid", Boolean(problem));
  };
  return node;
}
