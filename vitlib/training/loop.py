"""The loop that training scripts share: steps, an evaluation after each epoch, and the best model in the end."""

from __future__ import annotations

from collections.abc import Callable

import paddle

from .evaluate import Evaluation
from .evaluate_labels import LabelsEvaluation
from .image_data import ImageData
from .parallel import unwrapped
from .run import Run
from .step import TrainingStep
from .teacher import final_logits


def fit(
    run: Run,
    step: TrainingStep,
    data: ImageData,
    *,
    epochs: int,
    teacher: Callable[[paddle.Tensor], paddle.Tensor] | None = None,
) -> dict[str, Evaluation | LabelsEvaluation]:
    """Train on the images of `data`, or go on where the run was left, and evaluate after each epoch.

    Args:
        run: its folder gets the log, the checkpoints and the best model, see `Run`.
        step: called with (images, targets), and with the teacher's logits where there is a teacher.
        data: prepared; the first of its parts says which epoch is the best.
        epochs: of the whole run.
        teacher: images [B, C, H, W], as they are trained on -> logits [B, classes]: a `Teacher`, for one.

    With an `ImageData` of several labels an image, "right" in the log are images all of whose labels are.

    In the end the model has the weights of the best epoch. Gives their evaluation on every part.
    Raises ValueError where `data` has no part to evaluate, what `Run.start`, `TrainingStep` and the loading of images
    raise, and on Ctrl-C and SIGTERM `Interruption`, a KeyboardInterrupt, when the run could be saved, see
    `Run.interruptible`.
    """
    if not data.parts:
        raise ValueError("the data have no part that says which epoch is the best; give ImageData ['validation']")
    model, first = unwrapped(step.model), next(iter(data.parts))
    run.start(step, data.sampler, epochs=epochs)
    try:
        with run.interruptible():
            while run.training:
                for images, labels, _, _ in run.batches(data.batches()):
                    images, targets = data.mix(images, labels)
                    loss = step(images, targets, *([] if teacher is None else [teacher(images)]))
                    run.log.step(loss, _right(final_logits(step.outputs), labels), len(labels))
                run.end_epoch(lambda: {first: data.evaluate(model, first)})
        run.load_best()
        evaluations = {part: data.evaluate(model, part) for part in data.parts}
        for found in evaluations.values():
            run.log.name_unreadable(found.unreadable)  # each process has read others
    finally:
        run.log.close()
    return evaluations


def _right(logits: paddle.Tensor, labels: paddle.Tensor) -> int:
    """How many images have their class as the most probable one, or, of labels [B, C], all of them right."""
    if labels.ndim == 2:
        return int(((logits > 0) == (labels > 0)).all(axis=-1).sum())
    return int((logits.argmax(-1) == labels).sum())
