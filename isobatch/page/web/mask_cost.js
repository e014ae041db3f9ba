// Step 5: the cost of a forgotten mask on many texts in batches, and the text that moves most.
"use strict";

const maskCostView = (() => {
  const WAYS = [
    { key: "alone", title: "Alone" },
    { key: "forgotten", title: "In its batch, mask forgotten" },
    { key: "masked", title: "In its batch, with the mask" },
  ];
  const summary = elements.byId("cost-summary");
  const frame = elements.byId("cost-chart");
  const details = elements.byId("cost-details");
  /** @type {MaskCost | null} */
  let shown = null;

  /** Show that the texts are still being computed. */
  function wait() {
    summary.textContent = "Computing 200 sentences in batches…";
  }

  /** Show that they could not be computed. @param {string} reason */
  function fail(reason) {
    summary.textContent = `The batches could not be computed: ${reason}`;
  }

  /** @param {MaskCost} cost */
  function open(cost) {
    shown = cost;
    summary.textContent = describe(cost);
    elements.byId("cost").hidden = cost.num_padded === 0;
    if (cost.num_padded === 0) return;
    elements.byId("cost-figures").replaceChildren(...figures(cost));
    details.replaceChildren(...(cost.furthest ? furthest(cost.furthest) : []));
    draw();
  }

  /** @param {MaskCost} cost */
  function describe(cost) {
    const texts = numbers.counted(cost.num_texts, "text");
    const source = cost.source === "the built-in sample" ? "" : ` of ${cost.source}`;
    const left = cost.num_left_out
      ? ` ${numbers.counted(cost.num_left_out, "row")} without a text left out.`
      : "";
    const cut = cost.num_truncated
      ? ` ${numbers.counted(cost.num_truncated, "text")} truncated to the model's maximum.`
      : "";
    const batches = `in batches of ${cost.batch_size}, in their order.`;
    const start = `${texts}${source} ${batches}${left}${cut}`;
    if (cost.num_padded === 0) {
      return (
        `${start} No text is padded: those of each batch have the same number of tokens. ` +
        "A forgotten mask changes nothing here."
      );
    }
    const pads = numbers.counted(cost.num_pads, "pad");
    return (
      `${start} ${numbers.whole(cost.num_padded)} of them get padding, ${pads} in all. ` +
      "Each is compared with its logits alone."
    );
  }

  /** @param {MaskCost} cost */
  function figures(cost) {
    const { forgotten, masked, num_texts } = cost;
    const share = numbers.percent(forgotten.num_flipped / num_texts);
    return [
      figure("Labels flipped", numbers.whole(forgotten.num_flipped), [
        `${share} of ${numbers.whole(num_texts)}`,
        `with the mask: ${numbers.whole(masked.num_flipped)}`,
      ]),
      figure("Texts that moved", numbers.whole(forgotten.num_moved), [
        `with the mask: ${numbers.whole(masked.num_moved)}`,
      ]),
      figure("Median move", numbers.plain(forgotten.median), [
        `with the mask: ${numbers.plain(masked.median)}`,
      ]),
      figure("Largest move", numbers.plain(forgotten.largest), [
        `with the mask: ${numbers.plain(masked.largest)}`,
      ]),
    ];
  }

  /** @param {string} name @param {string} value @param {string[]} notes */
  function figure(name, value, notes) {
    const make = elements.make;
    const lines = notes.map((note) => make("dd", { class: "quiet" }, note));
    return make(
      "div",
      {},
      make("dt", {}, name),
      make("dd", { class: "value" }, value),
      ...lines,
    );
  }

  function draw() {
    if (!shown || !shown.bins.length) return;
    const { forgotten, num_texts, bins } = shown;
    const label =
      `Histogram of ${num_texts} texts by how far they move without the mask: half of them by ` +
      `${numbers.plain(forgotten.median)} or more, one by ${numbers.plain(forgotten.largest)}.`;
    frame.replaceChildren();
    const width = Math.max(240, Math.min(720, frame.clientWidth));
    moveHistogram.draw(d3.select(frame).append("svg"), bins, label, width);
  }

  /**
   * The text that moves most, its neighbours, and its logits in each way.
   * @param {MovedText} text
   */
  function furthest(text) {
    const make = elements.make;
    const quoted = (words) => make("bdi", { class: "quoted" }, words || "(empty)");
    const tokens = numbers.counted(text.num_tokens, "token");
    const padded = numbers.whole(text.num_tokens + text.num_pads);
    const replay = text.replay_same_bits
      ? "With only these two in the batch, its logits are the same, bit for bit."
      : `With only these two in the batch, it moves by ${numbers.plain(text.replay_moved)}.`;
    const others = text.neighbours.filter((_, index) => index !== text.longest);
    const list = make("ul", {}, ...others.map((each) => make("li", {}, make("bdi", {}, each))));
    const rest = make(
      "details",
      {},
      make("summary", {}, `The other ${numbers.counted(others.length, "text")} of its batch`),
      list,
    );
    return [
      make("h3", {}, "The text that moves most"),
      make("p", {}, quoted(text.text)),
      make("p", {}, `It has ${tokens}, and is padded to ${padded} by the longest of its batch:`),
      make("p", {}, quoted(text.neighbours[text.longest])),
      make("p", {}, replay),
      make("div", { class: "scroll" }, table(text)),
      ...(others.length ? [rest] : []),
    ];
  }

  /** @param {MovedText} text */
  function table(text) {
    const make = elements.make;
    const head = ["", "Logits", "Label"].map((name) => make("th", { scope: "col" }, name));
    const rows = WAYS.map(({ key, title }) => {
      const label = text[`label_${key}`];
      const flipped = label !== text.label_alone;
      const cell = make("td", flipped ? { class: "flipped" } : {}, make("bdi", {}, label));
      if (flipped) cell.prepend(make("span", { class: "sign", "aria-hidden": "true" }, "⚑"));
      const logits = text[key].map((value) => numbers.signed(value.toFixed(4))).join(", ");
      return make("tr", {}, make("th", { scope: "row" }, title), make("td", {}, logits), cell);
    });
    const body = make("tbody", {}, ...rows);
    return make("table", { class: "plain" }, make("thead", {}, make("tr", {}, ...head)), body);
  }

  return { open, draw, wait, fail };
})();
