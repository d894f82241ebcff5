export type Theme = "system" | "light" | "dark";

const KEY = "cloche.theme";

export function chosenTheme(): Theme {
  const found = document.documentElement.dataset["theme"];
  return found === "light" || found === "dark" ? found : "system";
}

/** The page is in this theme from now on, and when it is opened again in this browser. */
export function chooseTheme(theme: Theme): void {
  if (theme === "system") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = theme;
  try {
    if (theme === "system") localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, theme);
  } catch {
    // It is kept until the page is closed.
  }
}
