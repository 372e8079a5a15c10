"""The page's modules that know nothing of the page, each by itself."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from hark.formats import render
from hark.transcription import TimedWord, Transcription, Utterance

if TYPE_CHECKING:
    from playwright.async_api import Page

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(60),
    pytest.mark.asyncio(loop_scope="module"),  # one browser for all of them
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page(server: Any, browsers: Any) -> AsyncIterator[Page]:
    browser = await browsers.get(None)
    async with await browser.new_page() as page:
        await page.goto(f"{server.url}static/icon.svg")
        yield page


async def run(page: Page, module: str, body: str) -> Any:
    """Run JavaScript with all exports of a module at hand; gives what it returns."""
    return await page.evaluate(
        f"""async () => {{
            const module = await import("/static/{module}.js");
            {body}
        }}"""
    )


TRANSCRIPT = """
    const transcript = new module.Transcript();
    transcript.begin(16000);
    const receive = (...messages) => messages.map((message) => transcript.receive(message));
    const started = (utterance, start) => ({ type: "speech_started", utterance, start });
    const interim = (start, end, text, stable) => ({ type: "interim", start, end, text, stable });
    const final = (start, end, text) => ({ type: "final", start, end, text });
    const progress = (finalized, context) => {
        return { type: "progress", received: finalized, finalized, context };
    };
"""


async def test_an_interim_is_parted_where_it_is_stable_in_code_points(page: Page) -> None:
    opened = await run(
        page,
        "transcript/transcript",
        TRANSCRIPT + "receive(started(0, 8000), interim(8000, 16000, '𝄞 one two', 5));"
        "return transcript.open;",
    )
    assert opened == {"startS": 0.5, "stable": "𝄞 one ", "unstable": "two"}


async def test_a_preflight_keeps_what_was_stable_unless_it_says_otherwise(page: Page) -> None:
    stable = await run(
        page,
        "transcript/transcript",
        TRANSCRIPT
        + """
        receive(started(0, 0), interim(0, 16000, "one two", 3));
        const preflight = (text) => ({ type: "preflight", start: 0, end: 17000, text });
        return ["one two three", "won two"].map((text) => {
            receive(preflight(text));
            return transcript.open.stable;
        });""",
    )
    assert stable == ["one ", ""]


async def test_an_empty_final_closes_its_utterance_and_shows_nothing(page: Page) -> None:
    result = await run(
        page,
        "transcript/transcript",
        TRANSCRIPT + "receive(started(0, 0), interim(0, 9000, 'uh', 0), final(0, 9000, ''));"
        "return [transcript.open, transcript.entries.length, transcript.finalized];",
    )
    assert result == [None, 0, 9000]


async def test_a_final_that_is_said_again_after_a_reconnect_is_dropped(page: Page) -> None:
    texts = await run(
        page,
        "transcript/transcript",
        TRANSCRIPT
        + """
        receive(started(0, 0), final(0, 16000, "one"));
        transcript.disconnected();
        receive(started(0, 100), final(100, 15900, "one"), started(1, 20000));
        receive(final(20000, 30000, "two"));
        return transcript.captions.map(({ text }) => text);""",
    )
    assert texts == ["one", "two"]


async def test_an_open_utterance_stays_in_sight_until_it_is_found_again(page: Page) -> None:
    texts = await run(
        page,
        "transcript/transcript",
        TRANSCRIPT
        + """
        const open = () => transcript.open?.unstable ?? null;
        receive(started(3, 1000), interim(1000, 16000, "one", 0));
        transcript.disconnected();
        const seen = [open()];
        receive(started(0, 2000));
        seen.push(open());
        receive(interim(2000, 20000, "one two", 0));
        seen.push(open());
        return seen;""",
    )
    assert texts == ["one", "one", "one two"]


async def test_an_open_utterance_that_is_not_found_again_goes(page: Page) -> None:
    seen = await run(
        page,
        "transcript/transcript",
        TRANSCRIPT
        + """
        receive(started(3, 1000), interim(1000, 16000, "hm", 0));
        transcript.disconnected();
        return [31000, 33000].map((position) => {
            receive(progress(position));
            return transcript.open !== null;
        });""",
    )
    assert seen == [True, False]


async def test_context_begins_where_the_last_progress_says(page: Page) -> None:
    contexts = await run(
        page,
        "transcript/transcript",
        TRANSCRIPT
        + """
        const messages = [
            progress(8000), started(0, 8000), final(8000, 40000, "one"), progress(38000, 8000),
            progress(60000),
        ];
        const contexts = messages.map((message) => {
            receive(message);
            return transcript.context;
        });
        transcript.begin(16000);
        return [...contexts, transcript.context];""",
    )
    assert contexts == [8000, 8000, 8000, 8000, 60000, 0]


async def test_recordings_follow_each_other_in_time_whatever_their_rates(page: Page) -> None:
    times = await run(
        page,
        "transcript/transcript",
        TRANSCRIPT
        + """
        receive(started(0, 16000), final(16000, 32000, "one"));
        transcript.end(48000);
        transcript.begin(48000);
        receive(started(0, 48000), final(48000, 96000, "two"));
        transcript.end(96000);
        return transcript.captions.map(({ startS, endS }) => [startS, endS]);""",
    )
    assert times == [[1, 2], [4, 5]]


async def test_audio_that_was_lost_is_a_gap(page: Page) -> None:
    entries = await run(
        page,
        "transcript/transcript",
        TRANSCRIPT
        + """
        receive(started(0, 0), final(0, 16000, "one"));
        transcript.skipTo(12000);
        transcript.skipTo(40000);
        return transcript.entries.map(({ kind, startS, endS }) => [kind, startS, endS]);""",
    )
    assert entries == [["caption", 0, 1], ["gap", 1, 2.5]]


CAPTIONS = """
    const word = (text, startS, endS) => ({ text, startS, endS });
    const caption = (startS, endS, text, words = null) => {
        return { kind: "caption", startS, endS, text, words };
    };
