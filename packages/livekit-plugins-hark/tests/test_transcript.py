from __future__ import annotations

from collections.abc import Sequence

import pytest
from listening import END, FINAL, INTERIM, PREFLIGHT, START, USAGE, assert_order, of_kind
from livekit.agents.stt import SpeechEvent
from livekit.agents.types import NOT_GIVEN

from hark_protocol import (
    Capabilities,
    Closed,
    Final,
    Flushed,
    Interim,
    Limits,
    Preflight,
    Progress,
    Ready,
    ServerMessage,
    SpeechEnded,
    SpeechStarted,
    Word,
)
from livekit.plugins.hark.transcript import StreamTimes, Transcript

RATE = 1000
OFFSET_S = 5.0
WALL = 1_000_000.0

READY = Ready(
    session="a",
    model="m",
    language="en",
    capabilities=Capabilities(("en",), True, True, False, False, False),
    limits=Limits(1 << 20, 0, 60.0),
)


@pytest.fixture
def transcript() -> Transcript:
    times = StreamTimes(
        RATE,
        offset_s=lambda: OFFSET_S,
        began_at=lambda position: WALL + position / RATE,
        ended_at=lambda position: WALL + position / RATE,
    )
    transcript = Transcript(times)
    transcript.connected(READY, 0)
    return transcript


def tell(transcript: Transcript, *messages: ServerMessage) -> list[SpeechEvent]:
    return [event for message in messages for event in transcript.receive(message)]


def kinds(events: Sequence[SpeechEvent]) -> list[str]:
    return [event.type for event in events]


def utterance(number: int, start: int, end: int) -> tuple[ServerMessage, ...]:
    return (
        SpeechStarted(number, start),
        Final(number, start, end, f"u{number}"),
        SpeechEnded(number, end),
    )


def test_each_message_becomes_its_event(transcript: Transcript) -> None:
    events = tell(
        transcript,
        SpeechStarted(1, 1000),
        Interim(1, 1000, 2000, "a", stable=1),
        Preflight(1, 1000, 3000, "a b"),
        Final(1, 1000, 3200, "a b", 0.9, "de", (Word("a", 1000, 2000, 0.8), Word("b", 2100, 3000))),
        SpeechEnded(1, 3000),
    )
    assert kinds(events) == [START, INTERIM, PREFLIGHT, FINAL, END]
    start, interim, _, final, end = events
    assert start.speech_start_time == WALL + 1.0
    assert interim.alternatives[0].metadata == {"stable": 1}
    assert interim.alternatives[0].language == "en"
    data = final.alternatives[0]
    assert (data.start_time, data.end_time) == (6.0, 8.2)
    assert (data.text, data.confidence, data.language) == ("a b", 0.9, "de")
    assert data.words is not None
    assert [(w.start_time, w.end_time, w.confidence) for w in data.words] == [
        (6.0, 7.0, 0.8),
        (7.1, 8.0, NOT_GIVEN),
    ]
    assert end.speech_end_time == WALL + 3.0
    assert {event.request_id for event in events} == {"a"}


def test_what_the_model_does_not_give_is_not_invented(transcript: Transcript) -> None:
    events = tell(transcript, SpeechStarted(1, 0), Final(1, 0, 100, "a"))
    data = events[-1].alternatives[0]
    assert (data.confidence, data.words) == (0.0, None)


def test_an_empty_hypothesis_is_not_told_but_an_empty_final_is(transcript: Transcript) -> None:
    events = tell(
        transcript,
        SpeechStarted(1, 0),
        Interim(1, 0, 50, ""),
        Preflight(1, 0, 80, ""),
        Final(1, 0, 100, ""),
        SpeechEnded(1, 90),
    )
    assert kinds(events) == [START, FINAL, END]


def test_a_final_finalises_its_audio_even_without_progress(transcript: Transcript) -> None:
    tell(transcript, *utterance(1, 100, 900))
    assert transcript.finalized == 900
    tell(transcript, Progress(2000, 700))
    assert transcript.finalized == 900
    tell(transcript, Progress(2000, 1500))
    assert transcript.finalized == 1500


def test_an_utterance_that_is_found_again_has_one_start_and_one_final(
    transcript: Transcript,
) -> None:
    events = tell(transcript, SpeechStarted(7, 1000), Interim(7, 1000, 2000, "a"))
    events += transcript.disconnected()
    transcript.connected(READY, 500)
    assert not transcript.is_between_utterances
    events += tell(transcript, Progress(3000, 900))
    events += tell(transcript, SpeechStarted(1, 1040), Interim(1, 1040, 1500, "a"))
    events += tell(transcript, Final(1, 1040, 2500, "a b"), SpeechEnded(1, 2400))
    assert kinds(events) == [START, INTERIM, INTERIM, FINAL, END]
    assert of_kind(events, FINAL)[0].alternatives[0].start_time == 6.04


