"""Training: losses, teachers, parameter groups, learning rates, averages, the step; the order of samples, checkpoints
that survive anything, and the record of a run. Each part works alone.

schedule = warmup_cosine(5e-4 * batch_size / 512, total_steps=steps, warmup_steps=steps // 60)
optimizer = paddle.optimizer.AdamW(schedule, parameters=param_groups(model, 0.05))
teacher = Teacher(teacher_model, student=model)
ema = ExponentialMovingAverage(model, 0.9999)
step = TrainingStep(model, DistillationLoss("hard"), optimizer, clip_norm=1.0, schedule=schedule, ema=ema)
model.train()
for images, labels in loader:
    loss = step(images, labels, teacher(images))
with ema.averaged():
    ...  # evaluate or save the averaged model
"""

from __future__ import annotations

from .checkpoints import Checkpoints
from .distillation import DistillationLoss
from .ema import ExponentialMovingAverage
from .evaluate import Evaluation, evaluate
from .evaluate_labels import LabelsEvaluation, evaluate_labels
from .image_data import ImageData
from .interruption import Interruption
from .loop import fit
from .losses import BinaryCrossEntropy, SoftTargetCrossEntropy
from .parallel import average_batch_norm
from .param_groups import param_groups, weight_decay_filter
from .random_states import random_states, set_random_states
from .remembered_teacher import RememberedTeacher
from .run import Run
from .run_files import load_run, read_record
from .run_log import RunLog
from .sampler import EpochSampler
from .schedule import warmup_cosine
from .state_file import CheckpointError
from .step import TrainingStep
from .teacher import Teacher, TeacherLogits, final_logits
from .training_state import restore_training_state, training_state

__all__ = [
    "BinaryCrossEntropy",
    "CheckpointError",
    "Checkpoints",
    "DistillationLoss",
    "EpochSampler",
    "Evaluation",
    "ExponentialMovingAverage",
    "ImageData",
    "Interruption",
    "LabelsEvaluation",
    "RememberedTeacher",
    "Run",
    "RunLog",
    "SoftTargetCrossEntropy",
    "Teacher",
    "TeacherLogits",
    "TrainingStep",
    "average_batch_norm",
    "evaluate",
    "evaluate_labels",
    "final_logits",
    "fit",
    "load_run",
    "param_groups",
    "random_states",
    "read_record",
    "restore_training_state",
    "set_random_states",
    "training_state",
    "warmup_cosine",
    "weight_decay_filter",
]
