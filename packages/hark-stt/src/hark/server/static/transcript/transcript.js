/**
 * From the server's messages to captions, across however many connections and recordings there are.
 */

/**
 * @typedef {import("../protocol/messages.js").ServerMessage} ServerMessage
 *
 * @typedef {object} TimedWord
 * @property {string} text
 * @property {number} startS
 * @property {number} endS
 *
 * @typedef {object} Caption One utterance's text, for good.
 * @property {"caption"} kind
 * @property {number} startS seconds from the start of the transcript
 * @property {number} endS
 * @property {string} text
 * @property {TimedWord[] | null} words null where the model gives no times
 *
 * @typedef {object} Gap Audio that nobody heard.
 * @property {"gap"} kind
 * @property {number} startS
 * @property {number} endS
 *
 * @typedef {object} OpenUtterance What is being said.
 * @property {number} startS
 * @property {string} stable the part that will hardly change any more
 * @property {string} unstable the rest
 */

/**
 * A recogniser that starts in the middle of a stream may find the same speech a little later than
 * one that has heard all of it: only when this much more is done with, the speech is taken not to
 * have been found again.
 */
const REDETECTION_MARGIN_S = 1;

export class Transcript {
  /** @type {(Caption | Gap)[]} in order of time */
  entries = [];
  /** @type {OpenUtterance | null} */
  open = null;
  /** Position before which all audio of the present recording is done with. */
  finalized = 0;
  /** Position from which audio of it helps to recognize what is not done with. */
  context = 0;
  #sampleRate = 1;
  #openEnd = 0;
  #isOpenLost = false;
  #offsetS = 0;

  /** Seconds that the transcript covers so far. */
  get endS() {
    return this.#seconds(this.finalized);
  }

  /** @returns {Caption[]} the entries with text */
  get captions() {
    return /** @type {Caption[]} */ (this.entries.filter((entry) => entry.kind === "caption"));
  }

  /**
   * A new recording follows, at the end of those before it. Its positions start at 0.
   * @param {number} sampleRate Hz
   */
  begin(sampleRate) {
    this.#offsetS = this.endS;
    this.#sampleRate = sampleRate;
    this.finalized = this.context = 0;
    this.open = null;
  }

  /**
   * The recording is over, and everything in it is done with.
   * @param {number} position its length in samples
   */
  end(position) {
    this.open = null;
    this.finalized = Math.max(this.finalized, position);
  }

  /** The connection is gone: an utterance that is open goes on in the next one. */
  disconnected() {
    this.#isOpenLost = true;
  }

  /**
   * The audio before a position is gone, finalized or not.
   * @param {number} position
   * @returns {Gap | null} what was lost
   */
  skipTo(position) {
    if (position <= this.finalized) return null;
    /** @type {Gap} */
    const gap = {
      kind: "gap",
      startS: this.#seconds(this.finalized),
      endS: this.#seconds(position),
    };
    this.finalized = position;
    this.open = null;
    this.entries.push(gap);
    return gap;
  }

  /**
   * Take a message.
   * @param {ServerMessage} message
   * @returns {Caption | null} what is new in `entries`
   */
  receive(message) {
    switch (message.type) {
      case "speech_started":
        this.#speechStarted(message);
        return null;
      case "interim":
      case "preflight":
        this.#hypothesis(message);
        return null;
      case "final":
        return this.#final(message);
      case "progress":
        this.#progress(message);
        return null;
      default:
        return null;
    }
  }

  /** @param {ServerMessage} message */
  #speechStarted({ start = 0 }) {
    this.#dropIfPassed(start);
    const goesOn = this.open !== null && this.#isOpenLost;
    this.#isOpenLost = false;
    if (goesOn) return; // found again after a reconnect: its text stays until there is a newer one
    this.open = { startS: this.#seconds(start), stable: "", unstable: "" };
    this.#openEnd = start;
  }

  /** @param {ServerMessage} message */
  #hypothesis({ type, start = 0, end = 0, text = "", stable = 0 }) {
    if (end <= this.finalized) return;
    // A preflight says nothing about stability, so what was stable stays so where it still holds.
    const kept = this.open?.stable ?? "";
    const isStable =
      type === "interim" ? firstCodePoints(text, stable) : text.startsWith(kept) ? kept : "";
    const rest = text.slice(isStable.length);
    const unstable = rest.trimStart();
    const space = rest.slice(0, rest.length - unstable.length);
    this.open = { startS: this.#seconds(start), stable: isStable + space, unstable };
    this.#openEnd = Math.max(this.#openEnd, end);
  }

  /** @param {ServerMessage} message */
  #final({ start = 0, end = 0, text = "", words }) {
    this.open = null;
    if (end <= this.finalized) return null; // said already
    this.finalized = end;
    if (text === "") return null;
    /** @type {Caption} */
    const caption = {
      kind: "caption",
      startS: this.#seconds(start),
      endS: this.#seconds(end),
      text,
      words: words?.map((word) => this.#timed(word)) ?? null,
    };
    this.entries.push(caption);
    return caption;
  }

  /** @param {ServerMessage} message */
  #progress({ finalized = 0, context = finalized }) {
    this.finalized = Math.max(this.finalized, finalized);
    this.context = Math.max(this.context, context);
    this.#dropIfPassed(this.finalized);
  }

  /**
   * End an utterance that was lost with its connection and that nobody will finalize any more.
   * @param {number} position up to which everything is known
   */
  #dropIfPassed(position) {
    if (!this.#isOpenLost || this.open === null) return;
    if (position > this.#openEnd + REDETECTION_MARGIN_S * this.#sampleRate) this.open = null;
  }

  /** @param {import("../protocol/messages.js").Word} word */
  #timed({ text, start, end }) {
    return { text, startS: this.#seconds(start), endS: this.#seconds(end) };
  }

  /** @param {number} position */
  #seconds(position) {
    return this.#offsetS + position / this.#sampleRate;
  }
}

/**
 * @param {string} text
 * @param {number} count in code points, where JavaScript's own indices count UTF-16 units
 */
function firstCodePoints(text, count) {
  return Array.from(text).slice(0, count).join("");
}
