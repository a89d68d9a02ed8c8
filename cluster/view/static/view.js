// What `framemill view` runs: the page over data that is fetched, and a note when a run has added to it.

import { start } from "./app.js";
import { el } from "./dom.js";

const EVERY = 2000; // milliseconds

async function ask(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

/** The same two functions as in data.js. */
async function fetchedData() {
  const held = await ask("document");
  return {
    sequence: held.sequence,
    load: async () => held,
    picture: (number) => (number < 0 ? null : { url: held.pictures[number] }),
  };
}

/** Asks for the newest commit; the page changes only when its reader wants it to. */
function watch(sequence) {
  const note = el("p", { class: "notice", role: "status" });
  const tell = (...content) => {
    note.replaceChildren(...content);
    if (!note.isConnected) document.querySelector("main").before(note);
  };
  const look = async () => {
    try {
      const newest = await ask("sequence");
      if (newest !== sequence) {
        tell("There is more in the folder than this page shows. ",
          el("button", { type: "button", onclick: () => location.reload() }, "Show it"));
      } else note.remove();
      setTimeout(look, EVERY);
    } catch {
      tell("framemill view has ended, or the folder cannot be read: start it again.");
    }
  };
  setTimeout(look, EVERY);
}

try {
  const data = await fetchedData();
  await start(data);
  watch(data.sequence);
} catch (error) {
  document.body.replaceChildren(el("p", { class: "notice" }, error.message));
}
