/**
 * One recording at a time, from its source through the server into the transcript. Knows no
 * elements of the page.
 */

import { level } from "./audio/level.js";
import { Microphone } from "./audio/microphone.js";
import { AudiblePlayer, FastPlayer, decode } from "./audio/recording.js";
import { SPEECH_SAMPLE_RATE } from "./protocol/messages.js";
import { CaptionStream, REPLAY_S } from "./protocol/stream.js";
import { CaptureClock, LatencySummary } from "./transcript/latency.js";
import { Transcript } from "./transcript/transcript.js";

/**
 * Seconds of a file that may be under way; more than the longest utterance, and so much less than
 * what can be sent again that it leaves room for context.
 */
const FILE_AHEAD_S = REPLAY_S - 20;

/**
 * Failed attempts to connect after which the reason is told; moving to another server takes one.
 */
const TOLD_AFTER = 2;

/**
 * @typedef {"idle" | "starting" | "recording" | "finishing"} Phase
 * @typedef {"connecting" | "connected" | "interrupted"} Link
 * @typedef {import("./transcript/transcript.js").Caption} Caption
 * @typedef {import("./transcript/transcript.js").Gap} Gap
 *
 * @typedef {object} Choice What to recognize, and with what.
 * @property {string | null} key
 * @property {string} model
 * @property {string | null} language
 * @property {boolean} words
 *
 * @typedef {object} Source Where the audio of a recording comes from.
 * @property {"microphone" | "file"} kind
 * @property {string} name
 * @property {boolean} isLive whether it comes as fast as it was spoken
 * @property {number | null} durationS null where it is not known
 *
 * @typedef {object} Handlers
 * @property {() => void} onState phase, link or source have changed
 * @property {(entry: Caption | Gap) => void} onEntry
 * @property {() => void} onOpen the open utterance has changed
 * @property {(level: number) => void} onLevel of the latest piece of audio, 0 to 1
 * @property {() => void} onProgress time, latency or what is done has changed
 * @property {(error: Error | null) => void} onProblem null when it is over
 */

export class Captioner {
  transcript = new Transcript();
  /** @type {Phase} */
  phase = "idle";
  /** @type {Link} */
  link = "connecting";
  /** @type {Source | null} */
  source = null;
  latency = new LatencySummary();
  #handlers;
  /** @type {CaptionStream | null} */
  #stream = null;
  /** @type {Microphone | FastPlayer | AudiblePlayer | null} */
  #player = null;
  /** @type {CaptureClock | null} */
  #clock = null;
  #beforeS = 0;
  #sampleRate = SPEECH_SAMPLE_RATE;
  #startedAt = 0;
  #finalAt = 0;
  #failures = 0;

  /** @param {Handlers} handlers */
  constructor(handlers) {
    this.#handlers = handlers;
  }

  /** Seconds of audio taken in, over all recordings of the transcript. */
  get heardS() {
    return this.#stream === null ? this.transcript.endS : this.#beforeS + this.playedS;
  }

