/** What is wrong, in plain words, and what to do about it. */

import { element } from "./elements.js";

/**
 * @typedef {object} Problem
 * @property {string} title what is wrong
 * @property {string} advice what to do
 */

/** @type {Record<string, Problem>} by the code of a ServerError, or the name of another error */
const PROBLEMS = {
  // The microphone
  NotAllowedError: {
    title: "This page may not use the microphone.",
    advice: "Allow it with the button beside the address of the page, then press Start again.",
  },
  NotFoundError: {
    title: "No microphone was found.",
    advice: "Plug one in, or choose another under Settings. Recordings work without one.",
  },
  OverconstrainedError: {
    title: "The chosen microphone is not there any more.",
    advice: "Choose another under Settings.",
  },
  NotReadableError: {
    title: "The microphone gives no sound.",
    advice:
      "Make sure that it is plugged in and that no other program is using it, then press Start again.",
  },
  InsecureContext: {
    title: "Browsers allow the microphone only on https:// pages and on localhost.",
    advice:
      "Open the server through https, or on the machine that it runs on. Recordings work here too.",
  },
  SampleRateTooHigh: {
    title:
      "This microphone runs at more than 48,000 samples a second, which this browser cannot bring down.",
    advice: "Set it to 48,000 Hz in the system's sound settings, or use another browser.",
  },
  // Recordings
  FileError: {
    title: "That file cannot be read.",
    advice: "It may be a folder, or it was moved or changed just now. Choose it again.",
  },
  EncodingError: {
    title: "This browser cannot play that file.",
    advice:
      "Try WAV, MP3, M4A, FLAC or Ogg. On the server's machine, `hark transcribe FILE` reads more kinds.",
  },
  NotSupportedError: {
    title: "This browser cannot do that.",
    advice: "Use a current Chrome, Edge, Firefox or Safari.",
  },
  // The server
  unauthorized: {
    title: "The server did not take the API key.",
    advice: "Ask whoever runs it for a key.",
  },
  unreachable: {
    title: "The server does not answer.",
    advice: "Trying again.",
  },
  refused: {
    title: "The server takes no more speakers at the moment.",
    advice: "Trying again.",
  },
  lost: {
    title: "The connection to the server was lost.",
    advice: "Trying again.",
  },
  silent: {
    title: "The server has stopped answering.",
    advice: "Trying again.",
  },
  loading: {
    title: "The server is still loading its models.",
    advice: "It will begin by itself in a moment.",
  },
  draining: {
    title: "The server is restarting.",
    advice: "It will go on by itself when the server is back.",
  },
  too_many_sessions: {
    title: "The server has no room for another speaker.",
    advice: "Trying again. Whoever runs it can raise --max-sessions if the machine has the power.",
  },
  model_not_found: {
    title: "The server no longer has this model.",
    advice: "Reload the page and choose another model.",
  },
  language_not_supported: {
    title: "This model does not know the language.",
    advice: "Choose another language or another model under Settings.",
  },
  not_hark: {
    title: "What answers here does not speak Hark's protocol.",
    advice: "Check the address, and that no proxy is in the way of WebSockets.",
  },
  internal: {
    title: "The server failed on this audio.",
    advice: "Trying again. Its log says more.",
  },
};

/** Said of errors that may pass while a recording goes on; the time is that of `REPLAY_S`. */
const KEPT = "Nothing is lost if that helps within a minute.";

/** Errors whose own words say more than any that could be written here. */
const OWN_WORDS = "The server ended the captions.";

/**
 * @param {Error & {code?: string | number}} error
 * @returns {Problem}
 */
function describe(error) {
  const known = PROBLEMS[String(error.code)] ?? PROBLEMS[error.name];
  return known ?? { title: OWN_WORDS, advice: sentence(error.message) };
}

/**
 * Show a problem, or that there is none.
 * @param {Error | null} error
 * @param {boolean} isRecording whether it goes on by itself when the problem is over
 */
export function showProblem(error, isRecording = false) {
  const box = element("problem", HTMLElement);
  if (error === null) {
    box.replaceChildren();
    return;
  }
  const { title, advice } = describe(error);
  const text = isRecording ? `${advice} ${KEPT}` : advice;
  if (box.textContent === title + text) return; // a screen reader need not say it again
  const heading = document.createElement("strong");
  heading.textContent = title;
  box.replaceChildren(heading, text);
}

/** @param {string} text */
function sentence(text) {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}
