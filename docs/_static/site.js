// The theme's buttons that unfold the menu have no name for screen readers.
document.querySelectorAll("summary:has(.toctree-toggle)").forEach((button) => {
  button.setAttribute("aria-label", "Pages below");
});