  /** Seconds of audio taken in of the present recording. */
  get playedS() {
    return (this.#stream?.length ?? 0) / this.#sampleRate;
  }

  /** Seconds of the present recording that are done with. */
  get doneS() {
    return this.transcript.endS - this.#beforeS;
  }

  /** How many times faster than it was spoken the present recording is recognized. */
  get speed() {
    return this.doneS / Math.max(0.001, (performance.now() - this.#startedAt) / 1000);
  }

  /** Begin anew; not while a recording goes on. */
  clear() {
    this.transcript = new Transcript();
    this.latency = new LatencySummary();
    this.#beforeS = 0;
  }

  /**
   * Caption what a microphone hears, until `stop`.
   * @param {string | null} deviceId
   * @param {Choice} choice
   */
  async startMicrophone(deviceId, choice) {
    await this.#start({ kind: "microphone", name: "", isLive: true, durationS: null }, async () => {
      const microphone = await Microphone.open(deviceId, {
        onAudio: (samples) => this.#hear(samples),
        onUnplugged: () => {
          this.#handlers.onProblem(new DOMException("", "NotReadableError"));
          this.stop();
        },
      });
      this.#player = microphone;
      this.#open(microphone.sampleRate, choice);
    });
  }

  /**
   * Caption a recording.
   * @param {File} file
   * @param {Choice} choice
   * @param {boolean} isLive whether to play it as it was spoken
   */
  async startFile(file, choice, isLive) {
    await this.#start({ kind: "file", name: file.name, isLive, durationS: null }, async () => {
      const audio = await decode(file);
      if (this.source !== null) this.source.durationS = audio.duration;
      this.#open(audio.sampleRate, choice);
      const Player = isLive ? AudiblePlayer : FastPlayer;
      this.#player = new Player(audio, {
        onAudio: (samples) => this.#hear(samples),
        hasRoom: () => this.#stream !== null && this.#stream.heldS < FILE_AHEAD_S,
        onEnd: () => this.stop(),
      });
    });
  }

  /** Take in no more audio, and finish what was taken in. */
  async stop() {
    if (this.phase !== "recording") return;
    this.#setPhase("finishing");
    await this.#stopPlayer();
    this.#stream?.finish();
  }

  /** Do not wait any longer for what was taken in. */
  giveUp() {
    this.#end();
  }

  /** @param {string | null} language what is spoken from now on */
  setLanguage(language) {
    this.#stream?.setLanguage(language);
  }

  /**
   * @param {Source} source
   * @param {() => Promise<void>} begin
   */
  async #start(source, begin) {
    if (this.phase !== "idle") return;
    this.source = source;
    this.#setPhase("starting");
    this.#handlers.onProblem(null);
    try {
      await begin();
      this.#setPhase("recording");
    } catch (error) {
      this.source = null;
      this.#setPhase("idle");
      this.#handlers.onProblem(/** @type {Error} */ (error));
    }
  }

  /**
   * @param {number} sampleRate Hz
   * @param {Choice} choice
   */
  #open(sampleRate, choice) {
    this.transcript.begin(sampleRate);
    this.#beforeS = this.transcript.endS;
    this.#sampleRate = sampleRate;
    this.#clock = this.source?.isLive ? new CaptureClock(sampleRate) : null;
    this.#startedAt = performance.now();
    this.#failures = 0;
    this.link = "connecting";
    this.#stream = new CaptionStream({ ...choice, sampleRate }, this.transcript, {
      onMessage: (message) => this.#receive(message),
      onConnected: () => this.#connected(),
      onInterrupted: (error) => this.#interrupted(error),
      onSkipped: (position) => this.#skip(position),
      onDone: () => this.#done(),
      onFailed: (error) => this.#fail(error),
    });
  }

  /** @param {Int16Array} samples */
  #hear(samples) {
    const stream = this.#stream;
    if (stream === null) return;
    stream.push(samples);
    this.#clock?.mark(stream.length, performance.now());
    this.#handlers.onLevel(level(samples));
    this.#handlers.onProgress();
  }

  /** @param {import("./protocol/messages.js").ServerMessage} message */
  #receive(message) {
    const entry = this.transcript.receive(message);
    if (message.type === "final") this.#finalAt = performance.now();
    if (message.type === "speech_ended") this.#measure(message.end ?? 0);
    if (entry !== null) this.#handlers.onEntry(entry);
    this.#handlers.onOpen();
    this.#handlers.onProgress();
    if (this.#player instanceof FastPlayer) this.#player.giveOut();
  }

  /** @param {number} position after the last speech of an utterance */
  #measure(position) {
    // Not where Stop has ended the utterance: that took no silence.
    if (this.phase !== "recording") return;
    const heardAt = this.#clock?.heardAt(position) ?? null;
    if (heardAt !== null) this.latency.add(this.#finalAt - heardAt);
  }

  #connected() {
    this.#failures = 0;
    this.#setLink("connected");
    this.#handlers.onProblem(null);
  }

  /** @param {Error} error */
  #interrupted(error) {
    this.#failures += 1;
    this.#setLink("interrupted");
    if (this.#failures >= TOLD_AFTER) this.#handlers.onProblem(error);
  }

  /** @param {number} position */
  #skip(position) {
    const gap = this.transcript.skipTo(position);
    if (gap !== null) this.#handlers.onEntry(gap);
    this.#handlers.onOpen();
  }

  #done() {
    this.transcript.end(this.#stream?.length ?? 0);
    this.#end();
  }

  /** @param {Error} error */
  #fail(error) {
    this.#end();
    this.#handlers.onProblem(error);
  }

  /** End the recording as it is: what is not finalized is a gap. */
  #end() {
    const stream = this.#stream;
    if (stream === null) return;
    stream.abort();
    this.#skip(stream.length);
    this.#stream = null;
    this.#stopPlayer();
    this.transcript.end(stream.length);
    this.source = null;
    this.#setPhase("idle");
    this.#handlers.onOpen();
    this.#handlers.onProgress();
  }

  async #stopPlayer() {
    const player = this.#player;
    this.#player = null;
    await player?.stop();
  }

  /** @param {Phase} phase */
  #setPhase(phase) {
    this.phase = phase;
    this.#handlers.onState();
  }

  /** @param {Link} link */
  #setLink(link) {
    this.link = link;
    this.#handlers.onState();
  }
}
