// The model, the two implementations, and the versions behind the page.
"use strict";

const modelInfoView = (() => {
  /** @param {Lesson} lesson */
  function draw(lesson) {
    const { model } = lesson;
    const layers = numbers.counted(model.num_layers, "layer");
    const heads = numbers.counted(model.num_heads, "head");
    const rows = [
      ["Model", `${model.checkpoint}: ${model.family}, ${layers} of ${heads}, float32`],
      [
        "Padded implementation",
        "The padded batch in plain torch, with the operations of transformers' eager attention. " +
          "The mask is added before the softmax, as a number so low that the share of padding " +
          "becomes exactly 0. The attention shown belongs to these logits.",
      ],
      [
        "Isobatch",
        "The same batch, unpadded by its mask and packed. The kernels passed an invariance check " +
          "when the model was loaded: a row's bits must not depend on other rows.",
      ],
      ["ULP", "Unit in the last place: the distance from one float32 number to the next."],
      [
        "Versions",
        `${model.versions}, ${model.instruction_set}. ` +
          "Padded batches are computed by torch: on another machine their last digits may differ.",
      ],
    ];
    const items = rows.flatMap(([name, text]) => [
      elements.make("dt", {}, name),
      elements.make("dd", {}, text),
    ]);
    elements.byId("model-info").replaceChildren(...items);
  }

  return { draw };
})();
