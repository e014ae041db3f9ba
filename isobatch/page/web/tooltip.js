// The tooltip of the hovered or focused element. Hidden from screen readers, which get the same
// text from labels and live regions.
"use strict";

const tooltip = (() => {
  const GAP = 8;
  const box = elements.byId("tooltip");
  /** @type {Element | null} */
  let anchor = null;

  /**
   * Show lines above `target`, or below it where there is no room.
   * @param {Element} target @param {(Node | string)[]} lines
   */
  function show(target, lines) {
    box.replaceChildren(...lines.map((line) => elements.make("div", {}, line)));
    box.hidden = false;
    anchor = target;
    place();
  }

  /** Follow the anchor, which may have been scrolled or removed. */
  function place() {
    if (!anchor) return;
    const around = anchor.getBoundingClientRect();
    const { clientWidth, clientHeight } = document.documentElement;
    if (!anchor.isConnected || around.bottom < 0 || around.top > clientHeight) return hide();
    const own = box.getBoundingClientRect();
    const rightmost = clientWidth - own.width - GAP;
    const left = Math.max(GAP, Math.min(rightmost, around.left + around.width / 2 - own.width / 2));
    const above = around.top - own.height - GAP;
    box.style.left = `${left}px`;
    box.style.top = `${above >= GAP ? above : around.bottom + GAP}px`;
  }

  function hide() {
    box.hidden = true;
    anchor = null;
  }

  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide();
  });
  document.addEventListener("scroll", place, { capture: true, passive: true });

  return { show, hide };
})();
