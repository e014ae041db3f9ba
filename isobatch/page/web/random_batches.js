// Step 4: one sentence in fifty random batches, computed in three ways, a strip plot for each.
"use strict";

const randomBatchesView = (() => {
  const TITLES = {
    forgotten: "Padded, mask forgotten",
    masked: "Padded, with the mask",
    packed: "Isobatch",
  };
  const frame = elements.byId("random-batches");
  const heading = elements.byId("random-batches-summary");
  const reading = elements.byId("random-batch");
  const HINT = "Hover over a batch, or use the left and right arrow keys, to see its texts.";
  /** @type {RandomBatches | null} */
  let shown = null;
  let cursor = -1;

  /** Show the random batches, or that they are still being computed. @param {Lesson} lesson */
  function open(lesson) {
    shown = lesson.random_batches;
    cursor = -1;
    reading.textContent = HINT;
    frame.classList.toggle("waiting", shown === null);
    if (shown === null) {
      heading.textContent = "Computing the fifty batches…";
      return;
    }
    const text = lesson.sentences[shown.sentence].text || "(empty)";
    heading.replaceChildren(
      `Sentence ${shown.sentence + 1}, `,
      elements.make("bdi", { class: "quoted" }, text),
      `, in ${shown.batches.length} batches with random other sentences. Each point is a batch: ` +
        "the largest difference of a logit from the sentence alone. " +
        "A circle is exactly zero, a diamond is not.",
    );
    draw();
  }

  function draw() {
    if (!shown) return;
    const all = shown.series;
    const coarse = all[0].largest;
    const fine = Math.max(...all.slice(1).map((series) => series.largest));
    const width = Math.max(240, frame.clientWidth);
    const figures = d3.select(frame).selectAll("figure").data(all).join("figure");
    figures.selectAll("*").remove();
    figures.each((series, index, nodes) => {
      const magnified = index > 0 && fine > 0 && coarse > fine ? coarse / fine : 0;
      const text = summary(series, magnified);
      const figure = d3.select(nodes[index]);
      const caption = figure.append("figcaption");
      caption.append("strong").text(TITLES[series.way]);
      caption.append("span").text(` ${text}`);
      const panel = {
        differences: series.differences,
        reach: index === 0 ? coarse : fine,
        label: `${TITLES[series.way]}: ${text}`,
        isLast: index === all.length - 1,
        onPoint: point,
      };
      stripPlot.draw(figure.append("svg"), panel, width);
    });
  }

  /** Summarize a series. @param {DifferenceSeries} series @param {number} magnified */
  function summary(series, magnified) {
    const total = series.differences.length;
    const scale = magnified
      ? ` Drawn ${numbers.rounded(magnified)} times larger than the first.`
      : "";
    if (!series.num_moved) return `same bits in all ${total} batches.${scale}`;
    const flips = series.num_flipped ? ` The label flipped in ${series.num_flipped}.` : "";
    const reach = numbers.plain(series.largest);
    return `moved in ${series.num_moved} of ${total} batches, by up to ${reach}.${flips}${scale}`;
  }

  /** Describe one batch, and mark it in every plot. */
  function point(index, target) {
    if (!shown) return;
    cursor = index;
    const all = shown.series;
    const lines = all.map((series) => `${TITLES[series.way]}: ${difference(series, index)}`);
    mark(index);
    tooltip.show(target, [`batch ${index + 1}`, ...lines]);
    reading.replaceChildren(...batchSummary(shown, index));
  }

  /** @param {DifferenceSeries} series @param {number} index */
  function difference(series, index) {
    const value = series.differences[index];
    if (value === 0) return "0";
    const ulps = numbers.counted(Math.abs(series.ulps[index]), "ULP");
    return `${value > 0 ? "+" : ""}${numbers.plain(value)} (${ulps})`;
  }

  /** @param {RandomBatches} of @param {number} index */
  function batchSummary(of, index) {
    const { neighbours, columns, pads } = of.batches[index];
    const texts = neighbours.map((each) => of.neighbours[each]).join(" · ");
    return [
      elements.make("strong", {}, `Batch ${index + 1}`),
      ` has ${numbers.counted(columns, "column")}. `,
      `The sentence gets ${numbers.counted(pads, "pad")}. Other texts: `,
      elements.make("span", { class: "quiet" }, texts),
    ];
  }

  /** @param {KeyboardEvent} event */
  function onKey(event) {
    if (!shown) return;
    const last = shown.batches.length - 1;
    const next = { ArrowLeft: cursor - 1, ArrowRight: cursor + 1, Home: 0, End: last }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    const index = Math.max(0, Math.min(last, next));
    const bands = frame.querySelector("svg")?.querySelectorAll("rect.band");
    if (bands) point(index, bands[index]);
  }

  function leave() {
    tooltip.hide();
    mark(-1);
  }

  /** Mark one batch in every plot; -1 for none. @param {number} batch */
  function mark(batch) {
    const svgs = d3.select(frame).selectAll("svg");
    svgs.each((_, index, nodes) => stripPlot.mark(d3.select(nodes[index]), batch));
  }

  frame.addEventListener("keydown", onKey);
  frame.addEventListener("blur", leave);
  frame.addEventListener("pointerleave", leave);

  return { open, draw };
})();