def test_an_utterance_with_its_final_ends_with_its_connection(transcript: Transcript) -> None:
    events = tell(transcript, SpeechStarted(1, 1000), Final(1, 1000, 2000, "a"))
    events += transcript.disconnected()
    transcript.connected(READY, transcript.finalized)
    events += tell(transcript, *utterance(1, 2100, 2500))
    assert kinds(events) == [START, FINAL, END, START, FINAL, END]
    assert of_kind(events, END)[0].speech_end_time == WALL + 2.0


def test_a_lost_connection_between_utterances_tells_nothing(transcript: Transcript) -> None:
    tell(transcript, *utterance(1, 0, 100))
    assert transcript.disconnected() == []
    assert transcript.is_between_utterances


def test_an_utterance_not_found_again_ends_once_progress_is_well_past_it(
    transcript: Transcript,
) -> None:
    events = tell(transcript, SpeechStarted(1, 1000), Interim(1, 1000, 1500, "a"))
    transcript.disconnected()
    transcript.connected(READY, 900)
    assert tell(transcript, Progress(2600, 2500)) == []
    events += tell(transcript, Progress(2700, 2501))
    assert kinds(events) == [START, INTERIM, FINAL, END]
    final = of_kind(events, FINAL)[0].alternatives[0]
    assert (final.text, final.start_time, final.end_time) == ("", 6.0, 6.5)
    assert transcript.is_between_utterances


def test_an_utterance_not_found_again_ends_before_a_much_later_one_starts(
    transcript: Transcript,
) -> None:
    events = tell(transcript, SpeechStarted(1, 1000))
    transcript.disconnected()
    transcript.connected(READY, 900)
    events += tell(transcript, *utterance(1, 4000, 5000))
    assert kinds(events) == [START, FINAL, END, START, FINAL, END]
    assert_order(events)


def test_an_utterance_not_found_again_ends_with_a_flush_after_it(transcript: Transcript) -> None:
    events = tell(transcript, SpeechStarted(1, 1000))
    transcript.flush_requested(1, 1200)
    transcript.disconnected()
    transcript.connected(READY, 900)
    events += tell(transcript, Flushed(1))
    assert kinds(events) == [START, FINAL, END]
    assert transcript.finalized == 1200


def test_a_flush_before_a_lost_utterance_does_not_end_it(transcript: Transcript) -> None:
    transcript.flush_requested(1, 1000)
    tell(transcript, SpeechStarted(1, 1000))
    transcript.disconnected()
    transcript.connected(READY, 900)
    assert kinds(tell(transcript, Flushed(1))) == [FINAL]
    assert not transcript.is_between_utterances


def test_an_utterance_not_found_again_ends_with_the_stream(transcript: Transcript) -> None:
    events = tell(transcript, SpeechStarted(1, 1000))
    transcript.disconnected()
    transcript.connected(READY, 900)
    events += tell(transcript, Progress(1100, 1100), Closed())
    assert kinds(events) == [START, FINAL, END, USAGE]


def test_a_flush_without_a_final_since_gives_an_empty_one(transcript: Transcript) -> None:
    transcript.flush_requested(1, 1000)
    (event,) = tell(transcript, Flushed(1))
    data = event.alternatives[0]
    # Times of 0 mean "unknown" to LiveKit; anything else would move the end of the user's turn.
    assert (event.type, data.text, data.start_time, data.end_time) == (FINAL, "", 0.0, 0.0)


def test_a_flush_with_a_final_since_gives_no_other(transcript: Transcript) -> None:
    transcript.flush_requested(1, 1000)
    events = tell(transcript, *utterance(1, 100, 900), Flushed(1))
    assert kinds(events) == [START, FINAL, END]


def test_each_flush_is_judged_by_itself(transcript: Transcript) -> None:
    transcript.flush_requested(1, 1000)
    tell(transcript, *utterance(1, 100, 900))
    transcript.flush_requested(2, 2000)
    assert tell(transcript, Flushed(1)) == []
    assert kinds(tell(transcript, Flushed(2))) == [FINAL]


def test_usage_is_told_in_steps_and_at_the_end(transcript: Transcript) -> None:
    assert tell(transcript, Progress(4900, 0)) == []
    (first,) = tell(transcript, Progress(5200, 0))
    assert first.recognition_usage is not None
    assert first.recognition_usage.audio_duration == 5.2
    (rest,) = tell(transcript, Progress(6000, 0), Closed())
    assert rest.recognition_usage is not None
    assert rest.recognition_usage.audio_duration == pytest.approx(0.8)
    assert transcript.usage() == []


def test_usage_counts_neither_replayed_nor_given_up_audio(transcript: Transcript) -> None:
    tell(transcript, Progress(3000, 1000))
    transcript.disconnected()
    transcript.connected(READY, 1000)
    tell(transcript, Progress(2500, 1000))
    transcript.disconnected()
    transcript.connected(READY, 4000)
    tell(transcript, Progress(4500, 4000))
    (event,) = transcript.usage()
    assert event.recognition_usage is not None
    assert event.recognition_usage.audio_duration == pytest.approx(3.5)
