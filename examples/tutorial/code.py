# %%
import math

import matplotlib.pyplot as plt
import numpy as np
import paddle
import paddle.nn.functional as F
from PIL import Image
from sklearn.datasets import load_digits, load_sample_image

import vitlib
from vitlib.layers import sincos_positions
from vitlib.training import DistillationLoss, TrainingStep, param_groups, warmup_cosine

SMALL = False  # True: fewer training steps, to see quickly that everything runs
print(vitlib.tune_cpu())
paddle.seed(0)
rng = np.random.default_rng(0)


def show(axis, picture, title="", **options):
    axis.imshow(picture, **options)
    axis.set_title(title, fontsize=9)
    axis.set_axis_off()


# %%
photo = Image.fromarray(load_sample_image("flower.jpg")[:, 100:527]).resize((224, 224))
pixels = np.asarray(photo)  # [224, 224, 3]
P = 16
patches = pixels.reshape(14, P, 14, P, 3).swapaxes(1, 2)  # [14 rows, 14 columns, 16, 16, 3]
print("patches:", patches.shape, "-> as a sequence:", patches.reshape(196, -1).shape)

with_gaps = np.full((14 * 20, 14 * 20, 3), 255, np.uint8)
for row in range(14):
    for column in range(14):
        with_gaps[20 * row + 2 : 20 * row + 18, 20 * column + 2 : 20 * column + 18] = patches[row, column]
figure, axes = plt.subplots(1, 2, figsize=(6, 3), layout="constrained")
show(axes[0], photo, "an image, 224 x 224")
show(axes[1], with_gaps, "196 patches, 16 x 16 pixels each")
plt.show()

# %%
embed = vitlib.PatchEmbed(img_size=224, patch_size=P, in_chans=3, embed_dim=192)
x = vitlib.Preprocess(224, crop_fraction=1.0)(photo)  # [1, 3, 224, 224], values in -1 to 1
sequence = x.reshape([1, 3, 14, P, 14, P]).transpose([0, 2, 4, 1, 3, 5]).reshape([1, 196, 3 * P * P])
kernel = embed.proj.weight.reshape([192, -1])  # the convolution's kernel [192, 3, 16, 16] as a matrix [192, 768]
by_hand = sequence @ kernel.T + embed.proj.bias
print("tokens:", by_hand.shape)
print("largest difference from vitlib.PatchEmbed:", float((by_hand - embed(x)).abs().max()))

# %%
table = sincos_positions((14, 14), 192)  # [196, 192]
unit = table / np.linalg.norm(table, axis=1, keepdims=True)
similarity = (unit @ unit.T).reshape(14, 14, 14, 14)
figure, axes = plt.subplots(1, 4, figsize=(9, 2.5), layout="constrained")
for axis, (row, column) in zip(axes, [(2, 2), (2, 11), (7, 7), (12, 4)], strict=True):
    show(axis, similarity[row, column], f"patch in row {row}, column {column}", vmin=0.5, vmax=1)
figure.suptitle("cosine similarity of one patch's position with all positions", fontsize=10)
plt.show()

# %%
tokens = np.array([[1.0, 0.0, 1.0, 0.0], [0.0, 2.0, 0.0, 1.0], [1.0, 1.0, 0.0, 0.0]])  # N = 3 tokens, D = 4
W_q = np.eye(4)
W_k = np.array([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], float)  # swaps two channels
W_v = 2 * np.eye(4)
q, k, v = tokens @ W_q, tokens @ W_k, tokens @ W_v  # each [3, 4]


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


heads, attention = [], []
for h in range(2):  # each head has d = D / H = 2 of the channels
    part = slice(2 * h, 2 * h + 2)
    A = softmax(q[:, part] @ k[:, part].T / math.sqrt(2))  # [3, 3], each row sums to 1
    attention.append(A)
    heads.append(A @ v[:, part])  # [3, 2]
output = np.concatenate(heads, axis=1)  # [3, 4]
print("output of both heads, side by side:\n", output.round(3))

