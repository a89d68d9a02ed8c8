// Facets at the side: what there is to filter by, with counts.

import { el, foreign, isolated } from "../dom.js";
import { toggled } from "./state.js";

const FEW = 8; // values shown before "more"
const STORE = "framemill.facets";

/** `show(facets, chosen)` draws what api/facets answers; a choice calls `choose(facets)` with the new ones. */
export function facetList(choose) {
  const node = el("div", { class: "facets" });
  const whole = new Set(); // facets of which all values are shown
  let closed = new Set();
  try {
    closed = new Set(JSON.parse(localStorage.getItem(STORE) ?? "[]"));
  } catch {
    closed = new Set(); // what another program wrote there says nothing
  }
  let [told, chosen] = [[], {}];

  function show(facets, now) {
    [told, chosen] = [facets, now];
    const focused = document.activeElement?.closest(".facets") ? document.activeElement.dataset.key : undefined;
    const place = node.parentElement?.scrollTop;
    // A facet without values is none, but for one that is chosen.
    const shown = facets.filter(({ name, values }) => values.length || chosen[name]);
    node.replaceChildren(...shown.map(section));
    if (!shown.length) node.append(el("p", { class: "hint" }, "Nothing to filter by yet."));
    if (focused !== undefined) [...node.querySelectorAll("[data-key]")].find((one) => one.dataset.key === focused)?.focus();
    if (place) node.parentElement.scrollTop = place;
  }

  function section({ name, title, values }) {
    const held = chosen[name] ?? [];
    const rows = values.map(([value, count, shown]) => [String(value), count, shown ?? String(value)]);
    // What is chosen stays, though it may not be among the most frequent.
    for (const value of held) if (!rows.some((row) => row[0] === value)) rows.push([value, 0, value]);
    const most = Math.max(...rows.map((row) => row[1]), 1);
    const isLong = rows.length > FEW + 2 && !whole.has(name);
    const short = isLong ? rows.filter((row, index) => index < FEW || held.includes(row[0])) : rows;
    const list = el("ul", {}, ...short.map((row) => valueRow(name, row, held.includes(row[0]), most)));
    const details = el("details", { class: "facet", data: { facet: name }, open: !closed.has(name) },
      el("summary", { data: { key: name } }, title, held.length ? el("span", { class: "count" }, String(held.length)) : null),
      list,
      isLong ? el("button", { type: "button", class: "more", data: { key: `${name} more` }, onclick: () => {
        whole.add(name);
        show(told, chosen);
      } }, `${rows.length - short.length} more`) : null);
    details.addEventListener("toggle", () => {
      if (details.open) closed.delete(name);
      else closed.add(name);
      localStorage.setItem(STORE, JSON.stringify([...closed]));
    });
    return details;
  }

  function valueRow(name, [value, count, shown], isOn, most) {
    const box = el("input", { type: "checkbox", data: { key: `${name} ${value}` },
      onchange: () => choose(toggled(chosen, name, value)) });
    box.checked = isOn;
    return el("li", {}, el("label", { title: isolated(shown) }, box, el("span", { class: "value" }, foreign(shown)),
      el("span", { class: "number" }, count.toLocaleString("en")),
      el("span", { class: "share", css: { width: `${(count / most) * 100}%` } })));
  }

  /** How a value is called, for chips. */
  const called = (name, value) => {
    const facet = told.find((one) => one.name === name);
    const row = facet?.values.find((one) => String(one[0]) === value);
    return [facet?.title ?? name, row?.[2] ?? value];
  };
  return { node, show, called };
}
