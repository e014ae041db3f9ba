// The sentences: editable fields in a live page, read-only ones in a recorded page.
"use strict";

const sentenceEditor = (() => {
  const FEWEST = 2;
  const list = elements.byId("sentences");

  /**
   * Show `texts`. `onChange` gets all texts after an edit; without it the fields are read-only.
   * @param {string[]} texts @param {number} most
   * @param {((texts: string[]) => void) | null} onChange
   */
  function open(texts, most, onChange) {
    list.replaceChildren(...texts.map((text) => field(text, onChange !== null)));
    nameFields();
    if (onChange === null) return;
    const add = /** @type {HTMLButtonElement} */ (elements.byId("add"));
    const changed = () => {
      renumber(add, most);
      onChange(fields().map((each) => each.value));
    };
    list.addEventListener("input", changed);
    list.addEventListener("click", (event) => {
      const pressed = /** @type {Element} */ (event.target).closest("button");
      if (pressed) remove(pressed, changed);
    });
    add.addEventListener("click", () => {
      list.append(field("", true));
      fields()[fields().length - 1].focus();
      changed();
    });
    renumber(add, most);
  }

  /** @param {string} text @param {boolean} editable */
  function field(text, editable) {
    const area = /** @type {HTMLTextAreaElement} */ (
      elements.make("textarea", { rows: 1, dir: "auto", spellcheck: "false", maxlength: 2000 })
    );
    area.value = text;
    const label = elements.make("label", {}, elements.make("span", { class: "number" }), area);
    if (editable) {
      return elements.make("li", {}, label, elements.make("button", { type: "button" }, "Remove"));
    }
    area.readOnly = true;
    area.setAttribute("aria-describedby", "recorded");
    return elements.make("li", {}, label);
  }

  /** @param {Element} pressed @param {() => void} changed */
  function remove(pressed, changed) {
    const item = /** @type {Element} */ (pressed.closest("li"));
    const next = item.nextElementSibling || item.previousElementSibling;
    item.remove();
    next?.querySelector("textarea")?.focus();
    changed();
  }

  /** @param {HTMLButtonElement} add @param {number} most */
  function renumber(add, most) {
    const count = list.children.length;
    nameFields();
    [...list.querySelectorAll("button")].forEach((button, index) => {
      button.disabled = count <= FEWEST;
      button.setAttribute("aria-label", `Remove sentence ${index + 1}`);
    });
    add.disabled = count >= most;
  }

  /** Name each field for screen readers: the numbers on the page come from the style sheet. */
  function nameFields() {
    fields().forEach((area, index) => area.setAttribute("aria-label", `Sentence ${index + 1}`));
  }

  function fields() {
    return [...list.querySelectorAll("textarea")];
  }

  return { open };
})();
