"""The catalogue of faults of a training step, the one that is preferred first."""

from isobatch.audit.faults import AuditFault

_CATALOGUE = (
    AuditFault(
        "gradients-kept",
        "The gradient of a call contains those of the calls before it",
        "gradients are added to those of the step before: zero_grad() is missing",
        "call optimizer.zero_grad() at the beginning of every step",
    ),
    AuditFault(
        "step-not-repeatable",
        "The same step on the same texts gives a different gradient when it is called again",
        "dropout is drawn from a global generator, or the step changes the weights",
        "key dropout by the text, as `isobatch train` does, or switch it off for the audit; "
        "return the gradient before optimizer.step()",
    ),
    AuditFault(
        "step-fails",
        "The step fails with texts that it accepts alone",
        "texts cannot be padded to one length, or a part takes one row",
        "pad the texts of a batch, with an attention mask",
    ),
    AuditFault(
        "gradient-summed",
        "The gradient of a batch is the sum of its texts' gradients, not their mean",
        "the loss is summed over the texts and not divided, so the effective learning rate and "
        "the clipping depend on the number of texts",
        "divide the loss of a step, once, by its number of texts",
        ("gradient-multiplied", "gradient-divided-twice", "mean-of-means", "texts-weigh-unequally"),
    ),
    AuditFault(
        "gradient-multiplied",
        "The gradient is multiplied by the number of micro-batches",
        "the loss of each micro-batch is the mean of its own texts, and their gradients are added "
        "without a division. transformers' Trainer (5.23) does so for classifiers whose forward "
        "takes **kwargs, which it expects to divide by num_items_in_batch",
        "divide the summed loss of each micro-batch by the number of texts of the whole step. With "
        "Trainer: set model.accepts_loss_kwargs = False before it is made, and use micro-batches "
        "of one size; or do without gradient accumulation",
        ("mean-of-means", "texts-weigh-unequally"),
    ),
    AuditFault(
        "mean-of-means",
        "A text counts more in a smaller micro-batch: the mean of means is taken",
        "the loss of each micro-batch is the mean of its own texts, and divided by the number of "
        "micro-batches, which differ in size",
        "divide the summed loss of each micro-batch by the number of texts of the whole step",
        ("texts-weigh-unequally",),
    ),
    AuditFault(
        "gradient-divided-twice",
        "The gradient is divided by the number of micro-batches once too often",
        "the loss is the sum divided by the texts of the whole step, and is then divided by the "
        "number of micro-batches as well",
        "divide once, by the number of texts of the whole step",
    ),
    AuditFault(
        "micro-batches-lost",
        "Only the last micro-batch counts",
        "gradients are cleared before each micro-batch, or the gradient is read from the last",
        "clear gradients once, before the first micro-batch of a step",
        ("texts-weigh-unequally",),
    ),
    AuditFault(
        "texts-weigh-unequally",
        "The weight of a text is not one divided by the number of texts",
        "the loss is divided by something other than the number of texts: tokens, columns, or the "
        "sum of the class weights of a batch",
        "divide the summed loss of a step, once, by its number of texts",
    ),
    AuditFault(
        "dropout-by-place",
        "A text's gradient depends on its place in the batch",
        "dropout masks are drawn for the whole batch by one generator, though with a fixed seed",
        "key dropout by the text, as `isobatch train` does, or switch it off for the audit",
        (
            "neighbours-count",
            "order-counts",
            "gradient-padding-counts",
            "split-counts",
            "texts-weigh-unequally",
        ),
    ),
    AuditFault(
        "neighbours-count",
        "A text's gradient depends on what the other texts of its batch say",
        "a layer or a loss computes over the rows of a batch: batch norm, or negatives from the "
        "batch",
        "normalize each text by itself (layer norm), and sum a loss of each text",
        ("order-counts", "gradient-padding-counts", "split-counts", "texts-weigh-unequally"),
    ),
    AuditFault(
        "order-counts",
        "The gradient depends on the order of the texts in the batch",
        "texts are sorted by length, and their labels are not; or dropout is drawn by place",
        "sort texts and labels together",
        ("gradient-padding-counts", "split-counts", "texts-weigh-unequally"),
    ),
    AuditFault(
        "gradient-padding-counts",
        "A text's gradient depends on how long the other texts of its batch are",
        "pads are read: the attention mask is forgotten or wrong, pads are pooled, or positions "
        "count pads",
        "pass the attention mask to the model; an audit of the model itself shows which part it is",
        ("split-counts",),
    ),
    AuditFault(
        "split-counts",
        "The split into micro-batches changes the gradient, and not by the weights of the texts",
        "something is carried from one micro-batch to the next, such as a generator of dropout or "
        "changed weights",
        "key dropout by the text, and change no weights before the last micro-batch",
    ),
    AuditFault(
        "gradient-rounding",
        "The last digits of the gradient move with the batch",
        "kernels are selected by the shape of a batch, and sum in another order",
        "for weights with the same bits for any number of threads, train with `isobatch train`",
    ),
)

GRADIENT_FAULTS = {fault.name: fault for fault in _CATALOGUE}
"""All of them by name."""


def explained_gradient_faults(name: str) -> frozenset[str]:
    """Return every fault that the fault `name` explains, directly or through others."""
    direct = GRADIENT_FAULTS[name].explains
    return frozenset(direct).union(*map(explained_gradient_faults, direct))