figure, axes = plt.subplots(1, 2, figsize=(6.5, 3.2), layout="constrained")
for h, axis in enumerate(axes):
    axis.imshow(attention[h], vmin=0, vmax=1, cmap="Blues")
    for i, j in np.ndindex(3, 3):
        axis.text(j, i, f"{attention[h][i, j]:.2f}", ha="center", va="center", fontsize=9)
    axis.set(title=f"head {h}", xlabel="is read (key)", ylabel="reads (query)", xticks=range(3), yticks=range(3))
plt.show()

# %%
layer = vitlib.MultiHeadAttention(embed_dim=4, num_heads=2, qkv_bias=False)
layer.qkv.weight.set_value(np.concatenate([W_q, W_k, W_v], axis=1).astype("float32"))  # [4, 12]
layer.proj.weight.set_value(np.eye(4, dtype="float32"))  # the output projection, here the identity
layer.eval()
theirs = layer(paddle.to_tensor(tokens[None].astype("float32")))[0].numpy()
print("largest difference from vitlib.MultiHeadAttention:", np.abs(output - theirs).max())

# %%
block = vitlib.EncoderBlock(embed_dim=192, num_heads=3)
block.eval()
z = embed(x)  # [1, 196, 192]
with paddle.no_grad():
    y = z + block.attn(F.layer_norm(z, 192, block.norm1.weight, block.norm1.bias, 1e-6))  # equation 2
    u = F.layer_norm(y, 192, block.norm2.weight, block.norm2.bias, 1e-6)
    u = F.gelu(u @ block.mlp.fc1.weight + block.mlp.fc1.bias)  # [1, 196, 768]
    by_hand = y + u @ block.mlp.fc2.weight + block.mlp.fc2.bias  # equation 3
    print("largest difference from vitlib.EncoderBlock:", float((by_hand - block(z)).abs().max()))

# %%
vit = vitlib.create_model("vit_tiny_patch16_224")  # 12 blocks, width 192, 3 heads, random weights
vit.eval()
with paddle.no_grad():
    z = vit.patch_embed(x)  # [1, 196, 192]
    z = paddle.concat([vit.cls_token, z], axis=1) + vit.pos_embed  # [1, 197, 192], equation 1
    for block in vit.blocks:
        z = block(z)
    logits = vit.head(vit.norm(z)[:, 0])  # [1, 1000], equation 4
    print("largest difference from the model:", float((logits - vit(x)).abs().max()))

D, L, N, C = 768, 12, 196, 1000  # ViT-B/16
embedding = (3 * 16 * 16 * D + D) + D + (1 + N) * D  # patch projection, class token, positions
encoder = L * ((4 * D * D + 4 * D) + (8 * D * D + 5 * D) + 4 * D)  # attention, MLP, two norms
print(f"ViT-B/16 by hand: {embedding + encoder + 2 * D + (D * C + C):,} parameters;", vitlib.count("ViT-B/16"))

# %%
figure, axes = plt.subplots(1, 5, figsize=(11, 2.6), layout="constrained")
titles = ["image [3, 224, 224]", "196 patches, 16 x 16", "tokens [197, 192]", "12 encoder blocks", "1000 probabilities"]
for number, (axis, title) in enumerate(zip(axes, titles, strict=True)):
    axis.set_title(title, fontsize=10)
    axis.set_box_aspect(1)
    axis.set(xticks=[], yticks=[])
    if number:
        axis.annotate("", (-0.02, 0.5), (-0.19, 0.5), "axes fraction", arrowprops={"arrowstyle": "->", "lw": 1.5})
figure.get_layout_engine().set(wspace=0.15)
axes[0].imshow(photo)
axes[1].imshow(with_gaps)
axes[2].imshow(z[0, :48, :48].numpy(), cmap="coolwarm", vmin=-2, vmax=2)
axes[3].set(xlim=(0, 10), ylim=(0, 10))
parts = [(1.1, "norm", "#e8e8e8"), (2.9, "attention", "#f8d6c0"), (5.7, "norm", "#e8e8e8"), (7.5, "MLP", "#c9dcf2")]
for height, text, colour in parts:
    axes[3].add_patch(plt.Rectangle((1.5, height), 5, 1.4, facecolor=colour, edgecolor="#555555"))
    axes[3].text(4, height + 0.7, text, ha="center", va="center", fontsize=9)
