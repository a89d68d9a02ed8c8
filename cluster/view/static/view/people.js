// People, who are named here; and what is there twice.

import { el, foreign, isolated, plural } from "../dom.js";
import { still } from "../pictures.js";
import { clock } from "../times.js";
import { get, post } from "./ask.js";
import { pictures } from "./card.js";

function hint(text, how) {
  return el("p", { class: "empty" }, text, el("code", {}, how));
}

/** A page that shows one answer: `draw(answer)` gives its nodes. It is asked for again when more is in the folder. */
export function answerPage(path, kind, draw) {
  const node = el("div", { class: kind });
  let told = "";
  async function refresh() {
    try {
      const answer = await get(path);
      const text = JSON.stringify(answer);
      if (text === told || node.contains(document.activeElement?.closest("input"))) return; // nobody is interrupted
      told = text;
      node.replaceChildren(...draw(answer, refresh));
    } catch (error) {
      node.replaceChildren(el("p", { class: "error", role: "alert" }, error.message));
    }
  }
  let isAsked = false;
  return { node, refresh, close() {}, update() {
    if (!isAsked) refresh();
    isAsked = true;
  } };
}

export const peoplePage = (app) => answerPage("people", "people", ({ rows }) => {
  if (!rows.length) return [hint("Nobody here yet: ", "framemill people OUT")];
  return rows.map((person) => {
    const problem = el("p", { class: "error", role: "alert", hidden: true });
    const box = el("input", { type: "text", class: "name-box", placeholder: `person ${person.person}`, autocomplete: "off",
      maxlength: 200, "aria-label": `Name of person ${person.person}`, onkeydown: (event) => {
        if (event.key === "Enter") box.blur();
        else if (event.key === "Escape") {
          box.value = person.name;
          box.blur();
        }
      }, onblur: save });
    box.value = person.name;
    const saved = el("span", { class: "hint", role: "status" });
    async function save() {
      const name = box.value.trim();
      if (name === person.name) return;
      try {
        await post(`people/${encodeURIComponent(person.person)}`, { name });
        person.name = name;
        problem.hidden = true;
        saved.textContent = "saved";
      } catch (error) {
        problem.hidden = false;
        problem.textContent = error.message;
      }
    }
    return el("section", { class: "block", data: { person: person.person } },
      el("h2", {}, box, saved), problem,
      el("p", { class: "hint" }, `${plural(person.faces, "face")} in ${plural(person.files, "file")} · `,
        el("a", { href: app.only({ facets: { person: [String(person.person)] } }) }, "all shots")),
      el("div", { class: "faces" }, ...person.sightings.map((seen) => el("button", { type: "button", class: "place",
        onclick: () => app.openShot(seen.source, seen.index) },
      still(pictures, seen.still, `Person ${person.person}`, [1, 1]),
      el("span", { class: "caption" }, clock(seen.at))))));
  });
});

export const twinsPage = (app) => answerPage("duplicates", "twins", ({ rows: groups }) => {
  if (!groups.length) return [hint("Nothing is there twice, or nobody looked yet: ", "framemill duplicates OUT")];
  return groups.map((group) => el("section", { class: "block" },
    el("h2", {}, group.kind === "video" ? "The same video" : "The same picture", ` ×${group.size}`),
    el("div", { class: "pair" }, ...group.items.map((item) => el("a", { class: "place",
      href: app.address({ page: "file", file: item.source, at: String(item.at || "") }) },
    still(pictures, item.still, item.name, [item.width, item.height], [], item.unsafe),
    el("span", { class: "caption" }, el("b", { title: isolated(item.name) }, foreign(item.name)), clock(item.at)))))));
});
