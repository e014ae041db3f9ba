// Step 3: logits of each sentence in each way of computing, their bits, and their comparison.
"use strict";

const logitsView = (() => {
  const WAYS = {
    alone: { title: "Alone", engine: "padded", reference: "alone" },
    forgotten: { title: "In the batch, mask forgotten", engine: "padded", reference: "alone" },
    masked: { title: "In the batch, with its mask", engine: "padded", reference: "alone" },
    packed_alone: { title: "Alone", engine: "packed", reference: "packed_alone" },
    packed: { title: "In the batch", engine: "packed", reference: "packed_alone" },
  };
  const ENGINES = {
    padded: ["Padded implementation", "as most engines compute it, in plain torch"],
    packed: ["Isobatch", "packed: padding is never computed"],
  };
  const BIT = { width: 5, gap: 1, height: 10 };
  /** Bit positions after the sign and after the exponent. */
  const FIELDS = [1, 9];

  /** @param {Lesson} lesson */
  function draw(lesson) {
    const blocks = lesson.sentences.map((sentence, index) => block(lesson, sentence, index));
    elements.byId("logits").replaceChildren(...blocks);
    return announcement(lesson);
  }

  /** @param {Lesson} lesson @param {LessonSentence} sentence @param {number} index */
  function block(lesson, sentence, index) {
    const make = elements.make;
    const title = make(
      "h3",
      {},
      `Sentence ${index + 1}: `,
      make("bdi", { class: "quoted" }, sentence.text || "(empty)"),
    );
    const caption = make(
      "caption",
      { class: "visually-hidden" },
      `Logits of sentence ${index + 1} in five ways of computing`,
    );
    const names = [
      "Computed",
      ...sentence.labels.map((label) => `Logit of ${label}`),
      "Label",
      "Compared with alone",
    ];
    const heading = make(
      "tr",
      { role: "row" },
      ...names.map((name) => make("th", { scope: "col", role: "columnheader" }, name)),
    );
    const table = make(
      "table",
      { class: "logits", role: "table" },
      caption,
      make("thead", { role: "rowgroup" }, heading),
    );
    for (const engine of Object.keys(ENGINES)) {
      table.append(group(sentence, engine));
    }
    const shown = sentence.labels.length < lesson.model.labels.length;
    const some =
      `The ${sentence.labels.length} highest of ${lesson.model.labels.length} logits; ` +
      "the comparison covers all of them.";
    const note = shown ? [make("p", { class: "quiet" }, some)] : [];
    return make("article", { class: "sentence" }, title, make("div", {}, table), ...note);
  }

  /** @param {LessonSentence} sentence @param {string} engine */
  function group(sentence, engine) {
    const make = elements.make;
    const [name, how] = ENGINES[engine];
    const span = sentence.labels.length + 3;
    const heading = make(
      "th",
      { scope: "rowgroup", colspan: span, role: "rowheader" },
      name,
      make("span", { class: "quiet" }, ` — ${how}`),
    );
    const rows = sentence.results.filter((result) => WAYS[result.way].engine === engine);
    const body = make(
      "tbody",
      { role: "rowgroup" },
      make("tr", { role: "row", class: "engine" }, heading),
    );
    body.append(...rows.map((result) => row(sentence, result)));
    return body;
  }

  /** @param {LessonSentence} sentence @param {SentenceResult} result */
  function row(sentence, result) {
    const make = elements.make;
    const way = WAYS[result.way];
    const alone = /** @type {SentenceResult} */ (
      sentence.results.find((each) => each.way === way.reference)
    );
    const cells = result.logits.map((_, index) => {
      const name = make("span", { class: "name", "aria-hidden": "true" }, sentence.labels[index]);
      return make("td", { role: "cell", class: "logit" }, name, number(result, alone, index));
    });
    const score = make("span", { class: "quiet" }, ` ${numbers.percent(result.score)}`);
    return make(
      "tr",
      { role: "row" },
      make("th", { scope: "row", role: "rowheader" }, way.title),
      ...cells,
      make("td", { role: "cell", class: "label" }, make("bdi", {}, result.label), score),
      make("td", { role: "cell", class: "comparison" }, comparison(result, alone)),
    );
  }

  /**
   * The logit, its bytes and its bits.
   * @param {SentenceResult} result @param {SentenceResult} alone @param {number} index
   */
  function number(result, alone, index) {
    const value = numbers.float32(result.logits[index]);
    const box = elements.make("span", { class: "number" });
    box.append(
      elements.make(
        "span",
        { class: "decimal" },
        elements.marked(value, numbers.float32(alone.logits[index])),
      ),
      elements.make(
        "code",
        { class: "hex" },
        elements.marked(result.bits[index], alone.bits[index]),
      ),
      bits(result.bits[index], alone.bits[index]),
    );
    return box;
  }

  /**
   * Draw 32 boxes, filled for 1, and a stroke under each bit that differs.
   * @param {string} hex @param {string} reference
   */
  function bits(hex, reference) {
    const own = binary(hex);
    const other = binary(reference);
    const x = (index) =>
      index * (BIT.width + BIT.gap) + 4 * FIELDS.filter((field) => index >= field).length;
    const changed = d3.range(32).filter((index) => own[index] !== other[index]);
    const svg = d3.create("svg").attr("class", "bits").attr("role", "img");
    svg.attr("width", x(32)).attr("height", BIT.height + 5);
    svg.attr(
      "aria-label",
      changed.length
        ? `${numbers.counted(changed.length, "bit")} of 32 differ from alone`
        : "all 32 bits the same as alone",
    );
    const boxes = svg
      .selectAll("rect")
      .data([...own])
      .join("rect");
    boxes.attr(
      "class",
      (bit, index) =>
        `bit ${bit === "1" ? "one" : "zero"}${own[index] === other[index] ? "" : " changed"}`,
    );
    boxes.attr("x", (_, index) => x(index) + 0.5).attr("y", 0.5);
    boxes.attr("width", BIT.width - 1).attr("height", BIT.height - 1);
    const strokes = svg.selectAll("line").data(changed).join("line").attr("class", "changed");
    strokes.attr("x1", x).attr("x2", (index) => x(index) + BIT.width);
    strokes.attr("y1", BIT.height + 3).attr("y2", BIT.height + 3);
    return /** @type {SVGElement} */ (svg.node());
  }

  /** @param {string} hex */
  function binary(hex) {
    return parseInt(hex, 16).toString(2).padStart(32, "0");
  }

  /** @param {SentenceResult} result @param {SentenceResult} alone */
  function comparison(result, alone) {
    if (result === alone) return elements.make("span", { class: "quiet" }, "baseline");
    const { same_bits, label_flipped, summary } = result.comparison;
    const kind = same_bits ? "same" : label_flipped ? "flipped" : "moved";
    const sign = { same: "=", moved: "≠", flipped: "⚑" }[kind];
    const badge = elements.make("span", { class: "sign", "aria-hidden": "true" }, sign);
    return elements.make("span", { class: kind }, badge, numbers.signed(summary));
  }

  /** Summarize the comparisons for the live region. @param {Lesson} lesson */
  function announcement(lesson) {
    return lesson.sentences
      .map((sentence, index) => {
        const summary = (way) =>
          sentence.results.find((each) => each.way === way)?.comparison.summary;
        return (
          `Sentence ${index + 1}: mask forgotten, ${summary("forgotten")}; ` +
          `with its mask, ${summary("masked")}; Isobatch, ${summary("packed")}.`
        );
      })
      .join(" ");
  }

  return { draw };
})();