axes[3].plot([4, 4], [0, 4.8], [4, 4], [4.8, 9.8], color="#555555", linewidth=1, zorder=0)
for start, end in [(0.5, 4.9), (5.3, 9.4)]:  # the residual connections
    axes[3].plot([4, 8.3, 8.3, 4.4], [start, start, end, end], color="#555555", linewidth=1)
    axes[3].scatter(4, end, s=70, marker="o", facecolor="white", edgecolor="#555555", zorder=3)
    axes[3].scatter(4, end, s=30, marker="+", color="#555555", linewidth=1, zorder=4)
axes[4].bar(range(12), F.softmax(logits)[0, :12].numpy(), color="#6b8fb8")
axes[4].set_xlabel("class", fontsize=9)
plt.show()

# %%
deit = vitlib.create_model("deit_tiny_distilled_patch16_224", num_classes=10)
print("tokens before the patches:", deit.prefix_names)
deit.train()
pair = deit(x)  # in training: both heads
deit.eval()
mean = deit(x)  # in evaluation: their mean
print("training:", [list(t.shape) for t in pair], "evaluation:", list(mean.shape))

label, teacher_logits = paddle.to_tensor([3]), paddle.randn([1, 10])
hard = 0.5 * F.cross_entropy(pair.logits, label)
hard += 0.5 * F.cross_entropy(pair.distillation_logits, teacher_logits.argmax(-1))
print("by hand:", float(hard), "vitlib.DistillationLoss:", float(DistillationLoss("hard")(pair, label, teacher_logits)))

# %%
digits = load_digits()
images = (digits.images[:, None] / 8 - 1).astype("float32")  # [1797, 1, 8, 8], values in -1 to 1
order = rng.permutation(len(images))
test, train = order[:360], order[360:]
SIZES = (50,) if SMALL else (50, 200, 800)
STEPS = 3 if SMALL else 400


class Convnet(paddle.nn.Layer):
    def __init__(self):
        super().__init__()
        conv = paddle.nn.Conv2D
        self.conv1, self.conv2 = conv(1, 24, 3, padding=1), conv(24, 48, 3, padding=1)
        self.head = paddle.nn.Linear(48 * 4, 10)

    def forward(self, x):  # [B, 1, 8, 8]
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        return self.head(F.max_pool2d(F.relu(self.conv2(x)), 2).flatten(1))


def small_vit(cls=vitlib.VisionTransformer):
    model = cls(img_size=8, patch_size=2, in_chans=1, num_classes=10, embed_dim=64, depth=2, num_heads=2,
                weight_init="jax")  # fmt: skip
    for name in (*model.prefix_names, "pos_embed"):  # so little data teaches positions slowly: start them large
        parameter = getattr(model, name)
        parameter.set_value(0.5 * paddle.randn(parameter.shape))
    return model


