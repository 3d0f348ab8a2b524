"""Fine-tune a Vision Transformer on the classes of a folder of images, from published weights or your own.

    python finetune.py DATA --weights vit_tiny_patch16_224.augreg_in21k_ft_in1k --output runs/mine
    python finetune.py DATA --weights model.safetensors --model deit_small_patch16_224 --size 384 --output runs/large
    python finetune.py DATA --weights hf:org/repo --head-only --output runs/probe

DATA holds train/CLASS/*.jpg, validation/CLASS/*.jpg (or val/) and test/ for --test; without a folder for validation, or
as CLASS/*.jpg alone, a share of the training images is set apart. Images are normalised as the weights want it.

RUN gets log.csv, curve.png, checkpoints/, result.json and model/, the best epoch by its accuracy on validation images,
which vitlib.from_pretrained and classify.py --weights RUN open. The same command goes on where a run was stopped or
killed, without fetching the weights again.

Both heads of a distilled model are trained, by the loss of the mean of their logits, its prediction in evaluation; so
does timm. For a teacher, give a run of this script to train_deit.py --teacher.
"""

import startup  # isort: skip

import training_script as script
from weights_option import open_weights

import vitlib
from vitlib.training import SoftTargetCrossEntropy, final_logits, fit, param_groups


def parse_arguments():
    parser, add = script.make_parser(__doc__)
    add(
        "--weights",
        required=True,
        help="a preset's name, for its published ones; a file, folder, run, hf:org/repo or URL",
    )
    add("--model", help="the preset that a file is for, where the file does not tell (default: it tells)")
    add("--allow", nargs="*", default=[], metavar="CHANGE", help="to the weights: distillation, class_row, patch, ...")
    add(
        "--size",
        type=script.whole(1),
        nargs="+",
        metavar="PIXELS",
        help="of images, or height and width (default: the model's)",
    )
    add("--drop-path", type=script.number("[0, 1)"), help="stochastic depth of the last block (default: the model's)")
    add("--head-only", action="store_true", help="train the head alone")
    add(
        "--freeze-blocks",
        type=script.whole(0),
        metavar="N",
        help="leave the embedding and the first N blocks as they are (default: train all)",
    )
    add(
        "--layer-decay",
        type=script.number("(0, 1]"),
        default=0.75,
        help="factor of the learning rate from each block to the one before; 1: the same for all",
    )
    script.add_common_options(
        parser,
        lr_help="of the head (default: 5e-4, with --head-only 3e-3)",
        warmup_epochs=1,
        epochs=20,
        clip=1.0,
        scale=0.4,
        augment="none",
        erasing=0.0,
        mixup=0.0,
        cutmix=0.0,
    )
    arguments = parser.parse_args()
    if arguments.size is not None and len(arguments.size) > 2:
        parser.error("argument --size: expected one number, or height and width")
    if arguments.head_only and arguments.freeze_blocks is not None:
        parser.error("argument --freeze-blocks: not allowed with argument --head-only")
    return arguments


def load_model(arguments, classes):
    """The weights in a model with a head for these classes, which is fresh unless it was for exactly these."""
    options = {"allow": arguments.allow, "num_classes": len(classes)}
    if arguments.drop_path is not None:
        options["drop_path_rate"] = arguments.drop_path
    model = open_weights(arguments.weights, arguments.model, arguments.size, **options)
    report = str(model.load_report)
    if "head.weight" in model.load_report.loaded and list(model.labels or ()) != classes:
        model.reset_head(len(classes))
        report += "\nnote      the head is fresh: the weights have as many classes, but do not name these"
    script.say(report)
    return model


def train(arguments):
    data, run = script.start(arguments)
    if run.config is None:
        model = load_model(arguments, data.classes)
    else:  # the checkpoint has the weights
        model = (vitlib.DeiT if run.config.distillation_token else vitlib.VisionTransformer)(run.config)
    if arguments.head_only:
        model.freeze()
    elif arguments.freeze_blocks is not None:
        model.freeze(arguments.freeze_blocks)
    if arguments.squash:
        model.preprocess = script.squashed(arguments, model.preprocess)
    script.prepare(arguments, data, model.preprocess)

    loss = SoftTargetCrossEntropy(arguments.label_smoothing)
    lr = (3e-3 if arguments.head_only else 5e-4) if arguments.lr is None else arguments.lr
    step = script.make_step(
        arguments,
        data,
        model,
        lambda outputs, targets: loss(final_logits(outputs), targets),
        param_groups(model, arguments.weight_decay, layer_decay=arguments.layer_decay),
        lr=lr,
        warmup_epochs=1,
        warmup_lr=lr / 100,
        final_lr=lr / 100,
    )
    script.finish(run, fit(run, step, data, epochs=arguments.epochs))


if __name__ == "__main__":
    arguments = parse_arguments()
    startup.end_with_a_sentence(lambda: train(arguments), lambda: script.stopped(arguments))
