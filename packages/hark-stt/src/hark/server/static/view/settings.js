/** The settings of a narrow screen, which lie over the transcript while they are wanted. */

import { element } from "./elements.js";

export function offerSettings() {
  const panel = element("settings", HTMLElement);
  const toggle = element("settings-toggle", HTMLButtonElement);

  const show = (/** @type {boolean} */ isShown) => {
    panel.classList.toggle("shown", isShown);
    toggle.ariaExpanded = String(isShown);
    if (isShown) panel.querySelector("select")?.focus();
  };

  toggle.addEventListener("click", () => show(toggle.ariaExpanded !== "true"));
  document.addEventListener("click", ({ target }) => {
    const isInside = target instanceof Node && (panel.contains(target) || toggle.contains(target));
    if (!isInside && toggle.ariaExpanded === "true") show(false);
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || toggle.ariaExpanded !== "true") return;
    show(false);
    toggle.focus();
  });
}
