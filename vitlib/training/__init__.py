"""Training: losses, teachers, parameter groups, learning rates, averages, and the step. Each part works alone.

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

from .distillation import DistillationLoss
from .ema import ExponentialMovingAverage
from .losses import BinaryCrossEntropy, SoftTargetCrossEntropy
from .param_groups import param_groups
from .schedule import warmup_cosine
from .step import TrainingStep
from .teacher import Teacher, TeacherLogits

__all__ = [
    "BinaryCrossEntropy",
    "DistillationLoss",
    "ExponentialMovingAverage",
    "SoftTargetCrossEntropy",
    "Teacher",
    "TeacherLogits",
    "TrainingStep",
    "param_groups",
    "warmup_cosine",
]
