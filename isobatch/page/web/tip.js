// The tip: a few lines beside what the pointer or the focus is on. Screen readers get the same
// words from labels and live regions, so it is hidden from them.
"use strict";

const tip = (() => {
  const GAP = 8;
  const box = elements.byId("tip");
  /** @type {Element | null} */
  let beside = null;

  /**
   * Show lines beside `target`, above it where there is room.
   * @param {Element} target @param {(Node | string)[]} lines
   */
  function show(target, lines) {
    box.replaceChildren(...lines.map((line) => elements.make("div", {}, line)));
    box.hidden = false;
    beside = target;
    place();
  }

  /** Where the target is now: it may have been scrolled, or be gone. */
  function place() {
    if (!beside) return;
    const around = beside.getBoundingClientRect();
    const { clientWidth, clientHeight } = document.documentElement;
    if (!beside.isConnected || around.bottom < 0 || around.top > clientHeight) return hide();
    const own = box.getBoundingClientRect();
    const room = clientWidth - own.width - GAP;
    const left = Math.max(GAP, Math.min(room, around.left + around.width / 2 - own.width / 2));
    const above = around.top - own.height - GAP;
    box.style.left = `${left}px`;
    box.style.top = `${above >= GAP ? above : around.bottom + GAP}px`;
  }

  function hide() {
    box.hidden = true;
    beside = null;
  }

  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide();
  });
  document.addEventListener("scroll", place, { capture: true, passive: true });

  return { show, hide };
})();
