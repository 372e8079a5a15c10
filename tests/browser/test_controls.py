"""The page can be used by everyone: by keyboard, by screen reader, in any light, on any screen."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import pytest

if TYPE_CHECKING:
    from playwright.async_api import Page, Route

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(120),
    pytest.mark.asyncio(loop_scope="module"),
]

Recording = Callable[[str], Path]

LEAST_CONTRAST = 4.5
"""WCAG 2.2, success criterion 1.4.3 (AA), for text of any size."""

LEAST_TARGET_PX = 24
"""WCAG 2.2, success criterion 2.5.8 (AA)."""

NARROWEST_PX = 320
"""WCAG 2.2, success criterion 1.4.10 (AA)."""


async def test_everything_can_be_reached_and_used_with_the_keyboard(
    server: Any, open_page: Any, recording: Recording
) -> None:
    page = await open_page(server.url, microphone=recording("times"))
    page.on("filechooser", lambda chooser: None)  # from soon after it the page's choosers are told
    await wait_for_text(page, "#status", "Ready")
    await tab_to(page, "start")
    assert (
        await page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    )  # the focus can be seen
    await page.keyboard.press("Enter")
    await wait_for_text(page, "#status", "Listening")
    await wait_for_text(page, "#open", "best of times")
    await page.keyboard.press("Space")  # the focus is still on the same button
    await wait_for_text(page, "#status", "Ready")

    assert await tab_round(page, first="skip") == [
        "skip", "copy", "download txt", "download srt", "download vtt", "clear", "transcript",
        "microphone", "model", "language", "pace", "text-size", "theme", "start", "choose-file",
    ]  # fmt: skip

    await tab_to(page, "choose-file")
    async with page.expect_file_chooser() as choosing:
        await page.keyboard.press("Enter")
    await choosing.value


async def test_every_control_says_what_it_is(server: Any, open_page: Any) -> None:
    page = await open_page(server.url)
    await wait_for_text(page, "#status", "Ready")
    nodes = await accessibility_tree(page)
    roles = ("button", "combobox", "slider", "radio", "link", "log", "region", "meter", "status")
    named = [(role, name) for role, name in nodes if role in roles]
    assert all(name for role, name in named if role != "status"), named
    assert len(named) == len(set(named))  # and none says the same as another
    assert ("combobox", "Spoken language") in named
    assert ("button", "Download as SRT subtitles") in named


async def test_only_finals_are_read_out(server: Any, open_page: Any, recording: Recording) -> None:
    page = await open_page(server.url, microphone=recording("times"))
    await wait_for_text(page, "#status", "Ready")
    await note_what_is_read_out(page)
    await page.click("#start")
    await wait_for_text(page, "#open", "best of times")
    assert await page.evaluate("readOut.length") == 0
    await wait_for_text(page, "#captions", "best of times")
    assert await page.evaluate("readOut.length") == 1


async def test_a_file_is_not_read_out_for_its_captions_come_faster_than_they_could_be_said(
    server: Any, open_page: Any, recording: Recording
) -> None:
    page = await open_page(server.url)
    await wait_for_text(page, "#status", "Ready")
    await note_what_is_read_out(page)
    await page.set_input_files("#file-input", recording("times"))
    await wait_for_text(page, "#captions", "best of times")
    await wait_for_text(page, "#status", "Ready")
    assert await page.evaluate("readOut.length") == 0
    assert await page.get_attribute("#captions", "aria-live") == "polite"  # for what comes next


async def note_what_is_read_out(page: Page) -> None:
    """Gather what changes in live regions from now on, in `readOut`."""
    await page.evaluate(
        """() => {
            window.readOut = [];
            const isLive = (node) => (node.closest("[aria-live]")?.ariaLive ?? "off") !== "off";
            new MutationObserver((changes) => {
                for (const { target } of changes) {
                    const isText = target.nodeType === Node.TEXT_NODE;
                    const element = isText ? target.parentElement : target;
                    if (isLive(element)) readOut.push(element.textContent);
                }
            }).observe(document.querySelector("main"), {
                childList: true, characterData: true, subtree: true,
            });
        }"""
    )


Scheme = Literal["light", "dark"]

LOOKS: list[tuple[str, Scheme, tuple[int, int]]] = [
    (name, scheme, size)
    for name, size in (("wide", (1200, 800)), ("narrow", (390, 844)))
    for scheme in get_args(Scheme)
]


async def test_all_text_stands_out_from_its_background(
    server: Any, open_page: Any, recording: Recording, screenshots: Path
) -> None:
    page = await open_page(server.url, microphone=recording("times and ages"))
    await wait_for_text(page, "#status", "Ready")
    await look(page, screenshots, "welcome")
    await page.click("#start")
    await wait_for_text(page, "#captions", "best of times")
    await wait_for_text(page, "#open", "It was the")
    await look(page, screenshots, "live")
    await page.click("#start")
    await wait_for_text(page, "#status", "Ready")
    await look(page, screenshots, "done")
    await page.set_input_files("#file-input", recording("times"))
    await page.get_by_role("button", name="Start anew").wait_for()
    await look(page, screenshots, "question", within="#question")
    await page.keyboard.press("Escape")
    await page.route("**/v1/models", lambda route: route.abort())
    await page.reload()
    await wait_for_text(page, "#problem", "does not answer")
    await look(page, screenshots, "problem")


async def look(page: Page, screenshots: Path, name: str, within: str = "body") -> None:
    """Check the contrast on every kind of screen, and take a picture of it."""
    for screen, scheme, (width, height) in LOOKS:
        await page.emulate_media(color_scheme=scheme)
        await page.set_viewport_size({"width": width, "height": height})
        await assert_contrast(page, within)
        await page.screenshot(path=screenshots / f"{name}-{screen}-{scheme}.png")


async def test_a_chosen_theme_beats_that_of_the_system_and_is_remembered(
    server: Any, open_page: Any
) -> None:
    page = await open_page(server.url, color_scheme="light")
    light = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    await page.get_by_text("Dark", exact=True).click()
    dark = await page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert dark != light
    await page.reload()
    assert await page.evaluate("getComputedStyle(document.body).backgroundColor") == dark
    assert await page.is_checked("#theme [value=dark]")
    await page.get_by_text("System", exact=True).click()
    assert await page.evaluate("getComputedStyle(document.body).backgroundColor") == light


@pytest.mark.parametrize("are_settings_shown", [False, True])
async def test_the_narrowest_screen_has_room_for_everything(
    are_settings_shown: bool, server: Any, open_page: Any, screenshots: Path
) -> None:
    page = await open_page(server.url, viewport={"width": NARROWEST_PX, "height": 640})
    await wait_for_text(page, "#status", "Ready")
    if are_settings_shown:
        await page.get_by_role("button", name="Settings").click()
        assert await page.get_by_label("Spoken language").is_visible()
        assert await focused(page) == "microphone"
        await page.screenshot(path=screenshots / "narrowest-settings.png")
    else:
        assert not await page.get_by_label("Spoken language").is_visible()
        await page.screenshot(path=screenshots / "narrowest.png")

    assert await page.evaluate("document.documentElement.scrollWidth") == NARROWEST_PX
    boxes = await page.evaluate(
        """() => [...document.querySelectorAll("button, select, input[type=range], .choices span")]
            .filter((control) => control.checkVisibility())
            .map((control) => {
                const { left, right, width, height } = control.getBoundingClientRect();
                return [control.id, left, right, width, height];
            })"""
    )
    assert len(boxes) > 5
    for name, left, right, width, height in boxes:
        assert 0 <= left < right <= NARROWEST_PX, name
        assert min(width, height) >= LEAST_TARGET_PX, name


async def test_a_telephone_on_its_side_has_room_for_captions(
    server: Any, open_page: Any, screenshots: Path
) -> None:
    page = await open_page(server.url, viewport={"width": 740, "height": 360})
    await wait_for_text(page, "#status", "Ready")
    await page.screenshot(path=screenshots / "sideways.png")
    assert await page.locator("#transcript").evaluate("({ clientHeight }) => clientHeight") > 150
    assert await page.evaluate("document.documentElement.scrollHeight") == 360


async def test_nothing_moves_by_itself_for_those_who_do_not_want_it(
    server: Any, open_page: Any
) -> None:
    page = await open_page(server.url, reduced_motion="reduce")
    await page.evaluate("document.querySelector('#open').hidden = false")
    assert await page.evaluate("document.getAnimations().length") == 0


async def test_languages_are_offered_by_name_and_left_to_the_model_where_it_can_find_them(
    server: Any, open_page: Any
) -> None:
    capabilities = {"languages": ["en", "de", "sw"], "words": True, "language_detection": True}
    page = await open_page(server.url, routes={"**/v1/models": models(capabilities)})
    await wait_for_text(page, "#status", "Ready")
    offered = await page.locator("#language option").all_inner_texts()
    assert offered == ["Detect", "English", "German", "Swahili"]


async def test_a_microphone_that_may_not_be_used_is_explained(server: Any, open_page: Any) -> None:
    page = await open_page(server.url)  # its browser has nobody who could allow it
    await wait_for_text(page, "#status", "Ready")
    await page.click("#start")
    await wait_for_text(page, "#problem", "microphone")
    await wait_for_text(page, "#status", "Ready")


async def test_a_page_that_no_browser_lets_use_a_microphone_still_takes_files(
    server: Any, open_page: Any, recording: Recording
) -> None:
    page = await open_page(
        server.url, script="Object.defineProperty(window, 'isSecureContext', { value: false })"
    )
    await wait_for_text(page, "#status", "Ready")
    await page.click("#start")
    await wait_for_text(page, "#problem", "only on https:// pages")
    await page.set_input_files("#file-input", recording("times"))
    await wait_for_text(page, "#captions", "best of times")


async def test_a_file_that_is_no_recording_is_explained(
    server: Any, open_page: Any, tmp_path: Path
) -> None:
    path = tmp_path / "letter.wav"
    path.write_text("Dear reader", encoding="utf-8")
    page = await open_page(server.url)
    await wait_for_text(page, "#status", "Ready")
    await page.set_input_files("#file-input", path)
    await wait_for_text(page, "#problem", "cannot play that file")
    await wait_for_text(page, "#status", "Ready")


async def test_a_page_that_lost_its_server_finds_it_again(server: Any, open_page: Any) -> None:
    page = await open_page(server.url, routes={"**/v1/models": lambda route: route.abort()})
    await wait_for_text(page, "#problem", "does not answer")
    assert await page.get_attribute("#start", "aria-disabled") == "true"
    await page.unroute("**/v1/models")
    await wait_for_text(page, "#status", "Ready")
    assert await page.inner_text("#problem") == ""


async def test_a_server_with_keys_asks_for_one_until_it_is_right(
    locked_server: Any, open_page: Any, recording: Recording, screenshots: Path
) -> None:
    page = await open_page(locked_server.url)
    key = page.get_by_label("API key")
    await key.wait_for()
    assert await page.inner_text("#key-problem") == ""
    await key.fill("wrong")
    await page.keyboard.press("Enter")
    await wait_for_text(page, "#key-problem", "does not know this key")
    assert not await page.is_visible("#forget-key")
    await page.screenshot(path=screenshots / "key.png")
    await key.fill("“opensesame”")  # which no header can hold
    await page.keyboard.press("Enter")
    await page.wait_for_function("document.querySelector('#key').value === ''")
    await wait_for_text(page, "#key-problem", "does not know this key")
    await key.fill("opensesame")
    await page.keyboard.press("Enter")
    await wait_for_text(page, "#status", "Ready")
    assert await page.evaluate("sessionStorage.length") == 0

    await page.set_input_files("#file-input", recording("times"))
    await wait_for_text(page, "#captions", "best of times")

    await wait_for_text(page, "#status", "Ready")
    await page.reload()
    await key.fill("opensesame")
    await page.get_by_label("Keep it").check()
    await page.keyboard.press("Enter")
    await wait_for_text(page, "#status", "Ready")
    await page.reload()
    await wait_for_text(page, "#status", "Ready")
    assert await page.evaluate("localStorage.getItem('hark.key')") is None
    await page.get_by_role("button", name="Forget the API key").click()
    await key.wait_for()
    assert await page.evaluate("sessionStorage.length") == 0


async def test_start_asks_again_for_a_key_that_was_not_given(
    locked_server: Any, open_page: Any
) -> None:
    page = await open_page(locked_server.url)
    await page.get_by_role("button", name="Not now").click()
    await wait_for_text(page, "#status", "Needs a key")
    await page.click("#start")
    await page.get_by_label("API key").wait_for()


def models(*capabilities: dict[str, Any]) -> Callable[[Route], Any]:
    """Answers as a server that has models with these capabilities."""
    data = [{"id": f"model-{i}", "capabilities": able} for i, able in enumerate(capabilities)]
    return lambda route: route.fulfill(json={"data": data})


async def wait_for_text(page: Page, selector: str, text: str) -> None:
    await page.locator(selector).filter(has_text=text).wait_for(timeout=60_000)


async def focused(page: Page) -> str:
    return str(
        await page.evaluate(
            """() => {
                const { id, name, className, dataset } = document.activeElement;
                return id || name || (dataset.format ? `download ${dataset.format}` : className);
            }"""
        )
    )


async def tab_to(page: Page, name: str) -> None:
    for _ in range(40):
        await page.keyboard.press("Tab")
        if await focused(page) == name:
            return
    raise AssertionError(f"the Tab key does not lead to {name}")


async def tab_round(page: Page, first: str) -> list[str]:
    """What the Tab key leads to, once around the page."""
    await tab_to(page, first)
    reached: list[str] = []
    while (name := await focused(page)) not in reached:
        reached.append(name)
        await page.keyboard.press("Tab")
        if await focused(page) == "":  # between the end of the page and its start
            await page.keyboard.press("Tab")
    return reached


async def accessibility_tree(page: Page) -> list[tuple[str, str]]:
    """The role and the name of every node, as Chromium tells them to screen readers."""
    session = await page.context.new_cdp_session(page)
    tree = await session.send("Accessibility.getFullAXTree")
    return [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in tree["nodes"]
        if not node["ignored"] and "role" in node
    ]


async def assert_contrast(page: Page, within: str) -> None:
    """Every visible text that is not part of a disabled control has enough contrast."""
    texts = await page.evaluate(
        """(within) => {
            const found = [];
            const walker = document.createTreeWalker(
                document.querySelector(within), NodeFilter.SHOW_TEXT,
            );
            while (walker.nextNode()) {
                const text = walker.currentNode.data.trim();
                const element = walker.currentNode.parentElement;
                const disabled = element.closest(":disabled, [aria-disabled=true]");
                if (!text || disabled || !element.checkVisibility()) continue;
                const backgrounds = [];
                for (let at = element; at !== null; at = at.parentElement) {
                    backgrounds.push(getComputedStyle(at).backgroundColor);
                }
                found.push([text, getComputedStyle(element).color, backgrounds]);
            }
            return found;
        }""",
        within,
    )
    assert len(texts) >= 4
    for text, color, backgrounds in texts:
        background = next(rgb for rgb in map(parse_color, backgrounds) if rgb is not None)
        foreground = parse_color(color)
        assert foreground is not None
        assert contrast(foreground, background) >= LEAST_CONTRAST, (text, color, background)


Rgb = tuple[float, float, float]


def parse_color(css: str) -> Rgb | None:
    """The colour, None if it is transparent. No text of the page is on a translucent one."""
    numbers = [float(number) for number in re.findall(r"[\d.]+", css)]
    assert css.startswith("rgb"), css
    if len(numbers) == 4:
        assert numbers[3] in (0, 1), css
        if numbers[3] == 0:
            return None
    return numbers[0], numbers[1], numbers[2]


def contrast(one: Rgb, other: Rgb) -> float:
    """WCAG 2.2, "contrast ratio"."""
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def luminance(color: Rgb) -> float:
    """WCAG 2.2, "relative luminance"."""
    red, green, blue = (
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (channel / 255 for channel in color)
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
