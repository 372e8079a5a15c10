"""What is spoken can be read: from a microphone, from a file, whatever happens to the server."""

from __future__ import annotations

import base64
import json
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import jiwer
import pytest
from whisper_normalizer.english import EnglishTextNormalizer

if TYPE_CHECKING:
    from playwright.async_api import Dialog, Page, Route, WebSocket

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(120),
    pytest.mark.asyncio(loop_scope="module"),
]

TIMES = "It was the best of times, it was the worst of times."
AGES = "It was the age of wisdom, it was the age of foolishness."

MOST_WER = 0.1
"""The default model makes one mistake in these sentences at most; a lost or doubled utterance would
be many more."""

Recording = Callable[[str], Path]


async def test_words_spoken_into_the_microphone_appear(
    server: Any, open_page: Any, recording: Recording
) -> None:
    page = await open_page(server.url, microphone=recording("times"))
    await start(page)
    await wait_for_text(page, "#open", "best of times")
    assert await page.locator("#open .stable").count() == 1
    await wait_for_text(page, "#captions", "worst of times")
    await wait_for_text(page, "#rate", " s")
    await stop(page)

    assert_words(await captions(page), TIMES)
    assert await page.locator("#captions time").all_inner_texts() == ["0:00"]
    latency = re.fullmatch(r"(\d\.\d\d) s", await page.inner_text("#rate"))
    assert latency is not None
    assert 0.1 < float(latency[1]) < 5
    assert await page.inner_text("#problem") == ""


async def kill(server: Any) -> None:
    server.send(signal.SIGKILL)
    server.wait()


async def drain(server: Any) -> None:
    server.send(signal.SIGTERM)
    server.wait()  # it goes as soon as its only session has moved away


@pytest.mark.faults
@pytest.mark.parametrize("end", [kill, pytest.param(drain, marks=pytest.mark.slow)])
async def test_no_word_is_lost_or_doubled_when_the_server_restarts_while_somebody_speaks(
    end: Callable[[Any], Any], mortal_server: Any, open_page: Any, recording: Recording
) -> None:
    page = await open_page(mortal_server.url, microphone=recording("times and ages"))
    await start(page)
    await wait_for_text(page, "#open", "best of times")
    await end(mortal_server)
    await wait_for_text(page, "#status", "Reconnecting")
    mortal_server.start()
    await wait_for_text(page, "#status", "Listening")
    await wait_for_text(page, "#captions", "foolishness")
    await stop(page)

    assert_words(await captions(page), f"{TIMES} {AGES}")
    starts = await page.locator("#captions time").all_inner_texts()
    assert starts[0] == "0:00"
    assert sorted(starts) == starts
    assert await page.locator(".gap").count() == 0
    assert await page.inner_text("#problem") == ""


@pytest.mark.faults
async def test_a_recording_reads_the_same_whether_or_not_its_server_was_lost(
    mortal_server: Any, open_page: Any, recording: Recording
) -> None:
    page = await open_page(mortal_server.url)
    await ready(page)
    await page.set_input_files("#file-input", recording("seasons"))
    await wait_for_text(page, "#status", "Captioning")
    await ready(page)
    undisturbed = await download(page, "Download as SRT subtitles", "seasons.srt")

    configs: list[dict[str, Any]] = []
    page.on("websocket", lambda socket: note_configs(socket, configs))
    await page.select_option("#pace", "live")
    await page.set_input_files("#file-input", recording("seasons"))
    await wait_for_text(page, "#captions", "darkness")
    await wait_for_text(page, "#open", "hope")
    await kill(mortal_server)
    await wait_for_text(page, "#status", "Reconnecting")
    mortal_server.start()
    await ready(page)
    disturbed = await download(page, "Download as SRT subtitles", "seasons.srt")
    assert disturbed == undisturbed
    assert configs[-1]["context_sample"] < configs[-1]["start_sample"]


def note_configs(socket: WebSocket, configs: list[dict[str, Any]]) -> None:
    def note(frame: bytes | str) -> None:
        if isinstance(frame, str) and (message := json.loads(frame))["type"] == "config":
            configs.append(message)

    socket.on("framesent", note)


TIMERS_OF_A_HIDDEN_TAB = """
    for (const name of ["setTimeout", "setInterval"]) {
        const original = window[name];
        window[name] = (action, ms, ...more) => original(action, Math.max(ms, 60_000), ...more);
    }"""
"""Chromium lets those of a tab that is not seen fire once a minute, after some minutes."""


@pytest.mark.faults
async def test_a_tab_that_is_not_seen_finds_its_server_again(
    mortal_server: Any, open_page: Any, recording: Recording
) -> None:
    page = await open_page(
        mortal_server.url, microphone=recording("times"), script=TIMERS_OF_A_HIDDEN_TAB
    )
    await start(page)
    await wait_for_text(page, "#open", "best of times")
    await kill(mortal_server)
    await wait_for_text(page, "#status", "Reconnecting")
    mortal_server.start()
    await wait_for_text(page, "#captions", "worst of times")
    await stop(page)
    assert_words(await captions(page), TIMES)


