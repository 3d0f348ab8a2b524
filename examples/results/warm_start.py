"""A DeiT that begins with what a Vision Transformer of another run has learnt, for train_deit.py:

--model results/warm_start.py:deit --set run=RUN drop_path_rate=0.1
"""

from pathlib import Path

import vitlib


def deit(num_classes, run, **options):
    """The model of a run, of as many classes, with a distillation token and its head, both new."""
    return vitlib.from_pretrained(
        Path(run) / "model", model_class=vitlib.DeiT, num_classes=num_classes, allow="distillation", **options
    )