"""


async def test_text_is_one_line_for_each_caption(page: Page) -> None:
    text = await run(
        page,
        "transcript/formats",
        CAPTIONS + "return module.toText([caption(0, 1, 'One.'), caption(2, 3, 'Two.')]);",
    )
    assert text == "One.\nTwo.\n"


async def test_subtitles_have_the_times_of_their_captions(page: Page) -> None:
    captions = "[caption(0.9995, 2.5, 'a < b --> c & d'), caption(3662, 3663.25, 'e')]"
    srt = await run(page, "transcript/formats", f"{CAPTIONS} return module.toSrt({captions});")
    vtt = await run(page, "transcript/formats", f"{CAPTIONS} return module.toVtt({captions});")
    assert srt == (
        "1\n00:00:01,000 --> 00:00:02,500\na < b -> c & d\n\n2\n01:01:02,000 --> 01:01:03,250\ne\n"
    )
    assert vtt == (
        "WEBVTT\n\n00:00:01.000 --> 00:00:02.500\na &lt; b --&gt; c &amp; d\n\n"
        "01:01:02.000 --> 01:01:03.250\ne\n"
    )


async def test_subtitles_are_broken_into_short_lines(page: Page) -> None:
    lines = await run(
        page,
        "transcript/formats",
        CAPTIONS
        + "return module.toSrt([caption(0, 1, 'word '.repeat(16))]).split('\\n').slice(2);",
    )
    assert [len(line) for line in lines] == [39, 39, 0]


async def test_a_long_caption_is_cut_where_words_have_times(page: Page) -> None:
    cues = await run(
        page,
        "transcript/formats",
        CAPTIONS
        + """
        const words = Array.from({ length: 20 }, (_, i) => word("word", i, i + 0.5));
        const text = words.map(({ text }) => text).join(" ") + ".";
        return module.cues([caption(0, 20, text, words)]);""",
    )
    times = [(cue["startS"], cue["endS"]) for cue in cues]
    assert times == [(0, 4.5), (5, 9.5), (10, 14.5), (15, 19.5)]
    assert [cue["text"].count("word") for cue in cues] == [5, 5, 5, 5]
    assert cues[-1]["text"].endswith("word.")


async def test_subtitles_are_those_that_the_server_writes(page: Page) -> None:
    texts = [
        "It was the best of times, it was the worst of times. “It was the age of wisdom.” And "
        "it was the age of foolishness - so far, at least, as any-one-could-tell & <believe>.",
        "Yes.",
        "word " * 50 + "x" * 90,
        "今日はとても良い天気ですね。明日も晴れるでしょう、たぶん。" * 4,
    ]
    utterances = []
    for i, text in enumerate(texts):
        start_s = 100.0 * i + 0.032
        words = tuple(
            TimedWord(word, start_s + n, start_s + n + 0.75, None)
            for n, word in enumerate(text.split())
        )
        utterances += [
            Utterance(start_s, start_s + 20.25, text, None, None, None),
            Utterance(start_s + 40, start_s + 60, text, None, None, words),
            Utterance(start_s + 80, start_s + 81, text, None, None, words[::-1]),
        ]
    transcription = Transcription("", None, 400.0, "any", tuple(utterances))
    captions = [
        {
            "kind": "caption",
            "startS": utterance.start_s,
            "endS": utterance.end_s,
            "text": utterance.text,
            "words": utterance.words
            and [{"text": w.text, "startS": w.start_s, "endS": w.end_s} for w in utterance.words],
        }
        for utterance in utterances
    ]
    for format, function in (("srt", "toSrt"), ("vtt", "toVtt")):
        written = await run(
            page, "transcript/formats", f"return module.{function}({json.dumps(captions)});"
        )
        assert written == render(transcription, format)


async def test_what_cannot_be_read_is_not_taken_for_a_missing_microphone(page: Page) -> None:
    name = await run(
        page,
        "audio/recording",
        """
        const folder = { arrayBuffer: () => Promise.reject(new DOMException("", "NotFoundError")) };
        return module.decode(folder).catch(({ name }) => name);""",
    )
    assert name == "FileError"


async def test_a_replay_buffer_gives_back_what_it_was_given(page: Page) -> None:
    assert await run(
        page,
        "protocol/replay",
        """
        const buffer = new module.ReplayBuffer(10, 1000);
        let next = 0;
        const wrong = [];
        for (const length of [4, 7, 1, 10, 3, 25, 2]) {
            buffer.append(Int16Array.from({ length }, () => next++));
            for (let position = buffer.start; position <= buffer.end; position++) {
                const samples = [...buffer.read(position, 6)];
                const expected = samples.map((_, i) => position - 1000 + i);
                if (String(samples) !== String(expected)) wrong.push([position, samples]);
            }
        }
        return [wrong, buffer.end - buffer.start, buffer.end];""",
    ) == [[], 10, 1052]


async def test_a_replay_buffer_refuses_what_it_does_not_hold(page: Page) -> None:
    assert await run(
        page,
        "protocol/replay",
        """
        const buffer = new module.ReplayBuffer(10);
        buffer.append(new Int16Array(15));
        buffer.forget(8);
        return [7, 8, 15, 16].map((position) => {
            try {
                return buffer.read(position, 100).length;
            } catch (error) {
                return error.name;
            }
        });""",
    ) == ["RangeError", 7, 0, "RangeError"]


OUTBOX = """
    const outbox = new module.Outbox(90, 10);
    const all = () => {
        const said = [];
        for (let next = outbox.next(); next !== null; next = outbox.next()) {
            said.push(next === "close" ? next : next.length);
        }
        return said;
    };
