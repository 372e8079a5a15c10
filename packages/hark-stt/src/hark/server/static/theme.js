/**
 * Light, dark, or as the system has it. No module, because it must run before the page is painted
 * for the first time, or a dark page would flash white.
 */
{
  const NAME = "hark.theme";
  const root = document.documentElement;

  /** @param {string | null} theme */
  const apply = (theme) => {
    if (theme === "light" || theme === "dark") root.dataset.theme = theme;
    else delete root.dataset.theme;
  };

  let stored = null;
  try {
    stored = localStorage.getItem(NAME);
  } catch {
    // The browser keeps nothing for this page: then the choice holds for as long as the page is
    // open.
  }
  apply(stored);

  document.addEventListener("DOMContentLoaded", () => {
    const choices = /** @type {NodeListOf<HTMLInputElement>} */ (
      document.querySelectorAll("#theme input")
    );
    for (const choice of choices) {
      choice.checked = choice.value === (root.dataset.theme ?? "system");
      choice.addEventListener("change", () => {
        apply(choice.value);
        try {
          localStorage.setItem(NAME, choice.value);
        } catch {
          // As above.
        }
      });
    }
  });
}
