/**
 * The messages of the Hark protocol, version 1, as far as this page reads them (docs/protocol.md).
 * Every position is a count of samples at the stream's rate, from the start of the stream.
 *
 * @typedef {object} Word
 * @property {string} text
 * @property {number} start position
 * @property {number} end position
 *
 * @typedef {object} Capabilities
 * @property {string[]} languages BCP 47 tags
 * @property {boolean} words whether the model gives word times
 * @property {boolean} language_detection whether the model can be left to find the language
 *
 * @typedef {object} ServerMessage Which properties there are depends on the type.
 * @property {string} type
 * @property {number} [utterance] which one, in this connection
 * @property {number} [start] position
 * @property {number} [end] position
 * @property {string} [text]
 * @property {number} [stable] leading code points of the text that are not expected to change
 * @property {Word[]} [words]
 * @property {number} [received] position up to which the server has looked at the audio
 * @property {number} [finalized] position up to which the audio is done with
 * @property {number} [context] position from which audio helps to recognize what follows; where
 *   there is none it is `finalized`
 * @property {string} [code] of an error
 * @property {string} [message] of an error, for people
 * @property {boolean} [retryable] whether a new connection may go better
 * @property {number} [retry_after_s]
 *
 * @typedef {object} Config The first message, but for its version.
 * @property {string} [model]
 * @property {string | null} [language] null lets the model decide
 * @property {number} sample_rate Hz
 * @property {boolean} [words]
 * @property {number} start_sample position of the first audio that is new
 * @property {number} context_sample position of the first audio that will be sent
 */

export const PROTOCOL_VERSION = 1;

export const PCM16_BYTES_PER_SAMPLE = 2;

/** Hz; the rate at which speech models hear. */
export const SPEECH_SAMPLE_RATE = 16_000;

/** Hz; the server takes no audio at a higher rate. */
export const MAX_SAMPLE_RATE = 48_000;

/** Bytes; what every server takes in one message. */
export const MAX_MESSAGE_BYTES = 64 * 1024;