"""


async def with_outbox(page: Page, script: str) -> Any:
    """What a script gives that has an outbox, and `all` for what it has to say."""
    return await run(page, "protocol/outbox", OUTBOX + script)


async def test_an_outbox_says_everything_again_that_is_not_finalized(page: Page) -> None:
    said = await with_outbox(
        page,
        """
        outbox.push(new Int16Array(50));
        const first = all();
        outbox.forget(20, 20);
        outbox.push(new Int16Array(10));
        outbox.finish();
        const second = all();
        return [first, second, outbox.rewind(), all(), all()];""",
    )
    again = {"start": 20, "context": 20}
    assert said == [[50], [10, "close"], again, [40, "close"], []]


async def test_an_outbox_says_context_again_before_what_is_not_finalized(page: Page) -> None:
    said = await with_outbox(
        page,
        """
        outbox.push(new Int16Array(60));
        all();
        outbox.forget(40, 20);
        return [outbox.held, outbox.rewind(), [...outbox.next()].length, outbox.isCutOff];""",
    )
    assert said == [20, {"start": 40, "context": 20}, 40, False]


async def test_where_room_is_short_an_outbox_forgets_context_first(page: Page) -> None:
    again = await with_outbox(
        page,
        """
        outbox.push(new Int16Array(60));
        all();
        outbox.forget(50, 20);
        return [50, 1].map((more) => {
            outbox.push(new Int16Array(more));
            return outbox.rewind();
        });""",
    )
    assert again == [{"start": 50, "context": 20}, {"start": 50, "context": 50}]


async def test_audio_heard_with_other_options_is_no_context(page: Page) -> None:
    again = await with_outbox(
        page,
        """
        outbox.push(new Int16Array(40));
        all();
        outbox.forget(30, 10);
        outbox.forgetContext();
        const changed = outbox.rewind();
        outbox.push(new Int16Array(30));
        all();
        return [changed, ...[[55, 30], [65, 60]].map(([finalized, context]) => {
            outbox.forget(finalized, context);
            const again = outbox.rewind();
            all();
            return again;
        })];""",
    )
    assert again == [
        {"start": 30, "context": 30},
        {"start": 55, "context": 55},
        {"start": 65, "context": 60},
    ]


async def test_context_that_was_promised_to_a_connection_is_sent_whatever_changes(
    page: Page,
) -> None:
    said = await with_outbox(
        page,
        """
        outbox.push(new Int16Array(60));
        all();
        outbox.forget(40, 20);
        outbox.rewind();
        outbox.forgetContext();
        outbox.forget(40, 20);
        return [outbox.isCutOff, all(), outbox.rewind()];""",
    )
    assert said == [False, [40], {"start": 40, "context": 40}]


async def test_an_outbox_tells_when_it_had_to_forget_what_was_not_sent(page: Page) -> None:
    cut_off = await run(
        page,
        "protocol/outbox",
        """
        const outbox = new module.Outbox(90, 10);
        outbox.push(new Int16Array(100));
        const before = outbox.isCutOff;
        outbox.push(new Int16Array(30));
        return [before, outbox.isCutOff];""",
    )
    assert cut_off == [False, True]


async def test_a_full_outbox_makes_room_for_what_comes_while_a_connection_is_made(
    page: Page,
) -> None:
    result = await run(
        page,
        "protocol/outbox",
        """
        const outbox = new module.Outbox(90, 10);
        outbox.push(new Int16Array(130));
        const { start } = outbox.rewind();
        outbox.push(new Int16Array(10));
        return [start, outbox.isCutOff, outbox.next().length];""",
    )
    assert result == [40, False, 100]


async def test_delays_between_attempts_grow_to_a_limit_and_start_anew_after_a_recovery(
    page: Page,
) -> None:
    delays = await run(
        page,
        "protocol/backoff",
        """
        const backoff = new module.Backoff(() => 1);
        const delays = Array.from({ length: 6 }, () => backoff.failed());
        backoff.recovered();
        return [...delays, backoff.failed(), backoff.failed(30)];""",
    )
    assert delays == [0.2, 1, 2, 4, 5, 5, 0.2, 30]


async def test_the_first_delay_is_left_to_chance_and_half_of_each_later_one(page: Page) -> None:
    delays = await run(
        page,
        "protocol/backoff",
        """
        const backoff = new module.Backoff(() => 0);
        return Array.from({ length: 3 }, () => backoff.failed());""",
    )
    assert delays == [0, 0.5, 1]


SCRIPTED_SERVER = """
    const { Transcript } = await import("/static/transcript/transcript.js");
    let now = 0;
    performance.now = () => now;
    Math.random = () => 1;
    let asked = 0;
    window.fetch = async () => {
        asked += 1;
        return Response.json({ data: [] });
    };
    let dialled = Promise.withResolvers();
    window.WebSocket = class {
        static OPEN = 1;
        readyState = 0;
        bufferedAmount = 0;
        configs = [];
        audio = [];
        constructor() {
            dialled.resolve(this);
            dialled = Promise.withResolvers();
        }
        open() {
            this.readyState = WebSocket.OPEN;
            this.onopen();
            this.say({ type: "ready" });
        }
        send(data) {
            if (typeof data !== "string") this.audio.push(...data);
            else if (JSON.parse(data).type === "config") this.configs.push(JSON.parse(data));
        }
        say(message) {
            this.onmessage({ data: JSON.stringify(message) });
        }
        die() {
            this.onclose();
        }
        close() {}
    };
    const transcript = new Transcript();
    transcript.begin(16000);
    const options = { sampleRate: 16000, key: null, model: "any", language: "en", words: false };
    const ignore = () => {};
    const first = dialled.promise;
    const stream = new module.CaptionStream(options, transcript, {
        onMessage: (message) => transcript.receive(message),
        onConnected: ignore, onInterrupted: ignore, onSkipped: ignore, onDone: ignore,
        onFailed: ignore,
    });
    const redialled = () => {
        const next = dialled.promise;
        for (const before = asked; asked === before; now += 50) stream.push(new Int16Array(0));
        return next;
    };
    const progress = (finalized, context) => {
        return { type: "progress", received: stream.length, finalized, context };
    };
