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
const CUE_CHARACTERS = 2 * LINE_CHARACTERS;
const CUE_S = 7;

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
 * Cut captions into subtitles: between words where the model gave word times. Where it gave none a
 * caption is one subtitle, however long: times are never made up.
 * @param {Caption[]} captions
 * @returns {Cue[]}
 */
export function cues(captions) {
  return captions.flatMap((caption) => {
    const words = placeWords(caption);
    return words === null
      ? [{ startS: caption.startS, endS: caption.endS, text: caption.text }]
      : cut(caption.text, words);
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
  starts[0] = 0;
  return words.map(({ startS, endS }, index) => {
    return { start: starts[index], end: starts[index + 1] ?? text.length, startS, endS };
  });
}

/**
 * Gather words into subtitles, each as long as it may be.
 * @param {string} text
 * @param {PlacedWord[]} words
 * @returns {Cue[]}
 */
function cut(text, words) {
  /** @type {Cue[]} */
  const cuts = [];
  let first = words[0];
  words.forEach((word, index) => {
    const following = words[index + 1];
    if (following !== undefined && fits(text, first, following)) return;
    cuts.push({
      startS: first.startS,
      endS: word.endS,
      text: text.slice(first.start, word.end).trim(),
    });
    first = following;
  });
  return cuts;
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
  for (const word of text.split(/\s+/).filter(Boolean)) {
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