def fit(model, chosen, teacher=None):
    schedule = warmup_cosine(3e-3, total_steps=STEPS, warmup_steps=STEPS // 20, warmup_lr=0.0, final_lr=0.0)
    optimizer = paddle.optimizer.AdamW(schedule, parameters=param_groups(model, 0.05))
    step = TrainingStep(model, DistillationLoss("none" if teacher is None else "hard"), optimizer, schedule=schedule)
    model.train()
    for _ in range(STEPS):
        batch = rng.choice(chosen, 32)
        x = np.stack([np.roll(images[i], rng.integers(-1, 2, 2), axis=(1, 2)) for i in batch])  # shifts by a pixel
        x = paddle.to_tensor(x)
        step(x, paddle.to_tensor(digits.target[batch]), None if teacher is None else teacher(x))
    model.eval()
    with paddle.no_grad():
        said = model(paddle.to_tensor(images[test])).argmax(-1).numpy()
    return 100 * float((said == digits.target[test]).mean())


results = {"convnet": [], "ViT": [], "DeiT, taught by the convnet": []}
for size in SIZES:
    convnet, vit, deit = Convnet(), small_vit(), small_vit(vitlib.DeiT)
    results["convnet"].append(fit(convnet, train[:size]))
    results["ViT"].append(fit(vit, train[:size]))
    results["DeiT, taught by the convnet"].append(fit(deit, train[:size], teacher=convnet))
for name, row in results.items():
    print(f"{name:28}", "  ".join(f"{size}: {value:.1f} %" for size, value in zip(SIZES, row, strict=True)))

# %%
figure, axis = plt.subplots(figsize=(6, 3.4), layout="constrained")
for (name, row), marker in zip(results.items(), "os^", strict=True):
    axis.plot(SIZES, row, marker=marker, label=name)
axis.set(xscale="log", xlabel="training images", ylabel="accuracy on 360 test digits, %", xticks=SIZES)
axis.set_xticks(SIZES, map(str, SIZES))
axis.minorticks_off()
axis.grid(alpha=0.3)
axis.legend()
plt.show()

# %%
clothes = vitlib.from_pretrained("clothes")  # the folder beside this notebook
clothes.eval()

picture = Image.open("photos/longsleeve.jpg")  # or a photo of your own
for label, probability, index in vitlib.predict(clothes, picture, top_k=4)[0]:
    print(f"{100 * probability:5.1f} %  {label} (class {index})")

# %%
grid = clothes.patch_embed.grid_size
seen = np.asarray(clothes.preprocess.crop(picture))  # as the model sees it
last = vitlib.attention_maps(clothes, picture, layers=[-1])[0][0]  # [heads, N, N]
rollout = vitlib.attention_rollout(clothes, picture)[0]  # [N]
prefix = clothes.num_prefix_tokens


def overlay(axis, values, title):
    """Values [h, w] over the grey image, bright where they are large."""
    show(axis, seen.mean(axis=2), title, cmap="gray")
    height, width = seen.shape[:2]
    axis.imshow(values, cmap="inferno", alpha=0.6, interpolation="bilinear",
                extent=(-0.5, width - 0.5, height - 0.5, -0.5))  # fmt: skip


figure, axes = plt.subplots(1, 2 + len(last), figsize=(2.1 * (2 + len(last)), 2.5), layout="constrained")
show(axes[0], seen, "as the model sees it")
for head, axis in enumerate(axes[1:-1]):
    overlay(axis, last[head, 0, prefix:].reshape(grid).numpy(), f"last block, head {head}")
overlay(axes[-1], rollout[prefix:].reshape(grid).numpy(), "rollout over all blocks")
plt.show()

# %%
chosen = [index for _, _, index in vitlib.predict(clothes, picture, top_k=2)[0]]
figure, axes = plt.subplots(1, 3, figsize=(7, 2.6), layout="constrained")
show(axes[0], seen, "as the model sees it")
for axis, index in zip(axes[1:], chosen, strict=True):
    evidence = vitlib.relevance(clothes, picture, class_index=index)[0].numpy()
    overlay(axis, evidence, f"relevance for {clothes.labels[index]}")
plt.show()

# %%
# ViT paper (arXiv 2010.11929), Table 2: top-1 on ImageNet after fine-tuning, pre-training in TPUv3-core-days
published = {
    "ViT-H/14, JFT": (88.55, 2500),
    "ViT-L/16, JFT": (87.76, 680),
    "ViT-L/16, ImageNet-21k": (85.30, 230),
    "BiT-L, ResNet152x4, JFT": (87.54, 9900),
    "Noisy Student, EfficientNet-L2": (88.45, 12300),  # the paper gives 88.4 and 88.5
}
figure, axis = plt.subplots(figsize=(7, 3.6), layout="constrained")
for name, (accuracy, days) in published.items():
    is_vit = name.startswith("ViT")
    axis.scatter(days, accuracy, s=60, color="#bb3333" if is_vit else "#2b3f6b", marker="o" if is_vit else "s")
    place, side = ((8, -3), "left") if is_vit else ((8, -16), "right")
    axis.annotate(name, (days, accuracy), place, textcoords="offset points", fontsize=9, ha=side)
axis.set(xscale="log", xlim=(150, 20000), ylim=(84.8, 89), xlabel="pre-training, TPUv3-core-days",
         ylabel="ImageNet top-1, %", title="as published in the ViT paper, Table 2")  # fmt: skip
axis.grid(alpha=0.3)
plt.show()
