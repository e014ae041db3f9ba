"""The options of `isobatch train`, in the groups that its help shows.

Options of the recipe have no defaults here, so that those that were given take precedence over
`--options`; the help names the defaults of RecipeOptions, which a test compares.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

FILES = "Files"
LEARNING = "Base and task"
TEACHER = "A teacher and a smaller model"
STEPS = "Steps"
OPTIMIZER = "Optimizer"
SELECTION = "Choice of the best weights"
MACHINE = "Speed and memory; they never change the result"
REPORTS = "Reports and verification"

Inputs = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="INPUT...",
        help="Labelled files, glob patterns, a folder, or - for stdin. With --verify: where the "
        "recorded files are now, in their order, or their folder. Default: where they were.",
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="Folder to write the trained checkpoint to.",
        rich_help_panel=FILES,
    ),
]
TextColumn = Annotated[
    str | None,
    typer.Option(
        help="Column of the texts. Default: detected if there is one obvious choice.",
        rich_help_panel=FILES,
    ),
]
PairColumn = Annotated[
    str | None,
    typer.Option(help="Column of the second texts of pairs.", rich_help_panel=FILES),
]
LabelColumn = Annotated[
    list[str] | None,
    typer.Option(
        "--label-column",
        help="Column of the labels; repeat it for several columns, one for each label of a text. "
        "Default: detected if there is one obvious choice.",
        rich_help_panel=FILES,
    ),
]
LabelSeparator = Annotated[
    str | None,
    typer.Option(
        metavar="CHARACTER",
        help="Separator of several labels in one column, such as ; in sport;politics.",
        rich_help_panel=FILES,
    ),
]
WeightColumn = Annotated[
    str | None,
    typer.Option(
        help="Column of weights: the loss of each text is multiplied by its weight.",
        rich_help_panel=FILES,
    ),
]
IdColumn = Annotated[
    str | None,
    typer.Option(help="Column that identifies a row in messages.", rich_help_panel=FILES),
]
SkipUnlabelled = Annotated[
    bool,
    typer.Option(
        "--skip-unlabelled",
        help="Leave out rows without a label, and count them.",
        rich_help_panel=FILES,
    ),
]
SkipEmpty = Annotated[
    bool,
    typer.Option(
        "--skip-empty",
        help="Leave out rows with an empty text, and count them.",
        rich_help_panel=FILES,
    ),
]
ValidationFile = Annotated[
    str | None,
    typer.Option(
        "--validation",
        metavar="FILE",
        help="Labelled file used to select the best weights. Default: a part of the input.",
        rich_help_panel=FILES,
    ),
]
ValidationShare = Annotated[
    float | None,
    typer.Option(
        help="Share of the texts to hold out if there is no --validation; equal texts stay "
        "together. Default: 0.1, at most 2,000 texts.",
        rich_help_panel=FILES,
    ),
]
Restart = Annotated[
    bool,
    typer.Option(
        "--restart",
        help="Discard saved work and replace the output.",
        rich_help_panel=FILES,
    ),
]
OptionsFile = Annotated[
    Path | None,
    typer.Option(
        "--options",
        metavar="FILE",
        help="JSON file of options, or the train.json of a trained checkpoint, to use the same "
        "base, columns and recipe. Options on the command line take precedence.",
        rich_help_panel=FILES,
    ),
]

Base = Annotated[
    str | None,
    typer.Option(
        metavar="CHECKPOINT",
        help="Checkpoint folder or hub id to begin with: a classifier, or an encoder without a "
        "head. Default: the bundled sentiment model.",
        rich_help_panel=LEARNING,
    ),
]
Revision = Annotated[
    str | None,
    typer.Option(
        envvar="ISOBATCH_REVISION",
        help="Branch, tag or commit of a hub id that --base names.",
        rich_help_panel=LEARNING,
    ),
]
Task = Annotated[
    Literal["auto", "single", "multi", "regression"] | None,
    typer.Option(
        help="One label for each text (single), any number of labels (multi), or a number "
        "(regression). Default: auto, inferred from the values of the label column.",
        rich_help_panel=LEARNING,
    ),
]
ClassWeights = Annotated[
    str | None,
    typer.Option(
        metavar="none|balanced|FILE",
        help="Weights of the labels: all equal (none), rare ones more (balanced), or a JSON file "
        'such as {"spam": 3, "ham": 1}. Default: none.',
        rich_help_panel=LEARNING,
    ),
]
LabelSmoothing = Annotated[
    float | None,
    typer.Option(
        help="Share of each label that is spread over all labels. Default: 0.",
        rich_help_panel=LEARNING,
    ),
]
Freeze = Annotated[
    int | None,
    typer.Option(
        help="Number of lowest layers to freeze, together with the embeddings. Default: 0.",
        rich_help_panel=LEARNING,
    ),
]

Teacher = Annotated[
    str | None,
    typer.Option(
        metavar="CHECKPOINT",
        help="Classifier with the same labels whose logits are also learned (distillation).",
        rich_help_panel=TEACHER,
    ),
]
Unlabelled = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="More texts, without labels, that are learned from the teacher.",
        rich_help_panel=TEACHER,
    ),
]
TeacherWeight = Annotated[
    float | None,
    typer.Option(
        help="Share of the teacher's logits in the loss, next to the labels. Default: 0.7.",
        rich_help_panel=TEACHER,
    ),
]
TeacherTemperature = Annotated[
    float | None,
    typer.Option(
        help="Temperature of the teacher's scores: a higher one makes them more equal. Default: 2.",
        rich_help_panel=TEACHER,
    ),
]
Layers = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Number of layers to keep of the base, for a smaller model. Default: all.",
        rich_help_panel=TEACHER,
    ),
]

Epochs = Annotated[
    int | None,
    typer.Option(
        help="Passes over the texts. Default: about 1,000 steps, in 3 to 20 passes.",
        rich_help_panel=STEPS,
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        help="Number of texts per step, of any length. Default: 32.", rich_help_panel=STEPS
    ),
]
BlockTokens = Annotated[
    int | None,
    typer.Option(
        help="Maximum number of tokens per gradient block; a step's gradient is the sum over its "
        "blocks. Default: 256.",
        rich_help_panel=STEPS,
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(
        help="Seed of the order, of dropout, of the validation part and of a new head. Default: 0.",
        rich_help_panel=STEPS,
    ),
]
TrainingPrecisionOption = Annotated[
    Literal["fp32", "bf16"] | None,
    typer.Option(
        "--precision",
        help="Precision of the products; weights stay float32. Default: fp32.",
        rich_help_panel=STEPS,
    ),
]

LearningRate = Annotated[
    float | None,
    typer.Option(
        help="Peak of the learning rate. Default: 1e-4 for a hidden size up to 384, 5e-5 up to "
        "1,023, else 2e-5.",
        rich_help_panel=OPTIMIZER,
    ),
]
LayerDecay = Annotated[
    float | None,
    typer.Option(
        help="Learning rate of a layer as a share of that of the layer above. Default: 0.9.",
        rich_help_panel=OPTIMIZER,
    ),
]
WarmUp = Annotated[
    float | None,
    typer.Option(
        help="Share of the steps before the peak; then the rate falls linearly. Default: 0.1.",
        rich_help_panel=OPTIMIZER,
    ),
]
WeightDecay = Annotated[
    float | None,
    typer.Option(
        help="Weight decay of AdamW, on matrices only. Default: 0.01.", rich_help_panel=OPTIMIZER
    ),
]
Beta1 = Annotated[
    float | None,
    typer.Option(help="Decay of AdamW's first moment. Default: 0.9.", rich_help_panel=OPTIMIZER),
]
Beta2 = Annotated[
    float | None,
    typer.Option(help="Decay of AdamW's second moment. Default: 0.999.", rich_help_panel=OPTIMIZER),
]
Epsilon = Annotated[
    float | None,
    typer.Option(help="AdamW's epsilon. Default: 1e-08.", rich_help_panel=OPTIMIZER),
]
ClipNorm = Annotated[
    float | None,
    typer.Option(
        help="Maximum norm of a step's gradient; a larger one is scaled down to it. Default: 1.",
        rich_help_panel=OPTIMIZER,
    ),
]

MetricName = Annotated[
    str | None,
    typer.Option(
        "--metric",
        help="Metric used to select the best weights: accuracy, macro_f1 or log_loss; for "
        "multiple labels micro_f1, multi_macro_f1, exact_match or binary_log_loss; for a "
        "regression rmse, mae, pearson or spearman. Default: the first of each list.",
        rich_help_panel=SELECTION,
    ),
]
EvaluationsPerEpoch = Annotated[
    int | None,
    typer.Option(help="Evaluations in each pass. Default: 2.", rich_help_panel=SELECTION),
]
Patience = Annotated[
    int | None,
    typer.Option(
        help="Number of evaluations without improvement after which training ends. Default: 3.",
        rich_help_panel=SELECTION,
    ),
]
AverageDecay = Annotated[
    float | None,
    typer.Option(
        help="Decay of the average of the weights, which is evaluated too; 0 for none. Default: "
        "an average over a tenth of an epoch, but at least ten steps.",
        rich_help_panel=SELECTION,
    ),
]

Threads = Annotated[
    int | None,
    typer.Option(
        envvar="ISOBATCH_THREADS",
        min=1,
        help="Number of threads. Default: torch's.",
        rich_help_panel=MACHINE,
    ),
]
BlocksInFlight = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Gradient blocks computed at a time; fewer need less memory. Default: one per thread.",
        rich_help_panel=MACHINE,
    ),
]
Engine = Annotated[
    Literal["local", "ray"],
    typer.Option(
        help="Where to compute gradients: in this process, or on the workers of a Ray cluster.",
        rich_help_panel=MACHINE,
    ),
]
Workers = Annotated[
    int,
    typer.Option(
        min=1,
        help="Number of Ray workers, each with --threads CPUs (default 1).",
        rich_help_panel=MACHINE,
    ),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        envvar="ISOBATCH_RAY_ADDRESS",
        help="Address of a Ray cluster; auto: the cluster of this machine. Default: a local Ray.",
        rich_help_panel=MACHINE,
    ),
]
RayWait = Annotated[
    float,
    typer.Option(
        min=1.0,
        help="Maximum seconds to wait for room for all Ray workers.",
        rich_help_panel=MACHINE,
    ),
]

TensorBoard = Annotated[
    Path | None,
    typer.Option(
        "--tensorboard",
        metavar="FOLDER",
        help="Folder to write event files for TensorBoard to.",
        rich_help_panel=REPORTS,
    ),
]
Verify = Annotated[
    Path | None,
    typer.Option(
        "--verify",
        metavar="FOLDER",
        help="Train the model in this folder again, from its own record, and compare the SHA-256 "
        "of model.safetensors. Exit code 9 if it differs, 10 if files or base are missing or "
        "changed.",
        rich_help_panel=REPORTS,
    ),
]
