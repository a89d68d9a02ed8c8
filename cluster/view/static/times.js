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

// As in framemill/cluster/exports/timecode.py: measured means differ from these in the last digits.
const NTSC = [24, 30, 48, 60, 120].map((base) => ({ base, fps: (base * 1000) / 1001 }));
const RATE_TOLERANCE = 3e-4;

/** { base, fps }: numbers a second, and the rate of timecode that a measured mean stands for; null where none. */
function nominalRate(fps) {
  const whole = Math.max(1, Math.round(fps));
  const all = [...NTSC, { base: whole, fps: whole }];
  const nearest = all.reduce((best, one) => (Math.abs(one.fps - fps) < Math.abs(best.fps - fps) ? one : best));
  return Math.abs(nearest.fps / fps - 1) <= RATE_TOLERANCE ? nearest : null;
}

/** How the frames of a file are numbered: { rate, isDropping, start }, from its own timecode where it has one. */
function counting(rate, timecode) {
  const canDrop = rate.fps !== rate.base && (rate.base === 30 || rate.base === 60);
  const found = /^(\d\d):(\d\d):(\d\d)([:;])(\d{2,3})$/.exec(timecode || "");
  if (!found || Number(found[5]) >= rate.base) return { rate, isDropping: canDrop, start: 0 };
  const [hours, minutes, seconds, frame] = [1, 2, 3, 5].map((part) => Number(found[part]));
  const isDropping = canDrop && found[4] === ";";
  const minute = hours * 60 + minutes;
  const leftOut = rate.base / 15;
  if (isDropping && minute % 10 && seconds === 0 && frame < leftOut) return { rate, isDropping: canDrop, start: 0 };
  const number = (minute * 60 + seconds) * rate.base + frame;
  return { rate, isDropping, start: isDropping ? number - leftOut * (minute - Math.floor(minute / 10)) : number };
}

/** A number of frames as HH:MM:SS:FF, or HH:MM:SS;FF where numbers are dropped; it begins anew after 24 h. */
function code(frames, { rate: { base }, isDropping }) {
  let number = frames;
  if (isDropping) {
    // The first 2 (of 30) or 4 (of 60) numbers of each minute are left out, but of every tenth.
    const leftOut = base / 15;
    const rest = number % (base * 600 - 9 * leftOut);
    number += 9 * leftOut * Math.floor(number / (base * 600 - 9 * leftOut));
    if (rest >= leftOut) number += leftOut * Math.floor((rest - leftOut) / (base * 60 - leftOut));
  }
  const seconds = Math.floor(number / base);
  const parts = [Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60, seconds % 60].map((part) => pad(part));
  return `${parts.join(":")}${isDropping ? ";" : ":"}${pad(number % base, String(base - 1).length)}`;
}

/** The timecode of a frame of a file, from its start timecode where it has one; rates without any are rounded. */
export function timecode(frame, fps, start = "") {
  const whole = Math.max(1, Math.round(fps || 25));
  const how = counting((fps && nominalRate(fps)) || { base: whole, fps: whole }, start);
  return code(how.start + frame, how);
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
    file.uri, number, timecode(shot.first, file.fps, file.timecode), timecode(shot.last, file.fps, file.timecode),
    shot.first, shot.last, shot.start, shot.end, shot.transition, shot.labels.map((label) => label[0]).join("; "), text, words,
  ]);
  return [head, ...rows].map((row) => row.map(csvField).join(",")).join("\n") + "\n";
}

const MOST_EVENTS = 999; // the number of an event has three digits

const printable = (text) => text.replace(/(?! )[\p{C}\p{Z}]/gu, "_");
const clipName = (uri) => printable(uri.split(/[/\\]/).pop()) || "clip";

/** Where a file is, as documents name it: file:///..., or the address in a store. */
function mediaUrl(uri) {
  const quoted = (text) => encodeURIComponent(text).replaceAll("%2F", "/")
    .replace(/[!'()*]/g, (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`);
  const [, scheme, place] = /^([a-z0-9]+:\/\/)(.*)$/s.exec(uri) || ["", "file://", uri];
  return scheme + quoted(place);
}

/** Eight letters and digits, unlike those of the others that are `taken`. */
function reelName(file, taken) {
  if (file.reel) return file.reel;
  const letters = clipName(file.uri).replace(/(.)\.[^.]*$/, "$1").toUpperCase().replace(/[^A-Z0-9]/g, "");
  for (let number = taken.size + 1; ; number += 1) {
    const name = `${letters.slice(0, 5)}${pad(number, 3)}`.padStart(8, "0");
    if (!taken.has(name)) return name;
  }
}

/** First frame of a shot and the one behind its last, at a rate that may be another than the file's. */
function framesOf(file, shot, rate) {
  const isOwn = nominalRate(file.fps || rate.fps)?.fps === rate.fps && !file.varies;
  const first = isOwn ? shot.first : Math.round(shot.start * rate.fps);
  const last = isOwn ? shot.last : Math.round(shot.end * rate.fps);
  return [first, Math.max(last, first + 1)];
}

/**
 * The same shots one after the other as an edit decision list (CMX 3600), as `framemill export --format edl` writes
 * it. All events share the rate and the kind of timecode of the first file; what an EDL cannot say is told instead.
 */
export function toEdl(ticked, title) {
  const { file: leading } = ticked[0];
  const rate = leading.fps ? nominalRate(leading.fps) : null;
  if (!rate) {
    const why = leading.fps ? `has ${leading.fps.toFixed(3)}` : "has a rate that is not known: extract media first";
    return `No EDL: it needs whole frames a second, or those of NTSC, and ${clipName(leading.uri)} ${why}.\n`;
  }
  if (ticked.length > MOST_EVENTS) {
    return `No EDL: it numbers ${MOST_EVENTS} events, and ${ticked.length} shots are ticked.\n`;
  }
  const how = counting(rate, leading.timecode);
  const files = [...new Map(ticked.map(({ file }) => [file.uri, file])).values()];
  const reels = new Map();
  for (const file of files) reels.set(file.uri, reelName(file, new Set(reels.values())));
  let at = counting(rate, how.isDropping ? "01:00:00;00" : "01:00:00:00").start;
  const name = files.length > 1 ? printable(title) : clipName(leading.uri);
  const lines = [`TITLE: ${name}`, `FCM: ${how.isDropping ? "DROP FRAME" : "NON-DROP FRAME"}`, ""];
  ticked.forEach(({ file, shot }, index) => {
    const own = nominalRate(file.fps || rate.fps);
    const start = own ? Math.round((counting(own, file.timecode).start / own.fps) * rate.fps) : 0;
    const [first, last] = framesOf(file, shot, rate);
    const edges = [start + first, start + last, at, at + last - first].map((frame) => code(frame, how));
    lines.push(`${pad(index + 1, 3)}  ${reels.get(file.uri).padEnd(8)} V     C        ${edges.join(" ")}`);
    lines.push(`* FROM CLIP NAME: ${clipName(file.uri)}`, `* SOURCE FILE: ${mediaUrl(file.uri)}`);
    const marker = shot.marker ?? shot.labels.slice(0, 3).map((label) => label[0]).join(", ");
    if (marker) lines.push(`* LOC: ${code(at, how)} GREEN   ${printable(marker)}`);
    at += last - first;
  });
  return lines.join("\n") + "\n";
}
