/**
 * A transcript as a file: plain text and subtitles. Cut and written as the server's own SubRip and
 * WebVTT are.
 */

/**
 * @typedef {import("./transcript.js").Caption} Caption
 * @typedef {import("./transcript.js").TimedWord} TimedWord
 *
 * @typedef {object} Cue One subtitle.
 * @property {number} startS
 * @property {number} endS
 * @property {string} text
 */

// Two lines of 42 characters and at most seven seconds: the common house style of subtitles, such
// as Netflix's "Timed Text Style Guide: General Requirements".
const LINE_CHARACTERS = 42;
const LINE_PIECES = new RegExp(`.{1,${LINE_CHARACTERS}}`, "g");
const CUE_CHARACTERS = 2 * LINE_CHARACTERS;
const CUE_S = 7;

const SENTENCE_ENDS = ".!?…。！？";
const CLAUSE_ENDS = ",;:–—、，；：";
const SPACES_AND_CLOSING_MARKS = /[ "')\]’”»」』）]+$/u;

// Chinese and Japanese put no spaces between words, so there words end at these too.
const WORD = /[^\s。、！，：；？]+[。、！，：；？]*|[。、！，：；？]+/gu;

/** The formats, by the extension of their files. */
export const FORMATS = {
  txt: { mediaType: "text/plain;charset=utf-8", render: toText },
  srt: { mediaType: "application/x-subrip;charset=utf-8", render: toSrt },
  vtt: { mediaType: "text/vtt;charset=utf-8", render: toVtt },
};

/**
 * @param {Caption[]} captions
 * @returns {string} one line for each
 */
export function toText(captions) {
  return captions.map(({ text }) => `${text}\n`).join("");
}

/** @param {Caption[]} captions */
export function toSrt(captions) {
  return cues(captions)
    .map(
      (cue, index) =>
        `${index + 1}\n${timing(cue, ",")}\n${wrap(cue.text.replaceAll("-->", "->"))}\n`,
    )
    .join("\n");
}

/** @param {Caption[]} captions */
export function toVtt(captions) {
  return [
    "WEBVTT\n",
    ...cues(captions).map((cue) => `${timing(cue, ".")}\n${escapeVtt(wrap(cue.text))}\n`),
  ].join("\n");
}

/**
 * Cut captions into subtitles: near the middle, at the end of a sentence or a clause where there is
 * one, and the parts likewise until each fits. Where the model gave no word times, when a part
 * starts is estimated from the characters before it, as if the caption were spoken evenly.
 * @param {Caption[]} captions
 * @returns {Cue[]}
 */
export function cues(captions) {
  return captions.flatMap((caption) => {
    const words = placeWords(caption) ?? estimateWords(caption);
    return words.length > 0 ? cut(caption.text, words) : [];
  });
}

/**
 * Seconds as a clock shows them, in full: 00:01:02.345.
 * @param {number} seconds
 * @param {"." | ","} decimalMark
 */
export function timestamp(seconds, decimalMark) {
  const totalMs = Math.round(seconds * 1000);
  const totalS = Math.floor(totalMs / 1000);
  const parts = [Math.floor(totalS / 3600), Math.floor(totalS / 60) % 60, totalS % 60];
  return parts.map((part) => pad(part, 2)).join(":") + decimalMark + pad(totalMs % 1000, 3);
}

/**
 * @typedef {object} PlacedWord A word's part of the text up to the next, [start, end) in UTF-16.
 * @property {number} start
 * @property {number} end
 * @property {number} startS
 * @property {number} endS
 */

/**
 * Find the words in the text, which alone knows where spaces are.
 * @param {Caption} caption
 * @returns {PlacedWord[] | null} null if they are not there in their order
 */
function placeWords({ text, words }) {
  if (!words?.length) return null;
  /** @type {number[]} */
  const starts = [];
  let searched = 0;
  for (const word of words) {
    const start = text.indexOf(word.text, searched);
    if (start < 0) return null;
    starts.push(start);
    searched = start + word.text.length;
  }
  return parts(text, starts).map(([start, end], index) => {
    const { startS, endS } = words[index];
    return { start, end, startS, endS };
  });
}

/**
 * Spread the text evenly over the time of the caption.
 * @param {Caption} caption
 * @returns {PlacedWord[]}
 */
function estimateWords({ text, startS, endS }) {
  const starts = [...text.matchAll(WORD)].map(({ index }) => index);
  const characterS = (endS - startS) / Math.max(1, text.length);
  return parts(text, starts).map(([start, end]) => {
    return { start, end, startS: startS + start * characterS, endS: startS + end * characterS };
  });
}

/**
 * The parts of a text that begin at these positions; the first is also what is before it.
 * @param {string} text
 * @param {number[]} starts
 * @returns {[number, number][]}
 */
function parts(text, starts) {
  return starts.map((start, index) => [index === 0 ? 0 : start, starts[index + 1] ?? text.length]);
}

/**
 * Make one subtitle of the words if they fit, else of each half what this makes of it.
 * @param {string} text
 * @param {PlacedWord[]} words at least one
 * @returns {Cue[]}
 */
function cut(text, words) {
  const first = words[0];
  const last = words[words.length - 1];
  if (words.length === 1 || fits(text, first, last)) {
    const { startS } = first;
    return [{ startS, endS: last.endS, text: text.slice(first.start, last.end).trim() }];
  }
  let count = 1;
  let least = Infinity;
  for (let tried = 1; tried < words.length; tried++) {
    const position = words[tried].start;
    const offCentre = Math.abs(2 * position - first.start - last.end) / (last.end - first.start);
    const badness = offCentre + breakBadness(text.slice(first.start, position));
    if (badness < least) {
      least = badness;
      count = tried;
    }
  }
  return [...cut(text, words.slice(0, count)), ...cut(text, words.slice(count))];
}

/**
 * How bad it is to break after a text; 1 is as bad as breaking at one of its ends.
 * @param {string} before
 */
function breakBadness(before) {
  const end = before.replace(SPACES_AND_CLOSING_MARKS, "").at(-1);
  if (end === undefined) return 0.5;
  return SENTENCE_ENDS.includes(end) ? 0 : CLAUSE_ENDS.includes(end) ? 0.25 : 0.5;
}

/**
 * @param {string} text
 * @param {PlacedWord} first
 * @param {PlacedWord} last
 */
function fits(text, first, last) {
  const characters = text.slice(first.start, last.end).trim().length;
  return characters <= CUE_CHARACTERS && last.endS - first.startS <= CUE_S;
}

/**
 * Break into lines. An empty line would end the subtitle; none is left.
 * @param {string} text
 */
function wrap(text) {
  /** @type {string[]} */
  const lines = [];
  const pieces = text.split(/\s+/).flatMap((word) => word.match(LINE_PIECES) ?? []);
  for (const word of pieces) {
    const line = lines.at(-1);
    if (line !== undefined && line.length + 1 + word.length <= LINE_CHARACTERS)
      lines[lines.length - 1] = `${line} ${word}`;
    else lines.push(word);
  }
  return lines.join("\n");
}

/** @param {string} text */
function escapeVtt(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

/**
 * @param {Cue} cue
 * @param {"." | ","} decimalMark
 */
function timing({ startS, endS }, decimalMark) {
  return `${timestamp(startS, decimalMark)} --> ${timestamp(endS, decimalMark)}`;
}

/**
 * @param {number} number
 * @param {number} digits
 */
function pad(number, digits) {
  return String(number).padStart(digits, "0");
}
