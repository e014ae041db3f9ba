// Step 3: the logits of each sentence in each way of computing, their bits, and the verdicts.
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
    padded: ["As most engines compute it", "a padded batch, in plain torch"],
    packed: ["As Isobatch computes it", "packed: the pads are never computed"],
  };
  const BIT = { width: 5, gap: 1, height: 10 };
  /** After the sign and after the exponent. */
  const FIELDS = [1, 9];

  /** @param {Lesson} lesson */
  function draw(lesson) {
    const blocks = lesson.sentences.map((sentence, index) => block(lesson, sentence, index));
    elements.byId("logits").replaceChildren(...blocks);
    return announcement(lesson);
  }

  /** @param {Lesson} lesson @param {Sentence} sentence @param {number} index */
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
      { class: "unseen" },
      `Logits of sentence ${index + 1} in five ways of computing`,
    );
    const names = [
      "Computed",
      ...sentence.labels.map((label) => `Logit of ${label}`),
      "Label",
      "Against alone",
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
    const shown = sentence.labels.length < lesson.facts.labels.length;
    const some =
      `The ${sentence.labels.length} highest of ${lesson.facts.labels.length} logits; ` +
      "verdicts are about all of them.";
    const note = shown ? [make("p", { class: "quiet" }, some)] : [];
    return make("article", { class: "sentence" }, title, make("div", {}, table), ...note);
  }

  /** @param {Sentence} sentence @param {string} engine */
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
    const rows = sentence.outcomes.filter((outcome) => WAYS[outcome.way].engine === engine);
    const body = make(
      "tbody",
      { role: "rowgroup" },
      make("tr", { role: "row", class: "engine" }, heading),
    );
    body.append(...rows.map((outcome) => line(sentence, outcome)));
    return body;
  }

  /** @param {Sentence} sentence @param {Outcome} outcome */
  function line(sentence, outcome) {
    const make = elements.make;
    const way = WAYS[outcome.way];
    const alone = /** @type {Outcome} */ (
      sentence.outcomes.find((each) => each.way === way.reference)
    );
    const cells = outcome.logits.map((_, index) => {
      const name = make("span", { class: "name", "aria-hidden": "true" }, sentence.labels[index]);
      return make("td", { role: "cell", class: "logit" }, name, number(outcome, alone, index));
    });
    const score = make("span", { class: "quiet" }, ` ${numbers.percent(outcome.score)}`);
    return make(
      "tr",
      { role: "row" },
      make("th", { scope: "row", role: "rowheader" }, way.title),
      ...cells,
      make("td", { role: "cell", class: "label" }, make("bdi", {}, outcome.label), score),
      make("td", { role: "cell", class: "verdict" }, verdict(outcome, alone)),
    );
  }

  /**
   * The logit, its bytes and its bits.
   * @param {Outcome} outcome @param {Outcome} alone @param {number} index
   */
  function number(outcome, alone, index) {
    const value = numbers.float32(outcome.logits[index]);
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
        elements.marked(outcome.bits[index], alone.bits[index]),
      ),
      bits(outcome.bits[index], alone.bits[index]),
    );
    return box;
  }

  /**
   * 32 boxes, filled for 1; under those that differ a stroke.
   * @param {string} hex @param {string} reference
   */
  function bits(hex, reference) {
    const own = binary(hex);
    const other = binary(reference);
    const place = (index) =>
      index * (BIT.width + BIT.gap) + 4 * FIELDS.filter((field) => index >= field).length;
    const changed = d3.range(32).filter((index) => own[index] !== other[index]);
    const svg = d3.create("svg").attr("class", "bits").attr("role", "img");
    svg.attr("width", place(32)).attr("height", BIT.height + 5);
    svg.attr(
      "aria-label",
      changed.length
        ? `${numbers.counted(changed.length, "bit")} of 32 differ from alone`
        : "all 32 bits as alone",
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
    boxes.attr("x", (_, index) => place(index) + 0.5).attr("y", 0.5);
    boxes.attr("width", BIT.width - 1).attr("height", BIT.height - 1);
    const strokes = svg.selectAll("line").data(changed).join("line").attr("class", "changed");
    strokes.attr("x1", place).attr("x2", (index) => place(index) + BIT.width);
    strokes.attr("y1", BIT.height + 3).attr("y2", BIT.height + 3);
    return /** @type {SVGElement} */ (svg.node());
  }

  /** @param {string} hex */
  function binary(hex) {
    return parseInt(hex, 16).toString(2).padStart(32, "0");
  }

  /** @param {Outcome} outcome @param {Outcome} alone */
  function verdict(outcome, alone) {
    if (outcome === alone)
      return elements.make("span", { class: "quiet" }, "the one to compare with");
    const kind = outcome.verdict.same_bits ? "same" : outcome.verdict.flipped ? "flipped" : "moved";
    const sign = { same: "=", moved: "≠", flipped: "⚑" }[kind];
    const badge = elements.make("span", { class: "sign", "aria-hidden": "true" }, sign);
    return elements.make("span", { class: kind }, badge, numbers.signed(outcome.verdict.text));
  }

  /** The verdicts in words, for the live region. @param {Lesson} lesson */
  function announcement(lesson) {
    return lesson.sentences
      .map((sentence, index) => {
        const said = (way) => sentence.outcomes.find((each) => each.way === way)?.verdict.text;
        return (
          `Sentence ${index + 1}: mask forgotten, ${said("forgotten")}; ` +
          `with its mask, ${said("masked")}; Isobatch, ${said("packed")}.`
        );
      })
      .join(" ");
  }

  return { draw };
})();
