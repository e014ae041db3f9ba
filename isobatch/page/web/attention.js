// Step 2: mask switch, choice of sentence, layer and head, and the attention that leaks to padding.
"use strict";

const attentionView = (() => {
  const chosen = { masked: false, row: 0, layer: 0, head: 0 };
  const toggle = elements.byId("mask");
  const overview = elements.byId("overview");
  const CELL = { smallest: 13, largest: 26, left: 34, top: 22 };
  /** @type {Lesson | null} */
  let lesson = null;
  /** @type {Map<AttentionWeights, Uint16Array>} */
  let decoded = new Map();

  /** Show a new lesson, at the head with the largest leak. @param {Lesson} newLesson */
  function open(newLesson) {
    const same = lesson !== null && lesson.sentences.length === newLesson.sentences.length;
    lesson = newLesson;
    decoded = new Map();
    if (!same || !numPads(chosen.row)) chosen.row = mostPadded(lesson);
    if (!same) Object.assign(chosen, leakiest(lesson.sentences[chosen.row].unmasked));
    fill("row", lesson.sentences.length, chosen.row);
    fill("layer", lesson.model.num_layers, chosen.layer);
    fill("head", lesson.model.num_heads, chosen.head);
    draw();
  }

  function draw() {
    if (!lesson) return;
    const sentence = lesson.sentences[chosen.row];
    const attention = chosen.masked ? sentence.masked : sentence.unmasked;
    toggle.setAttribute("aria-checked", String(chosen.masked));
    for (const name of ["row", "layer", "head"]) select(name).value = String(chosen[name]);
    elements.byId("leak").replaceChildren(...leakSummary(sentence, attention));
    heatMap.draw({
      tokens: sentence.tokens,
      length: sentence.num_tokens,
      weight: (row, column) => weight(sentence, attention, row, column),
      leaks: attention.leaks[chosen.layer][chosen.head],
      label: label(attention),
    });
    drawOverview(attention);
    drawTable(sentence, attention);
  }

  /** @param {LessonSentence} sentence @param {AttentionWeights} attention */
  function leakSummary(sentence, attention) {
    if (sentence.num_tokens === sentence.tokens.length) {
      return [
        `Sentence ${chosen.row + 1} has no padding, so no attention can leak to it. `,
        "Choose a shorter sentence, if there is one.",
      ];
    }
    const here = attention.head_leaks[chosen.layer][chosen.head];
    const figure = elements.make(
      "strong",
      { class: here > 0 ? "figure leaks" : "figure no-leak" },
      numbers.percent(here),
    );
    const head = `layer ${chosen.layer + 1}, head ${chosen.head + 1}`;
    const location = ` of the attention of ${head} in sentence ${chosen.row + 1} is on padding`;
    const all = `; ${numbers.percent(attention.leak)} on average over all layers and heads.`;
    return [figure, location, all, chosen.masked ? " Exactly 0: the mask is on." : ""];
  }

  /** @param {AttentionWeights} attention */
  function label(attention) {
    const here = numbers.percent(attention.head_leaks[chosen.layer][chosen.head]);
    const mask = chosen.masked ? "with the mask" : "without the mask";
    return (
      `Heat map of the attention in sentence ${chosen.row + 1}, layer ${chosen.layer + 1}, ` +
      `head ${chosen.head + 1}, ${mask}: ${here} is on padding. The table below has the numbers.`
    );
  }

  /** @param {AttentionWeights} attention */
  function drawOverview(attention) {
    const { num_layers: layers, num_heads: heads } = /** @type {Lesson} */ (lesson).model;
    const available = elements.innerWidth(overview) - CELL.left - 2;
    const size = Math.max(CELL.smallest, Math.min(CELL.largest, Math.floor(available / heads)));
    const svg = d3.select(overview).selectAll("svg").data([attention]).join("svg");
    const mask = chosen.masked ? "with the mask" : "without the mask";
    svg.attr("role", "img").attr("class", "heads");
    svg.attr("width", CELL.left + size * heads + 2).attr("height", CELL.top + size * layers + 2);
    svg.attr(
      "aria-label",
      `Share on padding in ${layers} layers of ${heads} heads, ${mask}; ` +
        `${numbers.percent(attention.leak)} on average`,
    );
    const cells = attention.head_leaks.flatMap((row, layer) =>
      row.map((share, head) => ({ layer, head, share })),
    );
    const isChosen = (cell) => cell.layer === chosen.layer && cell.head === chosen.head;
    svg
      .selectAll("rect")
      .data(cells)
      .join("rect")
      .attr("class", (cell) => (isChosen(cell) ? "cell on-pad chosen" : "cell on-pad"))
      .attr("x", (cell) => CELL.left + size * cell.head + 1)
      .attr("y", (cell) => CELL.top + size * cell.layer + 1)
      .attr("width", size - 2)
      .attr("height", size - 2)
      .attr("fill-opacity", (cell) => Math.sqrt(cell.share).toFixed(3))
      .on("pointerenter", (event, cell) =>
        tooltip.show(event.currentTarget, [
          `layer ${cell.layer + 1}, head ${cell.head + 1}`,
          numbers.percent(cell.share),
        ]),
      )
      .on("pointerleave", () => tooltip.hide())
      .on("click", (_, cell) => choose({ layer: cell.layer, head: cell.head }));
    drawNumbers(svg, size);
  }

  /** Number every second layer and head; all of them where there are few. */
  function drawNumbers(svg, size) {
    const { num_layers: layers, num_heads: heads } = /** @type {Lesson} */ (lesson).model;
    const shown = (count) => d3.range(count).filter((index) => index % 2 === 0 || count < 5);
    svg
      .selectAll("text.head")
      .data(shown(heads))
      .join("text")
      .attr("class", "head")
      .attr("x", (head) => CELL.left + size * (head + 0.5))
      .attr("y", CELL.top - 7)
      .attr("text-anchor", "middle")
      .text((head) => (head === 0 ? "head 1" : head + 1));
    svg
      .selectAll("text.layer")
      .data(shown(layers))
      .join("text")
      .attr("class", "layer")
      .attr("x", CELL.left - 6)
      .attr("y", (layer) => CELL.top + size * (layer + 0.5))
      .attr("dy", "0.35em")
      .attr("text-anchor", "end")
      .text((layer) => layer + 1);
  }

  /** @param {LessonSentence} sentence @param {AttentionWeights} attention */
  function drawTable(sentence, attention) {
    const make = elements.make;
    const heading = ["Token", "Attends most to", "Share", "Share on padding"].map((text) =>
      make("th", { scope: "col" }, text),
    );
    const rows = d3.range(sentence.num_tokens).map((row) => {
      const shares = sentence.tokens.map((_, column) => weight(sentence, attention, row, column));
      const most = /** @type {number} */ (d3.maxIndex(shares));
      const leak = attention.leaks[chosen.layer][chosen.head][row];
      return make(
        "tr",
        {},
        make("th", { scope: "row" }, elements.tokenName(sentence.tokens[row])),
        make("td", {}, elements.tokenName(sentence.tokens[most]), ` (column ${most + 1})`),
        make("td", {}, numbers.percent(shares[most])),
        make("td", {}, numbers.percent(leak)),
      );
    });
    const caption = make(
      "caption",
      {},
      label(attention)
        .replace("Heat map of the a", "A")
        .replace(/ The table.*/, ""),
    );
    const table = make(
      "table",
      { class: "plain" },
      caption,
      make("thead", {}, make("tr", {}, ...heading)),
    );
    table.append(make("tbody", {}, ...rows));
    elements.byId("shares").replaceChildren(table);
  }

  /**
   * @param {LessonSentence} sentence @param {AttentionWeights} attention
   * @param {number} row @param {number} column
   */
  function weight(sentence, attention, row, column) {
    const { num_heads: heads } = /** @type {Lesson} */ (lesson).model;
    if (!decoded.has(attention)) decoded.set(attention, decode(attention.weights));
    const start = (chosen.layer * heads + chosen.head) * sentence.num_tokens + row;
    return (
      /** @type {Uint16Array} */ (decoded.get(attention))[start * sentence.tokens.length + column] /
      65535
    );
  }

  /** Decode base64 of little-endian uint16. @param {string} text */
  function decode(text) {
    const bytes = atob(text);
    return Uint16Array.from({ length: bytes.length / 2 }, (_, index) => {
      return bytes.charCodeAt(2 * index) + 256 * bytes.charCodeAt(2 * index + 1);
    });
  }

  /** @param {number} row */
  function numPads(row) {
    const sentence = /** @type {Lesson} */ (lesson).sentences[row];
    return sentence ? sentence.tokens.length - sentence.num_tokens : 0;
  }

  /** @param {Lesson} of */
  function mostPadded(of) {
    return /** @type {number} */ (d3.minIndex(of.sentences, (sentence) => sentence.num_tokens));
  }

  /** @param {AttentionWeights} attention */
  function leakiest(attention) {
    const layer = /** @type {number} */ (
      d3.maxIndex(attention.head_leaks, (heads) => d3.max(heads))
    );
    return { layer, head: /** @type {number} */ (d3.maxIndex(attention.head_leaks[layer])) };
  }

  /** @param {string} name */
  function select(name) {
    return /** @type {HTMLSelectElement} */ (elements.byId(name));
  }

  /** @param {string} name @param {number} count @param {number} value */
  function fill(name, count, value) {
    const options = d3
      .range(count)
      .map((index) => elements.make("option", { value: index }, String(index + 1)));
    select(name).replaceChildren(...options);
    select(name).value = String(value);
  }

  /** @param {Partial<typeof chosen>} choice */
  function choose(choice) {
    Object.assign(chosen, choice);
    draw();
    page.announce(elements.byId("leak").textContent || "");
  }

  toggle.addEventListener("click", () => choose({ masked: !chosen.masked }));
  for (const name of ["row", "layer", "head"]) {
    select(name).addEventListener("change", () => choose({ [name]: Number(select(name).value) }));
  }

  return { open, draw };
})();
