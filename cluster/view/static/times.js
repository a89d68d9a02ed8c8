// Times as people and editing programs write them.

const pad = (number, digits = 2) => String(number).padStart(digits, "0");

/** 7.5 -> 0:07.5; 3725 -> 1:02:05. */
export function clock(seconds) {
  const tenths = Math.round(seconds * 10);
  const [hours, minutes] = [Math.floor(tenths / 36000), Math.floor(tenths / 600) % 60];
  const rest = tenths % 600;
  const tail = hours || rest % 10 === 0 ? pad(Math.floor(rest / 10)) : `${pad(Math.floor(rest / 10))}.${rest % 10}`;
  return hours ? `${hours}:${pad(minutes)}:${tail}` : `${minutes}:${tail}`;
}

/** Hours:minutes:seconds:frames, counted at the whole number of frames next to the rate (no drop-frame). */
export function timecode(frame, fps) {
  const rate = Math.max(1, Math.round(fps || 25));
  const seconds = Math.floor(frame / rate);
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60, frame % rate];
  return parts.map((part) => pad(part)).join(":");
}

/** 1500 -> 1.5 kB, in powers of 1000. */
export function bytes(number) {
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (number < 1000) return `${unit === "B" ? number : number.toFixed(1)} ${unit}`;
    number /= 1000;
  }
  return `${number.toFixed(1)} TB`;
}

/** A field of CSV. Spreadsheets run what begins like a formula, so that is marked as text. */
function csvField(value) {
  const text = String(value);
  const safe = typeof value === "string" && /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** Ticked shots, each { file, shot, number, text, words }, as CSV with a header. */
export function toCsv(ticked) {
  const head = ["file", "shot", "start_timecode", "end_timecode", "start_frame", "end_frame", "start_seconds",
    "end_seconds", "transition", "labels", "text", "words"];
  const rows = ticked.map(({ file, shot, number, text, words }) => [
    file.uri, number, timecode(shot.first, file.fps), timecode(shot.last, file.fps), shot.first, shot.last,
    shot.start, shot.end, shot.transition, shot.labels.map((label) => label[0]).join("; "), text, words,
  ]);
  return [head, ...rows].map((row) => row.map(csvField).join(",")).join("\n") + "\n";
}

/** The same shots one after the other as an edit decision list (CMX 3600). */
export function toEdl(ticked, title) {
  const plain = (text) => text.replace(/[^\x20-\x7e]/g, "_");
  // Events of an EDL share one rate: that of the first file.
  const rate = ticked[0].file.fps || 25;
  const reels = new Map();
  let at = 0;
  const lines = [`TITLE: ${plain(title)}`, "FCM: NON-DROP FRAME", ""];
  ticked.forEach(({ file, shot }, index) => {
    if (!reels.has(file)) reels.set(file, `R${pad(reels.size + 1, 3)}`);
    const frames = Math.max(1, Math.round(((shot.last - shot.first) / (file.fps || rate)) * rate));
    const first = Math.round((shot.first / (file.fps || rate)) * rate);
    const edges = [first, first + frames, at, at + frames].map((frame) => timecode(frame, rate));
    lines.push(`${pad(index + 1, 3)}  ${reels.get(file).padEnd(8)} V     C        ${edges.join(" ")}`);
    lines.push(`* FROM CLIP NAME: ${plain(file.name)}`);
    at += frames;
  });
  return lines.join("\n") + "\n";
}
