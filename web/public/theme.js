// Before anything is painted: the theme that the person chose in this browser, or none for the system's.
try {
  const chosen = localStorage.getItem("cloche.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // A browser that keeps nothing shows the system's theme.
}
