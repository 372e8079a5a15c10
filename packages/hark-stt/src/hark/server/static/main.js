/**
 * Puts the page together: what the user does goes to the captioner, what it says goes to the views.
 */

import { Captioner } from "./captioner.js";
import { Backoff } from "./protocol/backoff.js";
import { KeyStore } from "./protocol/key.js";
import { ServerError, fetchModels } from "./protocol/server.js";
import { CaptionView } from "./view/caption-view.js";
import { Choices } from "./view/choices.js";
import { ask, askForKey } from "./view/dialogs.js";
import { Dock } from "./view/dock.js";
import { element } from "./view/elements.js";
import { ExportView } from "./view/export-view.js";
import { offerFiles } from "./view/file-view.js";
import { offerSettings } from "./view/settings.js";
import { showProblem } from "./view/problems.js";
import { keepAwake } from "./view/wake-lock.js";

const keys = new KeyStore();
const captions = new CaptionView();
const choices = new Choices(() => captioner.setLanguage(choices.language));
const dock = new Dock(toggle);
const forgetKey = element("forget-key", HTMLButtonElement);

/** Why nothing can be recorded; null if it can. */
let obstacle = /** @type {import("./view/dock.js").Obstacle | null} */ (null);
/** Counts the calls of `connect`, of which only the last is of interest. */
let connects = 0;
/** The name of the last recording, for the files that are downloaded. */
let recordingName = "";

const captioner = new Captioner({
  onState: showState,
  onEntry: (entry) => {
    captions.append(entry);
    taking.isUnsaved = true;
    showExports();
  },
  onOpen: () => captions.showOpen(captioner.transcript.open),
  onLevel: (level) => dock.showLevel(level),
  onProgress: () => dock.showProgress(captioner),
  onProblem: (error) => {
    const isServers = error instanceof ServerError;
    showProblem(error, isServers && captioner.phase !== "idle");
    if (isServers && error.code === "unauthorized") connect();
  },
});

const taking = new ExportView({
  captions: () => captioner.transcript.captions,
  fileName: () => recordingName || `captions ${new Date().toLocaleDateString("sv")}`, // 2026-11-22
  onClear: clear,
});

/** Ask the server for its models until it has them, and for a key where it wants one. */
async function connect() {
  const mine = ++connects;
  const backoff = new Backoff();
  setObstacle("Connecting", false);
  for (;;) {
    try {
      const models = await fetchModels(keys.key);
      if (mine !== connects) return;
      choices.offerModels(models);
      showProblem(null);
      setObstacle(null, false);
      return;
    } catch (error) {
      if (!(error instanceof ServerError)) throw error;
      if (mine !== connects) return;
      if (error.code === "unauthorized") {
        if (!(await enterKey(error))) return;
        continue;
      }
      setObstacle(
        error.code === "loading" ? "Loading the models" : "Not connected",
        !error.retryable,
      );
      showProblem(error);
      if (!error.retryable) return;
      const delayMs = backoff.failed(error.retryAfterS) * 1000;
      await new Promise((resolve) => setTimeout(resolve, delayMs));
      if (mine !== connects) return;
    }
  }
}

/**
 * @param {ServerError} error
 * @returns {Promise<boolean>} whether there is a key to try now
 */
async function enterKey(error) {
  const isWrong = keys.key !== null;
  keys.forget();
  setObstacle("Needs a key", true);
  const answer = await askForKey(
    isWrong ? "The server does not know this key. Is it complete?" : "",
  );
  if (answer === null) {
    showProblem(error);
    return false;
  }
  keys.set(answer.key, answer.remember);
  return true;
}

async function toggle() {
  if (captioner.phase === "finishing") {
    captioner.giveUp();
    connect(); // it tells when the server is back
    return;
  }
  if (captioner.phase !== "idle") {
    await captioner.stop();
    return;
  }
  const choice = chosen();
  if (choice === null) {
    connect();
    return;
  }
  recordingName = "";
  await captioner.startMicrophone(choices.microphone, choice);
  choices.offerMicrophones(); // now that one was allowed they have names
}

function canOpenFile() {
  return captioner.phase === "idle" && obstacle === null;
}

/** @param {File} file */
async function openFile(file) {
  const choice = chosen();
  if (choice === null || !canOpenFile() || !(await makeRoom())) return;
  recordingName = file.name.replace(/\.[^.]*$/, "");
  await captioner.startFile(file, choice, choices.playsLive);
}

/** @returns {import("./captioner.js").Choice | null} */
function chosen() {
  const { model, language } = choices;
  if (model === null || obstacle !== null) return null;
  return { key: keys.key, model: model.id, language, words: model.capabilities.words };
}

/** A recording gets a transcript of its own, so that its times are right. */
async function makeRoom() {
  if (captioner.transcript.entries.length === 0) return true;
  if (!taking.isUnsaved) {
    startAnew();
    return true;
  }
  const answer = await ask(
    "Start a new transcript?",
    "The present captions have not been copied or downloaded.",
    {
      add: "Add to them",
      replace: "Start anew",
    },
  );
  if (answer === "replace") startAnew();
  return answer !== null;
}

async function clear() {
  if (taking.isUnsaved) {
    const answer = await ask("Clear the captions?", "They have not been copied or downloaded.", {
      keep: "Keep them",
      clear: "Clear them",
    });
    if (answer !== "clear") return;
  }
  startAnew();
}

function startAnew() {
  captioner.clear();
  captions.clear();
  taking.isUnsaved = false;
  dock.showProgress(captioner);
  showState();
}

/**
 * @param {string | null} words null if there is none
 * @param {boolean} canRetry whether Start tries to overcome it
 */
function setObstacle(words, canRetry) {
  obstacle = words === null ? null : { words, canRetry };
  showState();
}

function showState() {
  const isBusy = captioner.phase !== "idle";
  dock.showState(captioner, obstacle);
  choices.isBusy = isBusy;
  // A file gives them faster than they could be said.
  captions.areReadOut = captioner.source?.isLive !== false;
  forgetKey.hidden = keys.key === null || isBusy;
  keepAwake(isBusy);
  showExports();
}

function showExports() {
  const { captions: finals, entries } = captioner.transcript;
  taking.update(finals.length > 0, entries.length > 0 && captioner.phase === "idle");
}

forgetKey.addEventListener("click", () => {
  keys.forget();
  connect();
});

addEventListener("beforeunload", (event) => {
  if (captioner.phase !== "idle" || taking.isUnsaved) event.preventDefault(); // the browser asks
});

offerSettings();
offerFiles(openFile, canOpenFile);
choices.offerMicrophones();
connect();
