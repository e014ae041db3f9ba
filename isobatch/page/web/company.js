// Step 4: one sentence in fifty batches of strangers, computed in three ways, a strip for each.
"use strict";

const companyView = (() => {
  const TITLES = {
    forgotten: "Padded, mask forgotten",
    masked: "Padded, with the mask",
    packed: "Isobatch",
  };
  const frame = elements.byId("company");
  const summary = elements.byId("company-summary");
  const reading = elements.byId("draw");
  const HINT = "Point at a batch, or use the left and right arrow keys, to see who was in it.";
  /** @type {Company | null} */
  let company = null;
  let cursor = -1;

  /** Show a lesson's company, or that it is still being computed. @param {Lesson} lesson */
  function open(lesson) {
    company = lesson.company;
    cursor = -1;
    reading.textContent = HINT;
    frame.classList.toggle("waiting", company === null);
    if (company === null) {
      summary.textContent = "Computing the fifty batches…";
      return;
    }
    const text = lesson.sentences[company.sentence].text || "(empty)";
    summary.replaceChildren(
      `Sentence ${company.sentence + 1}, `,
      elements.make("bdi", { class: "quoted" }, text),
      `, in ${company.draws.length} batches with random other sentences. A point is a batch: ` +
        "how far the logit that moved furthest lies from where it is alone. " +
        "A circle is exactly on zero, a diamond is not.",
    );
    draw();
  }

  function draw() {
    if (!company) return;
    const strips = company.strips;
    const coarse = strips[0].largest;
    const fine = Math.max(...strips.slice(1).map((strip) => strip.largest));
    const width = Math.max(240, frame.clientWidth);
    const figures = d3.select(frame).selectAll("figure").data(strips).join("figure");
    figures.selectAll("*").remove();
    figures.each((strip, index, nodes) => {
      const magnified = index > 0 && fine > 0 && coarse > fine ? coarse / fine : 0;
      const words = inWords(strip, magnified);
      const figure = d3.select(nodes[index]);
      const caption = figure.append("figcaption");
      caption.append("strong").text(TITLES[strip.way]);
      caption.append("span").text(` ${words}`);
      const panel = {
        differences: strip.differences,
        reach: index === 0 ? coarse : fine,
        label: `${TITLES[strip.way]}: ${words}`,
        isLast: index === strips.length - 1,
        onPoint: point,
      };
      stripPicture.draw(figure.append("svg"), panel, width);
    });
  }

  /** What a strip shows, in a line. @param {Strip} strip @param {number} magnified */
  function inWords(strip, magnified) {
    const total = strip.differences.length;
    const scale = magnified
      ? ` Drawn ${numbers.rounded(magnified)} times larger than the first.`
      : "";
    if (!strip.num_moved) return `gave the same bits in all ${total} batches.${scale}`;
    const flips = strip.num_flipped ? ` The label flipped in ${strip.num_flipped}.` : "";
    const reach = numbers.plain(strip.largest);
    return `moved in ${strip.num_moved} of ${total} batches, by up to ${reach}.${flips}${scale}`;
  }

  /** Say what happened in one batch, and mark it in every strip. */
  function point(index, target) {
    if (!company) return;
    cursor = index;
    const strips = company.strips;
    const lines = strips.map((strip) => `${TITLES[strip.way]}: ${difference(strip, index)}`);
    mark(index);
    tip.show(target, [`batch ${index + 1}`, ...lines]);
    reading.replaceChildren(...batchInWords(company, index));
  }

  /** @param {Strip} strip @param {number} index */
  function difference(strip, index) {
    const value = strip.differences[index];
    if (value === 0) return "0";
    const steps = numbers.counted(Math.abs(strip.steps[index]), "step");
    return `${value > 0 ? "+" : ""}${numbers.plain(value)} (${steps})`;
  }

  /** @param {Company} of @param {number} index */
  function batchInWords(of, index) {
    const { neighbours, columns, pads } = of.draws[index];
    const texts = neighbours.map((each) => of.neighbours[each]).join(" · ");
    return [
      elements.make("strong", {}, `Batch ${index + 1}`),
      ` has ${numbers.counted(columns, "column")}. `,
      `The sentence gets ${numbers.counted(pads, "pad")}, beside: `,
      elements.make("span", { class: "quiet" }, texts),
    ];
  }

  /** @param {KeyboardEvent} event */
  function onKey(event) {
    if (!company) return;
    const last = company.draws.length - 1;
    const next = { ArrowLeft: cursor - 1, ArrowRight: cursor + 1, Home: 0, End: last }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    const index = Math.max(0, Math.min(last, next));
    const bands = frame.querySelector("svg")?.querySelectorAll("rect.band");
    if (bands) point(index, bands[index]);
  }

  function leave() {
    tip.hide();
    mark(-1);
  }

  /** Mark one batch in every strip; -1 for none. @param {number} batch */
  function mark(batch) {
    const svgs = d3.select(frame).selectAll("svg");
    svgs.each((_, index, nodes) => stripPicture.mark(d3.select(nodes[index]), batch));
  }

  frame.addEventListener("keydown", onKey);
  frame.addEventListener("blur", leave);
  frame.addEventListener("pointerleave", leave);

  return { open, draw };
})();
