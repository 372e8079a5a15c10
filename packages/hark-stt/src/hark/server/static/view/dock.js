/** What is going on: the status, the buttons that begin and end it, and what is measured. */

import { clockTime, element } from "./elements.js";
import { Waveform } from "./waveform.js";

/**
 * @typedef {import("../captioner.js").Captioner} Captioner
 *
 * @typedef {object} Obstacle Why nothing can be recorded.
 * @property {string} words
 * @property {boolean} canRetry whether Start tries to overcome it
 */

export class Dock {
  #status = element("status", HTMLElement);
  #start = element("start", HTMLButtonElement);
  #chooseFile = element("choose-file", HTMLButtonElement);
  #time = element("time", HTMLElement);
  #rate = element("rate", HTMLElement);
  #rateLabel = element("rate-label", HTMLElement);
  #file = element("file", HTMLElement);
  #fileName = element("file-name", HTMLElement);
  #fileProgress = element("file-progress", HTMLProgressElement);
  #waveform = new Waveform();

  /** @param {() => void} onStart called when the big button is pressed and may be */
  constructor(onStart) {
    this.#start.addEventListener("click", () => {
      if (this.#start.ariaDisabled !== "true") onStart();
    });
  }

  /**
   * @param {Captioner} captioner
   * @param {Obstacle | null} obstacle
   */
  showState(captioner, obstacle) {
    const { phase, source } = captioner;
    const isIdle = phase === "idle";
    this.#showStatus(...statusOf(captioner, obstacle));
    const { words, icon, isEnabled } = buttonOf(captioner, obstacle);
    label(this.#start, words);
    this.#start.querySelector("use")?.setAttribute("href", `#icon-${icon}`);
    this.#start.classList.toggle("stops", icon === "stop");
    // Not `disabled`: that would take the focus away from whoever has just pressed it.
    this.#start.ariaDisabled = String(!isEnabled);
    this.#chooseFile.ariaDisabled = String(!isIdle || obstacle !== null);
    this.#file.hidden = source?.kind !== "file";
    this.#fileName.textContent = source?.name ?? "";
    this.#waveform.hidden = source !== null && !source.isLive;
    if (isIdle) this.#waveform.clear();
  }

  /** @param {Captioner} captioner */
  showProgress(captioner) {
    const { source, latency, speed } = captioner;
    const isFast = source !== null && !source.isLive;
    this.#time.textContent = clockTime(isFast ? captioner.transcript.endS : captioner.heardS);
    if (isFast) {
      this.#rateLabel.textContent = "Speed";
      this.#rate.textContent = speed === 0 ? "–" : `${speed.toFixed(speed < 10 ? 1 : 0)}×`;
    } else if (source !== null) {
      this.#rateLabel.textContent = "Final latency";
      this.#rate.textContent =
        latency.medianMs === null ? "–" : `${(latency.medianMs / 1000).toFixed(2)} s`;
    }
    if (source?.durationS) {
      const atS = source.isLive ? captioner.playedS : captioner.doneS;
      this.#fileProgress.value = atS / source.durationS;
    }
  }

  /** @param {number} level 0 to 1 */
  showLevel(level) {
    this.#waveform.push(level);
  }

  /**
   * @param {string} words
   * @param {"good" | "bad" | "waiting"} mood
   */
  #showStatus(words, mood) {
    // The same again would be read out again.
    if (this.#status.textContent !== words) this.#status.textContent = words;
    this.#status.dataset.mood = mood;
  }
}

/**
 * What the big button does now.
 * @param {Captioner} captioner
 * @param {Obstacle | null} obstacle
 */
function buttonOf({ phase, link, source }, obstacle) {
  if (phase === "idle")
    return { words: "Start", icon: "microphone", isEnabled: obstacle?.canRetry !== false };
  if (phase === "starting") return { words: "Start", icon: "microphone", isEnabled: false };
  if (phase === "recording") return { words: "Stop", icon: "stop", isEnabled: true };
  if (link === "interrupted") return { words: "Give up", icon: "stop", isEnabled: true };
  // The last words of a speaker take a moment: a second click must not cost them.
  return { words: "Stop", icon: "stop", isEnabled: source?.kind === "file" };
}

/**
 * @param {Captioner} captioner
 * @param {Obstacle | null} obstacle
 * @returns {[string, "good" | "bad" | "waiting"]}
 */
function statusOf({ phase, link, source }, obstacle) {
  if (phase === "idle") return obstacle === null ? ["Ready", "good"] : [obstacle.words, "waiting"];
  if (phase === "starting")
    return [source?.kind === "file" ? "Reading the file" : "Waiting for the microphone", "waiting"];
  if (link === "interrupted") return ["Reconnecting", "bad"];
  if (link === "connecting") return ["Connecting", "waiting"];
  if (source?.kind === "file") return ["Captioning", "good"];
  return phase === "finishing" ? ["Finishing", "waiting"] : ["Listening", "good"];
}

/**
 * @param {HTMLButtonElement} button
 * @param {string} words
 */
function label(button, words) {
  const span = /** @type {HTMLElement} */ (button.querySelector("span"));
  span.textContent = words;
}
