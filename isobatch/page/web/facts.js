// What computed the page, so that a reader can judge it.
"use strict";

const factsView = (() => {
  /** @param {Lesson} lesson */
  function draw(lesson) {
    const { facts } = lesson;
    const layers = numbers.counted(facts.num_layers, "layer");
    const heads = numbers.counted(facts.num_heads, "head");
    const rows = [
      ["Model", `${facts.checkpoint}: ${facts.family}, ${layers} of ${heads}, float32`],
      [
        "As most engines compute it",
        "The padded rectangle through plain torch, with the maths of transformers' eager " +
          "attention. The mask is added before the softmax, as a number so low that a pad's " +
          "share comes out as exactly 0. The attention drawn is behind these logits.",
      ],
      [
        "As Isobatch computes it",
        "The same batch, unpadded by its mask and packed. Its kernels were checked when the " +
          "model was loaded: a row's bits must not depend on the rows beside it.",
      ],
      ["A step", "From one float32 number to the next one; no other lies between."],
      [
        "Versions",
        `${facts.versions}, ${facts.instruction_set}. ` +
          "On another machine the last digits may differ.",
      ],
    ];
    const items = rows.flatMap(([name, text]) => [
      elements.make("dt", {}, name),
      elements.make("dd", {}, text),
    ]);
    elements.byId("facts").replaceChildren(...items);
  }

  return { draw };
})();
