// A column at the side; on narrow screens a drawer that opens over the page.

import { el } from "../dom.js";

/** `node` is the column, `opens` the button that narrow screens show for it, `count(n)` how many are chosen. */
export function drawer(title, content) {
  const chosen = el("span", { class: "count", hidden: true });
  const opens = el("button", { type: "button", class: "opens", "aria-expanded": false, "aria-controls": "side",
    onclick: () => open(true) }, title, " ", chosen);
  const close = el("button", { type: "button", class: "closes", onclick: () => open(false) }, "Done");
  const panel = el("aside", { id: "side", "aria-label": title }, el("header", {}, el("h2", {}, title), close), content);
  const node = el("div", { class: "side" }, el("div", { class: "veil", onclick: () => open(false) }), panel);

  function open(isOpen) {
    node.classList.toggle("open", isOpen);
    opens.setAttribute("aria-expanded", isOpen);
    document.body.classList.toggle("still-page", isOpen);
    if (isOpen) close.focus();
    else opens.focus();
  }
  panel.addEventListener("keydown", (event) => {
    if (!node.classList.contains("open")) return;
    if (event.key === "Escape") {
      event.stopPropagation();
      open(false);
    } else if (event.key === "Tab") {
      const all = [...panel.querySelectorAll("button, input, summary")].filter((one) => one.offsetParent);
      const edge = event.shiftKey ? all[0] : all.at(-1);
      if (document.activeElement !== edge) return;
      event.preventDefault();
      (event.shiftKey ? all.at(-1) : all[0]).focus();
    }
  });
  return {
    node, opens,
    count(number) {
      chosen.hidden = !number;
      chosen.textContent = String(number);
    },
  };
}
