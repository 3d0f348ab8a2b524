"""Classify photographs by texts, with the image tower of a CLIP model and given text embeddings:

    python zero_shot.py photo.jpg --weights ViT-B-16.pt --texts texts.npz

texts.npz holds `labels` [C] and `embeddings` [C, D]: for each label, such as "a photo of a dog", the output of the same
model's text tower. --weights takes a file, a directory or "hf:org/repo".
"""

import argparse
import sys

import numpy as np
import paddle
import paddle.nn.functional as F

import vitlib

SCALE = 100.0  # CLIP's logit_scale after training (arXiv 2103.00020, §2.5)


@paddle.no_grad()
def zero_shot(model, photos, texts):
    """Probability of each text for each photo, [B, C]; model: in evaluation mode; texts: [C, D]."""
    images = F.normalize(model(model.preprocess(photos)))  # [B, D]
    similarity = images @ F.normalize(paddle.to_tensor(texts)).T  # [B, C], cosines
    return F.softmax(SCALE * similarity)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="+", metavar="photo", help="image files")
    parser.add_argument("--weights", required=True, help="a CLIP model: a file, a directory, 'hf:org/repo'")
    parser.add_argument("--texts", required=True, help="an .npz file with labels and embeddings")
    arguments = parser.parse_args()

    vitlib.tune_cpu()
    try:
        model = vitlib.from_pretrained(arguments.weights)
        model.eval()
        texts = np.load(arguments.texts, allow_pickle=False)
        labels, embeddings = texts["labels"], texts["embeddings"].astype("float32")
        if embeddings.shape != (len(labels), model.config.num_classes):
            raise ValueError(
                f"the texts have embeddings {list(embeddings.shape)}, expected [{len(labels)}, "
                f"{model.config.num_classes}]: one a label, from the text tower of the same model"
            )
        probabilities = zero_shot(model, arguments.photos, embeddings).numpy()
    except (ValueError, OSError, ImportError, KeyError) as error:
        sys.exit(f"zero_shot.py: {error}")
    print(model.load_report)
    for photo, row in zip(arguments.photos, probabilities, strict=True):
        print(photo)
        for index in np.argsort(-row)[:5]:
            print(f"  {100 * row[index]:5.2f} %  {labels[index]}")


if __name__ == "__main__":
    main()
