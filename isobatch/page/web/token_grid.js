// The padded batch as a grid: one row per sentence, one box per token.
"use strict";

const tokenGrid = (() => {
  const STEPS = new Map([
    ["ArrowLeft", [0, -1]],
    ["ArrowRight", [0, 1]],
    ["ArrowUp", [-1, 0]],
    ["ArrowDown", [1, 0]],
  ]);

  const frame = elements.byId("grid");

  /** @param {Lesson} lesson */
  function draw(lesson) {
    const columns = lesson.sentences[0].tokens.length;
    elements.byId("grid-summary").replaceChildren(...summary(lesson, columns));
    elements.byId("marks").textContent = spaceMarks(lesson);
    frame.replaceChildren(table(lesson, columns));
    fit();
    elements.byId("limits").textContent = limits(lesson);
  }

  /** Narrow the boxes, then rotate their text, until the padding fits on screen. */
  function fit() {
    const grid = frame.querySelector("table");
    grid?.classList.remove("upright", "narrow");
    for (const shape of ["narrow", "upright"]) {
      if (grid && grid.offsetWidth > frame.clientWidth) grid.classList.add(shape);
    }
  }

  /** Summarize the padding. @param {Lesson} lesson @param {number} columns */
  function summary(lesson, columns) {
    const padded = lesson.sentences.filter((each) => each.num_tokens < columns);
    const tokens = numbers.counted(columns, "token");
    const longest = `The longest sentence has ${tokens}, so every row gets ${columns} columns. `;
    if (!padded.length)
      return [longest, "All have the same length: there is no padding. Make one shorter."];
    const pads = padded.reduce((sum, each) => sum + columns - each.num_tokens, 0);
    const name = elements.make("code", { class: "pad-token" }, lesson.model.pad_token);
    return [longest, `Padding added: ${numbers.whole(pads)}\u00a0×\u00a0`, name, "."];
  }

  /** @param {Lesson} lesson @param {number} columns */
  function table(lesson, columns) {
    const caption = `The padded batch: ${lesson.sentences.length} rows of ${columns} tokens`;
    const grid = elements.make("table", { class: "tokens", role: "grid" });
    const body = elements.make("tbody");
    lesson.sentences.forEach((sentence, row) => {
      const heading = elements.make("th", { scope: "row" }, String(row + 1));
      const cells = sentence.tokens.map((_, column) => cell(sentence, row, column));
      body.append(elements.make("tr", {}, heading, ...cells));
    });
    grid.append(elements.make("caption", { class: "visually-hidden" }, caption), body);
    body.querySelector("td")?.setAttribute("tabindex", "0");
    listen(grid);
    return grid;
  }

  /** @param {LessonSentence} sentence @param {number} row @param {number} column */
  function cell(sentence, row, column) {
    const mask = sentence.attention_mask[column];
    const details = [
      `input_id ${sentence.input_ids[column]}`,
      `attention_mask ${mask}${mask ? "" : ": padding"}`,
    ];
    const made = elements.make(
      "td",
      {
        class: mask ? "token" : "token pad",
        tabindex: -1,
        "aria-label": `${sentence.tokens[column]}, ${details.join(", ")}`,
      },
      elements.tokenName(sentence.tokens[column]),
      elements.make("span", { class: "mask" }, String(mask)),
    );
    const where = `sentence ${row + 1}, column ${column + 1}`;
    const explain = () =>
      tooltip.show(made, [elements.tokenName(sentence.tokens[column]), where, ...details]);
    made.addEventListener("pointerenter", explain);
    made.addEventListener("focus", explain);
    made.addEventListener("pointerleave", tooltip.hide);
    made.addEventListener("blur", tooltip.hide);
    return made;
  }

  /** Arrow keys move the focus, by a roving tabindex. @param {Element} grid */
  function listen(grid) {
    grid.addEventListener("keydown", (event) => {
      const pressed = /** @type {KeyboardEvent} */ (event);
      const current = /** @type {Element} */ (event.target).closest("td");
      const step = STEPS.get(pressed.key);
      if (!current || !step) return;
      pressed.preventDefault();
      const line = /** @type {Element} */ (current.parentElement);
      const column = [...line.children].indexOf(current) + step[1];
      const rows = [...grid.querySelectorAll("tr")];
      const next = rows[rows.indexOf(/** @type {HTMLTableRowElement} */ (line)) + step[0]];
      const target = next?.children[column];
      if (!(target instanceof HTMLTableCellElement) || target.tagName !== "TD") return;
      current.setAttribute("tabindex", "-1");
      target.setAttribute("tabindex", "0");
      target.focus();
      target.scrollIntoView({ block: "nearest", inline: "nearest" });
    });
  }

  /** Explain the tokenizer's space marker, where a token has one. @param {Lesson} lesson */
  function spaceMarks(lesson) {
    const all = lesson.sentences.flatMap((each) => each.tokens);
    const mark = ["Ġ", "▁"].find((each) => all.some((token) => token.startsWith(each)));
    const pieces = all.some((token) => token.startsWith("##"));
    if (mark) return ` ${mark} marks a space before a word.`;
    return pieces ? " ## marks the continuation of a word." : "";
  }

  /** Explain what was truncated or left out. @param {Lesson} lesson */
  function limits(lesson) {
    const { max_sentences, max_tokens, max_characters, left_out } = lesson.limits;
    const cut = lesson.sentences.flatMap((each, index) => (each.cut ? [index + 1] : []));
    const parts = [];
    if (left_out) {
      parts.push(
        `${numbers.counted(left_out, "sentence")} left out: the limit is ${max_sentences}.`,
      );
    }
    if (cut.length) {
      const which = `Sentence${cut.length === 1 ? "" : "s"} ${cut.join(", ")}`;
      const characters = numbers.counted(max_characters, "character");
      parts.push(`${which} truncated: the limits are ${characters} and ${max_tokens} tokens.`);
    }
    return parts.join(" ");
  }

  return { draw, fit };
})();
