"""Images with several labels, from CSV files."""

import numpy as np
import pytest
from conftest import refused
from PIL import Image

from vitlib.images import ImageTable, Mixup, read_label_table


@pytest.fixture
def table(tmp_path):
    """table(text): a CSV file."""

    def write(text, encoding="utf-8"):
        (tmp_path / "labels.csv").write_bytes(text.encode(encoding))
        return tmp_path / "labels.csv"

    return write


def test_names_in_a_cell_and_columns_of_0_and_1_say_the_same(table):
    first = read_label_table(table("image,labels\na.png,dog; cat\nb.png,\nc.png,dog\n"))
    assert first.classes == ["cat", "dog"]
    assert first.paths == ["a.png", "b.png", "c.png"]
    assert first.labels.tolist() == [[1, 1], [0, 0], [0, 1]]
    assert first.parts is None
    second = read_label_table(table("image,cat,dog\r\na.png,1,1\r\nb.png,0,0\r\n\r\nc.png, 0,1\r\n", "utf-8-sig"))
    assert second[:2] == first[:2]
    assert (second.labels == first.labels).all()


def test_parts_have_their_usual_names(table):
    found = read_label_table(table("image,part,labels\na,train,x\nb,val,y\nc,valid,x\nd,validation,x\ne,test,x\n"))
    assert found.parts == ["train", "validation", "validation", "validation", "test"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["names the columns nothing", "'image'"]),
        ("file,labels\na,b\n", ["names the columns file, labels"]),
        ("image,cat,cat\na,1,0\n", ["names 'cat' twice"]),
        ("image,labels\n", ["has no images"]),
        ("image,labels\na,b,c\n", ["line 2: has 3 cells; expected 2"]),
        ("image,cat\na,1\nb,yes\n", ["line 3: 'yes' in column 'cat'; expected 0 or 1"]),
        ("image,part,labels\na,trian,x\n", ["line 2: the part 'trian'", "train, validation or test"]),
        ("image,labels\na,x\na,y\n", ["has the image 'a' twice"]),
    ],
)
def test_what_a_table_cannot_be_is_told_with_its_line(table, text, words):
    with refused(ValueError, "labels.csv", *words):
        read_label_table(table(text))


def test_other_bytes_are_no_table(tmp_path):
    (tmp_path / "labels.csv").write_bytes(b"\xff\xfe\x00image")
    with refused(ValueError, "no CSV file in UTF-8"):
        read_label_table(tmp_path / "labels.csv")
    with pytest.raises(FileNotFoundError):
        read_label_table(tmp_path / "none.csv")


def test_samples_have_all_labels_and_a_missing_file_is_unreadable(table, tmp_path):
    for name in ("a.png", "c.png"):
        Image.new("RGB", (8, 8), "red").save(tmp_path / name)
    rows = read_label_table(table("image,part,labels\na.png,train,dog;cat\nb.png,train,\nc.png,test,dog\n"))
    images = ImageTable(rows, tmp_path, "train")
    assert len(images) == 2
    assert images.classes == ["cat", "dog"]
    assert images[0].label.tolist() == [1, 1]
    assert images[0].image.size == (8, 8)
    assert images[1].image is None
    assert "b.png" in images[1].reason
    assert ImageTable(rows, tmp_path)[2].label.tolist() == [0, 1]
    with refused(ValueError, "no images of the part 'validation'"):
        ImageTable(rows, tmp_path, "validation")


def test_a_share_is_set_apart_by_the_seed(table, tmp_path):
    text = "image,labels\n" + "".join(f"{number}.png,{'ab'[number % 2]}\n" for number in range(20))
    images = ImageTable(read_label_table(table(text)), tmp_path)
    rest, share = images.split(0.25)
    assert (len(rest), len(share)) == (15, 5)
    assert sorted(path for path, _ in [*rest.samples, *share.samples]) == sorted(path for path, _ in images.samples)
    assert [path for path, _ in images.split(0.25)[1].samples] == [path for path, _ in share.samples]
    assert [label.tolist() for _, label in share.samples] == share.labels.tolist()


def test_mixup_mixes_several_labels_as_it_mixes_images():
    images = np.zeros((2, 1, 4, 4), np.float32)
    images[0] = 1
    labels = np.array([[1, 1, 0], [0, 1, 0]])
    mixed, targets = Mixup(3, 1.0, 0.0, label_smoothing=0)(images, labels, np.random.default_rng(0))
    share = mixed[0, 0, 0, 0]
    assert 0 < share < 1
    assert targets == pytest.approx(np.array([[share, 1, 0], [1 - share, 1, 0]]), abs=1e-6)