"""
"""A server that dies when it is told to, and a clock that goes on when it is asked to."""


async def play(server: Any, open_page: Any, body: str) -> Any:
    """Run JavaScript with a stream and the scripted server at hand."""
    page = await open_page(f"{server.url}static/icon.svg")
    return await run(page, "protocol/stream", SCRIPTED_SERVER + body)


@pytest.mark.parametrize(
    ("held_ms", "heard", "delays"),
    [
        (4900, "stream.length", [200, 1000, 2000, 4000, 5000, 5000]),
        (5000, "stream.length", [200, 200, 200, 200, 200, 200]),
        (60_000, "0", [200, 1000, 2000, 4000, 5000, 5000]),
    ],
    ids=["dies soon", "holds", "gets nowhere"],
)
async def test_only_a_connection_that_held_and_got_somewhere_ends_an_outage(
    held_ms: int, heard: str, delays: list[int], server: Any, open_page: Any
) -> None:
    waited = await play(
        server,
        open_page,
        f"""
        const waited = [];
        let socket = await first;
        for (let i = 0; i < 6; i++) {{
            socket.open();
            stream.push(new Int16Array(1600));
            now += {held_ms};
            socket.say({{ type: "progress", received: {heard}, finalized: {heard} }});
            socket.die();
            const lost = now;
            socket = await redialled();
            waited.push(now - 50 - lost);
        }}
        stream.abort();
        return waited;""",
    )
    assert waited == delays


async def test_a_new_connection_hears_the_context_of_what_is_not_finalized(
    server: Any, open_page: Any
) -> None:
    configs, audio = await play(
        server,
        open_page,
        """
        const one = await first;
        one.open();
        stream.push(Int16Array.from({ length: 1600 }, (_, i) => i));
        one.say(progress(900, 500));
        one.die();
        const other = await redialled();
        other.open();
        stream.abort();
        return [[...one.configs, ...other.configs], other.audio];""",
    )
    positions = [(config["start_sample"], config["context_sample"]) for config in configs]
    assert positions == [(0, 0), (900, 500)]
    assert audio == list(range(500, 1600))


@pytest.mark.parametrize("moment", ["before it is lost", "while a new one is made"])
async def test_audio_of_another_language_is_not_sent_as_context(
    moment: str, server: Any, open_page: Any
) -> None:
    config, audio = await play(
        server,
        open_page,
        f"""
        const isBefore = {json.dumps(moment == "before it is lost")};
        const one = await first;
        one.open();
        stream.push(Int16Array.from({{ length: 1600 }}, (_, i) => i));
        one.say(progress(900, 500));
        if (isBefore) stream.setLanguage("de");
        one.die();
        const other = await redialled();
        if (!isBefore) stream.setLanguage("de");
        other.open();
        stream.abort();
        return [other.configs[0], other.audio];""",
    )
    assert config["language"] == "de"
    assert (config["start_sample"], config["context_sample"]) == (900, 900)
    assert audio == list(range(900, 1600))


async def test_a_language_that_is_chosen_while_the_last_words_are_awaited_changes_nothing(
    server: Any, open_page: Any
) -> None:
    configs = await play(
        server,
        open_page,
        """
        const socket = await first;
        socket.open();
        stream.finish();
        stream.setLanguage("de");
        stream.abort();
        return socket.configs;""",
    )
    assert [config["language"] for config in configs] == ["en"]


async def test_a_key_of_any_characters_travels_as_a_subprotocol(page: Page) -> None:
    protocols = await run(page, "protocol/key", "return module.subprotocols('?>ä/+ key');")
    assert protocols == ["hark.v1", "hark.key.Pz7DpC8rIGtleQ"]
    assert await run(page, "protocol/key", "return module.subprotocols(null);") == ["hark.v1"]


async def test_the_clock_of_a_recording_knows_when_a_sample_was_heard(page: Page) -> None:
    heard = await run(
        page,
        "transcript/latency",
        """
        const clock = new module.CaptureClock(1000);
        clock.mark(100, 5100);
        clock.mark(200, 5250);
        return [150, 200, 201, 50].map((position) => clock.heardAt(position));""",
    )
    assert heard == [5200, 5250, None, None]


async def test_the_latency_that_is_shown_is_the_median(page: Page) -> None:
    medians = await run(
        page,
        "transcript/latency",
        """
        const summary = new module.LatencySummary();
        return [null, 500, 400, 9000].map((latency) => {
            if (latency !== null) summary.add(latency);
            return summary.medianMs;
        });""",
    )
    assert medians == [None, 500, 400, 500]


async def test_samples_become_pcm16_without_wrapping_around(page: Page) -> None:
    samples = await run(
        page, "audio/pcm", "return [...module.toPcm16(Float32Array.of(0, 0.5, -1, 1, 2, -2))];"
    )
    assert samples == [0, 16384, -32768, 32767, 32767, -32768]


async def test_the_level_is_even_in_decibels(page: Page) -> None:
    levels = await run(
        page,
        "audio/level",
        """
        const constant = (amplitude) => new Int16Array(100).fill(amplitude);
        return [0, 10, 1036, 32767].map((amplitude) => module.level(constant(amplitude)));""",
    )
    assert levels == pytest.approx([0, 0, 0.5, 1], abs=0.001)


async def test_times_are_read_as_people_write_them(page: Page) -> None:
    times = await run(
        page, "view/elements", "return [0, 7.9, 61, 3599.99, 3723].map(module.clockTime);"
    )
    assert times == ["0:00", "0:07", "1:01", "59:59", "1:02:03"]
