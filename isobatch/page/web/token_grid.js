// The grid: one row a sentence, one box a token, as the batch is padded.
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

  /** Boxes get narrower where there is no room, then upright, so that the pads stay in sight. */
  function fit() {
    const grid = frame.querySelector("table");
    grid?.classList.remove("upright", "narrow");
    for (const shape of ["narrow", "upright"]) {
      if (grid && grid.offsetWidth > frame.clientWidth) grid.classList.add(shape);
    }
  }

  /** What is seen, in a sentence or two. @param {Lesson} lesson @param {number} columns */
  function summary(lesson, columns) {
    const padded = lesson.sentences.filter((each) => each.num_tokens < columns);
    const tokens = numbers.counted(columns, "token");
    const longest = `The longest sentence has ${tokens}, so every row gets ${columns} columns. `;
    if (!padded.length)
      return [longest, "All are equally long: nothing is padded. Make one shorter."];
    const pads = padded.reduce((sum, each) => sum + columns - each.num_tokens, 0);
    const name = elements.make("code", { class: "pad-token" }, lesson.facts.pad_token);
    return [longest, `${numbers.whole(pads)}\u00a0×\u00a0`, name, " had to be added."];
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
    grid.append(elements.make("caption", { class: "unseen" }, caption), body);
    body.querySelector("td")?.setAttribute("tabindex", "0");
    listen(grid);
    return grid;
  }

  /** @param {Sentence} sentence @param {number} row @param {number} column */
  function cell(sentence, row, column) {
    const mask = sentence.attention_mask[column];
    const facts = [
      `input_id ${sentence.input_ids[column]}`,
      `attention_mask ${mask}${mask ? "" : ": a pad"}`,
    ];
    const made = elements.make(
      "td",
      {
        class: mask ? "token" : "token pad",
        tabindex: -1,
        "aria-label": `${sentence.tokens[column]}, ${facts.join(", ")}`,
      },
      elements.tokenName(sentence.tokens[column]),
      elements.make("span", { class: "mask" }, String(mask)),
    );
    const where = `sentence ${row + 1}, column ${column + 1}`;
    const explain = () =>
      tip.show(made, [elements.tokenName(sentence.tokens[column]), where, ...facts]);
    made.addEventListener("pointerenter", explain);
    made.addEventListener("focus", explain);
    made.addEventListener("pointerleave", tip.hide);
    made.addEventListener("blur", tip.hide);
    return made;
  }

  /** Arrow keys move; one box at a time is in the order of Tab. @param {Element} grid */
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

  /** What a tokenizer writes for a space, if one of the tokens has it. @param {Lesson} lesson */
  function spaceMarks(lesson) {
    const all = lesson.sentences.flatMap((each) => each.tokens);
    const mark = ["Ġ", "▁"].find((each) => all.some((token) => token.startsWith(each)));
    const pieces = all.some((token) => token.startsWith("##"));
    if (mark) return ` ${mark} stands for the space before a word.`;
    return pieces ? " ## stands before a piece of the word that began to its left." : "";
  }

  /** What was cut, and how much the page takes. @param {Lesson} lesson */
  function limits(lesson) {
    const { max_sentences, max_tokens, left_out } = lesson.limits;
    const cut = lesson.sentences.flatMap((each, index) => (each.cut ? [index + 1] : []));
    const parts = [];
    if (left_out) {
      parts.push(
        `${numbers.counted(left_out, "sentence")} left out: this page takes ${max_sentences}.`,
      );
    }
    if (cut.length) {
      const which = `Sentence${cut.length === 1 ? "" : "s"} ${cut.join(", ")}`;
      parts.push(`${which} cut: of so many sentences this page takes ${max_tokens} tokens each.`);
    }
    return parts.join(" ");
  }

  return { draw, fit };
})();