@pytest.mark.faults
@pytest.mark.slow
async def test_a_server_that_stops_answering_is_noticed_and_no_word_is_lost(
    mortal_server: Any, open_page: Any, recording: Recording
) -> None:
    page = await open_page(mortal_server.url, microphone=recording("times and ages"))
    await start(page)
    await wait_for_text(page, "#open", "best of times")
    mortal_server.send(signal.SIGSTOP)
    await wait_for_text(page, "#status", "Reconnecting")
    mortal_server.send(signal.SIGCONT)
    await wait_for_text(page, "#captions", "foolishness")
    await stop(page)

    assert_words(await captions(page), f"{TIMES} {AGES}")
    assert await page.locator(".gap").count() == 0


@pytest.mark.faults
@pytest.mark.slow
async def test_an_outage_longer_than_what_is_kept_costs_its_beginning_and_no_more(
    mortal_server: Any, open_page: Any, recording: Recording
) -> None:
    page = await open_page(
        mortal_server.url,
        microphone=recording("long"),
        routes={"**/protocol/stream.js": keep_only_3_s},
    )
    await start(page)
    await wait_for_text(page, "#open", "best of times")
    await kill(mortal_server)
    await wait_for_text(page, "#time", "0:09")
    mortal_server.start()
    await wait_for_text(page, "#captions", "other way")
    await stop(page)

    times = await page.locator("#captions time").all_inner_texts()
    assert times[0] == "0:00"
    assert times == sorted(times)
    assert await page.locator("#captions .gap").count() == 1
    text = await captions(page)
    assert "best of times" not in text  # nobody had heard it to its end
    for words in ("winter of despair", "nothing before us", "direct the other way"):
        assert text.count(words) == 1


async def keep_only_3_s(route: Route) -> None:
    """Have the page keep 3 s for a replay, where it keeps a minute."""
    response = await route.fetch()
    text = await response.text()
    assert "REPLAY_S = 60;" in text
    text = text.replace("REPLAY_S = 60;", "REPLAY_S = 3;")
    text = text.replace("HEADROOM_S = READY_TIMEOUT_S;", "HEADROOM_S = 1;")
    await route.fulfill(response=response, body=text)


@pytest.mark.faults
async def test_what_could_not_be_captioned_is_told_when_the_wait_is_given_up(
    mortal_server: Any, open_page: Any, recording: Recording
) -> None:
    page = await open_page(mortal_server.url, microphone=recording("times"))
    await start(page)
    await wait_for_text(page, "#open", "best of times")
    await kill(mortal_server)
    await wait_for_text(page, "#problem", "does not answer")
    await page.click("#start")
    await wait_for_text(page, "#start", "Give up")
    await page.click("#start")
    await wait_for_text(page, "#status", "Not connected")

    assert re.search(r"\d seconds could not be captioned", await page.inner_text("#captions"))


async def test_where_the_browser_cannot_resample_the_server_does(
    server: Any, open_page: Any, recording: Recording
) -> None:
    page = await open_page(
        server.url,
        microphone=recording("times"),
        script="""const connect = AudioContext.prototype.createMediaStreamSource;
        AudioContext.prototype.createMediaStreamSource = function (stream) {
            if (this.sampleRate === 16000) throw new DOMException("", "NotSupportedError");
            return connect.call(this, stream);
        };""",
    )
    await start(page)
    await wait_for_text(page, "#captions", "worst of times")
    assert "0:03" <= await page.inner_text("#time") <= "0:09"
    await stop(page)

    assert_words(await captions(page), TIMES)


async def test_a_dropped_recording_is_captioned_faster_than_it_was_spoken(
    server: Any, open_page: Any, recording: Recording
) -> None:
    page = await open_page(server.url)
    await ready(page)
    await drag(page, recording("times and ages"), "dragenter", "dragover")
    assert await page.is_visible("#drop")
    await drag(page, recording("times and ages"), "drop")
    assert not await page.is_visible("#drop")
    await wait_for_text(page, "#captions", "foolishness")
    await wait_for_text(page, "#status", "Ready")

    assert_words(await captions(page), f"{TIMES} {AGES}")
    speed = re.fullmatch(r"([\d.]+)\D", await page.inner_text("#rate"))
    assert speed is not None
    assert float(speed[1]) > 1


async def test_a_recording_can_be_played_and_captioned_as_it_was_spoken(
    server: Any, open_page: Any, recording: Recording
) -> None:
    page = await open_page(server.url)
    await ready(page)
    await page.select_option("#pace", "live")
    await page.set_input_files("#file-input", recording("times"))
    await wait_for_text(page, "#open", "best of times")
    assert await page.is_visible("#waveform")
    await drag(page, recording("times"), "dragenter", "dragover")
    assert not await page.is_visible("#drop")  # one at a time
    # Sooner than it was spoken nothing of it can be done.
    assert 0 < await page.locator("#file-progress").evaluate("bar => bar.value") < 0.7
    await wait_for_text(page, "#captions", "worst of times")
    await wait_for_text(page, "#status", "Ready")

    assert_words(await captions(page), TIMES)


