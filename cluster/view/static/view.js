// What `framemill view` runs.

import { el } from "./dom.js";
import { start } from "./view/page.js";

try {
  await start();
} catch (error) {
  document.body.replaceChildren(el("p", { class: "notice" }, error.message));
  throw error;
}
