() => {
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    const shown = [...document.querySelectorAll("button.stop-answer")].find((button) => button.offsetParent !== null);
    shown?.click();
  });
}