async def test_copies_and_downloads_hold_the_words_and_their_times(
    server: Any, open_page: Any, recording: Recording
) -> None:
    page = await open_page(server.url, permissions=["clipboard-read", "clipboard-write"])
    await ready(page)
    await page.set_input_files("#file-input", recording("times and ages"))
    await wait_for_text(page, "#captions", "foolishness")
    await wait_for_text(page, "#status", "Ready")
    await page.context.set_offline(True)  # they need nobody
    text = await download(page, "Download as text", "times and ages.txt")
    srt = await download(page, "Download as SRT subtitles", "times and ages.srt")
    vtt = await download(page, "Download as VTT subtitles", "times and ages.vtt")

    assert text.splitlines() == await page.locator("#captions .text").all_inner_texts()
    await page.get_by_role("button", name="Copy").click()
    await page.get_by_role("button", name="Copied").wait_for()
    assert await page.evaluate("navigator.clipboard.readText()") == text
    assert vtt.startswith("WEBVTT\n\n")
    times = [seconds(time) for time in re.findall(r"\d\d:\d\d:\d\d,\d{3}", srt)]
    assert times == [seconds(time) for time in re.findall(r"\d\d:\d\d:\d\d\.\d{3}", vtt)]
    assert len(times) == 2 * len(text.splitlines())
    assert times == sorted(times)
    assert times[0] == pytest.approx(0.3, abs=0.4)  # the first word of the recording
    assert times[-1] == pytest.approx(8.5, abs=0.6)  # its last


async def test_a_second_recording_is_added_only_when_asked_for(
    server: Any, open_page: Any, recording: Recording
) -> None:
    page = await open_page(server.url)
    await ready(page)
    for answer in (None, "Add to them", "Start anew"):
        await page.set_input_files("#file-input", recording("times"))
        if answer is not None:
            await page.get_by_role("button", name=answer).click()
        await wait_for_text(page, "#status", "Captioning")
        await wait_for_text(page, "#status", "Ready")
        await wait_for_text(page, "#captions .caption:last-child", "worst of times")
        times = await page.locator("#captions time").all_inner_texts()
        if answer == "Add to them":
            assert_words(await captions(page), f"{TIMES} {TIMES}")
            assert times.count("0:00") == 1
        else:
            assert_words(await captions(page), TIMES)


async def test_captions_that_nobody_has_taken_away_are_not_left_without_a_question(
    server: Any, open_page: Any, recording: Recording
) -> None:
    questions: list[str] = []

    async def stay(dialog: Dialog) -> None:
        questions.append(dialog.type)
        await dialog.dismiss()

    page = await open_page(server.url, permissions=["clipboard-write"])
    page.on("dialog", stay)
    await ready(page)
    await page.set_input_files("#file-input", recording("times"))
    await wait_for_text(page, "#captions", "worst of times")
    await ready(page)
    await page.click("#transcript")  # browsers ask only where somebody has done something
    async with page.expect_event("dialog"):
        await page.evaluate("location.reload()")
    assert_words(await captions(page), TIMES)

    await page.get_by_role("button", name="Copy").click()
    await page.get_by_role("button", name="Copied").wait_for()
    await page.reload()
    await ready(page)
    assert await captions(page) == ""
    assert questions == ["beforeunload"]


async def ready(page: Page) -> None:
    await wait_for_text(page, "#status", "Ready")


async def start(page: Page) -> None:
    await ready(page)
    await page.click("#start")
    await wait_for_text(page, "#status", "Listening")


async def stop(page: Page) -> None:
    await page.click("#start")
    await wait_for_text(page, "#status", "Ready")


async def captions(page: Page) -> str:
    return " ".join(await page.locator("#captions .text").all_inner_texts())


async def wait_for_text(page: Page, selector: str, text: str) -> None:
    await page.locator(selector).filter(has_text=text).wait_for(timeout=60_000)


async def drag(page: Page, path: Path, *events: str) -> None:
    """Have these happen to a file that is dragged over the page."""
    content = base64.b64encode(await anyio.Path(path).read_bytes()).decode()
    await page.evaluate(
        """async ([content, name, events]) => {
            const bytes = Uint8Array.from(atob(content), (character) => character.charCodeAt(0));
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([bytes], name));
            for (const type of events) {
                const options = { dataTransfer, bubbles: true, cancelable: true };
                document.querySelector("main").dispatchEvent(new DragEvent(type, options));
            }
        }""",
        [content, path.name, events],
    )


async def download(page: Page, button: str, name: str) -> str:
    async with page.expect_download() as downloading:
        await page.get_by_role("button", name=button).click()
    downloaded = await downloading.value
    assert downloaded.suggested_filename == name
    return (await downloaded.path()).read_text(encoding="utf-8")


def assert_words(text: str, reference: str) -> None:
    normalize = EnglishTextNormalizer()
    assert jiwer.wer(normalize(reference), normalize(text)) <= MOST_WER, text


def seconds(timestamp: str) -> float:
    hours, minutes, rest = timestamp.replace(",", ".").split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(rest)
