// Whether there is more: asked every two seconds, so that a run at work shows by itself.

import { el, foreign, plural } from "../dom.js";
import { get } from "./ask.js";

const EVERY = 2000; // milliseconds
const LONG = 1500; // the same: after each commit of a run the table is behind for a moment, which is no news
const GATHERING = 400; // the same while the viewer's own table is not ready

/** `place` tells how far the run and the viewer's own table are; `changed()` is called when there is more to show. */
export function watch(app, first, place, changed) {
  let known = first;
  let shownAt = 0;
  let unready = null; // since when the table is behind
  const told = el("span");
  const bar = el("progress", { "aria-label": "Progress" });
  const mark = (now) => JSON.stringify([now.sequence, now.index?.done, now.index?.ready]);

  function tell({ index, running }) {
    app.index = index;
    const parts = [];
    if (running) parts.push(saying(running));
    if (index?.problem) parts.push(`Shots cannot be gathered: ${index.problem}`);
    if (!index || index.ready) unready = null;
    else unready ??= Date.now();
    const isLong = unready !== null && Date.now() - unready > LONG;
    if (isLong) {
      const far = `${index.done.toLocaleString("en")} of ${plural(index.total, "file")}`;
      parts.push(index.total ? `Gathering shots: ${far}; counts are of these so far.` : "Gathering shots …");
      bar.max = Math.max(1, index.total);
      bar.value = index.done;
    }
    bar.hidden = !isLong;
    told.replaceChildren(foreign(parts.join(" ")));
    place.hidden = !parts.length;
  }
  const look = async () => {
    try {
      const now = await get("sequence");
      tell(now);
      // A table that grows is shown now and then, not at each step of it.
      const isDue = Date.now() - shownAt > EVERY || now.index?.ready !== known.index?.ready;
      if (mark(now) !== mark(known) && isDue) {
        await changed();
        [known, shownAt] = [now, Date.now()];
      }
    } catch (error) {
      bar.hidden = true;
      place.hidden = false;
      told.replaceChildren(error.message);
    }
    setTimeout(look, known.index?.ready === false ? GATHERING : EVERY);
  };
  place.append(told, bar);
  tell(first);
  setTimeout(look, GATHERING);
}

/** What is known of the run that holds the folder: { run, host, pid }. */
const saying = ({ host, pid }) => `A run is at work (process ${pid} on ${host}): what it adds shows here.`;
