"""What people have in a folder, and what is said of folders that are something else."""

import numpy as np
import pytest
from PIL import Image

from deepblock.data import DataError
from deepblock.importers import Wanted, read, split
from deepblock.tensors import split_manifest, unpack
from deepblock.unixfs import file_cid

SEED = bytes(32)


def picture(file, size=(6, 4), colour=None, mode="L"):
    """`size`: width and height, as Pillow says it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour).save(file)


@pytest.fixture
def pets(tmp_path):
    for index in range(3):
        picture(tmp_path / "pets" / "cat" / f"{index}.png", colour=index)
        picture(tmp_path / "pets" / "dog" / f"{index}.PNG", colour=100 + index)
    return tmp_path / "pets"


def refusal(path):
    with pytest.raises(DataError) as error:
        read(path, Wanted())
    return str(error.value)


# --- pictures ---------------------------------------------------------------------------------------------


def test_pictures_by_class(pets):
    (pets / "notes.md").write_text("not a picture")
    (pets / ".cache").mkdir()
    data = read(pets, Wanted())
    assert (data.kind, data.shape, data.classes, data.notes) == ("images", (1, 4, 6), ("cat", "dog"), ())
    assert data.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.inputs[:, 0, 0, 0].tolist() == [0, 1, 2, 100, 101, 102]


def test_one_picture_with_colours_makes_all_have_three_channels(pets):
    picture(pets / "cat" / "red.png", colour=(255, 10, 20), mode="RGB")
    data = read(pets, Wanted())
    assert data.shape == (3, 4, 6)
    assert data.inputs[3, :, 0, 0].tolist() == [255, 10, 20]
    grey = read(pets, Wanted(channels=1))
    assert (grey.shape, grey.notes) == ((1, 4, 6), ("colours were dropped",))


def test_sizes_that_differ_need_to_be_told_which(pets):
    wide = Image.fromarray(np.repeat(np.uint8([[0] * 4 + [200] * 4 + [0] * 4]), 4, axis=0))
    wide.save(pets / "cat" / "wide.png")
    said = refusal(pets)
    assert "2 sizes, most often 4×6 (6 of 7)" in said and "--size" in said
    data = read(pets, Wanted(size=(4, 4)))
    assert data.shape == (1, 4, 4)
    assert (data.inputs[3] == 200).all()  # the centre of the wide one, all of it
    assert data.notes == ("7 pictures of other sizes were cropped around their centre and resized to 4×4",)


def test_a_picture_that_lies_on_its_side_is_turned(pets):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (4, 6), 50).save(pets / "dog" / "turned.jpg", exif=exif)
    assert read(pets, Wanted()).shape == (1, 4, 6)


def test_a_file_that_only_calls_itself_a_picture(pets):
    (pets / "cat" / "broken.png").write_bytes(b"\x89PNG but no more")
    assert "broken.png: is no picture" in refusal(pets)
    whole = (pets / "dog" / "0.PNG").read_bytes()
    (pets / "cat" / "broken.png").write_bytes(whole[:50])
    assert "broken.png" in refusal(pets)


# --- arrays -----------------------------------------------------------------------------------------------


def test_arrays_of_bytes(tmp_path):
    x = np.arange(3 * 5 * 6, dtype=np.uint8).reshape(3, 5, 6)
    np.savez(tmp_path / "data.npz", x=x, y=np.array([7, 10, 7]))
    data = read(tmp_path, Wanted())
    assert (data.kind, data.shape, data.classes) == ("images", (1, 5, 6), ("7", "10"))
    assert data.labels.tolist() == [0, 1, 0]
    np.testing.assert_array_equal(data.inputs[:, 0], x)
    assert read(tmp_path / "data.npz", Wanted()).shape == (1, 5, 6)


@pytest.mark.parametrize(
    ("shape", "kind", "found"),
    [((4, 9), "vectors", (9,)), ((4, 8, 8, 3), "images", (3, 8, 8)), ((4, 3, 8, 8), "images", (3, 8, 8))],
)
def test_arrays_of_every_layout(tmp_path, shape, kind, found):
    x = np.random.default_rng(0).integers(0, 256, shape)
    np.savez(tmp_path / "data.npz", x=x, y=np.array(["b", "a", "b", "a"]))
    data = read(tmp_path, Wanted())
    assert (data.kind, data.shape, data.classes) == (kind, found, ("a", "b"))
    channels_first = np.moveaxis(x, -1, 1) if shape[-1] == 3 else x
    np.testing.assert_array_equal(data.inputs, channels_first)


def test_fractions_become_bytes(tmp_path):
    np.savez(tmp_path / "data.npz", x=np.float32([[0, 0.5], [1, 0.25]]), y=[0, 1])
    data = read(tmp_path, Wanted())
    assert data.inputs.tolist() == [[0, 128], [255, 64]]
    assert "multiplied by 255" in data.notes[0]


@pytest.mark.parametrize(
    ("arrays", "complaint"),
    [
        ({"a": [1]}, "has arrays a, not x and y"),
        ({"x": np.zeros((3, 2)), "y": np.zeros(4)}, r"x is \(3, 2\) and y \(4,\)"),
        ({"x": np.zeros(3), "y": np.zeros(3)}, r"x is \(3,\)"),
        ({"x": np.float32([[-1], [1]]), "y": [0, 1]}, "from -1 to 1; inputs are bytes"),
        ({"x": np.float32([[np.nan], [1]]), "y": [0, 1]}, "NaN"),
        ({"x": np.zeros((2, 2, 2, 2, 2)), "y": [0, 1]}, "has 5 dimensions"),
        ({"x": np.array([["a"], ["b"]]), "y": [0, 1]}, "bytes can stand for"),
        ({"x": np.array([[None], [1]]), "y": [0, 1]}, "cannot be read as plain arrays"),
        ({"x": np.zeros((3, 2)), "y": [4, 4, 4]}, "only one class, '4'"),
        ({"x": np.zeros((300, 2)), "y": np.arange(300)}, "300 classes; labels are bytes, so 256 at most"),
    ],
)
def test_arrays_that_are_no_data_set(tmp_path, arrays, complaint):
    np.savez(tmp_path / "data.npz", **{name: np.asarray(array) for name, array in arrays.items()})
    with pytest.raises(DataError, match=complaint):
        read(tmp_path, Wanted())


def test_an_npz_that_is_none(tmp_path):
    (tmp_path / "data.npz").write_text("hello")
    assert "is not a .npz file" in refusal(tmp_path)


# --- texts ------------------------------------------------------------------------------------------------


def test_texts_and_labels(tmp_path):
    (tmp_path / "reviews.csv").write_text('\ufeffLabel,id,Text\ngood,1,"so, so good"\nbad,2,naß\ngood,3,ok\n')
    data = read(tmp_path, Wanted(tokens=5))
    assert (data.kind, data.shape, data.classes) == ("texts", (5,), ("bad", "good"))
    assert data.labels.tolist() == [1, 0, 1]
    assert [bytes(row) for row in data.inputs] == [b"so, s", "naß\0".encode(), b"ok\0\0\0"]
    assert data.notes == ("1 of 3 texts were cut to 5 bytes (--tokens)",)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "it names none"),
        (b"words,class\na,b\n", "it names words, class"),
        (b"text,label\na,x\nb\n", "line 3 has no label"),
        (b"text,label\n ,x\n", "line 2 has no text"),
        (b"text,label\ncaf\xe9,x\n", "byte 14 is not UTF-8; convert it"),
        (b'text,label\n"a,x\n', "is not CSV"),
        (b"text,label\na,x\nb,x\n", "only one class, 'x'"),
        (b"text,label\n", "has only no class"),
    ],
)
def test_tables_that_are_no_data_set(tmp_path, content, complaint):
    (tmp_path / "data.csv").write_bytes(content)
    with pytest.raises(DataError, match=complaint):
        read(tmp_path, Wanted())


def test_plain_text_whose_next_byte_is_to_be_told(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"abcdef")
    (tmp_path / "b.txt").write_bytes(b"ghi")
    data = read(tmp_path, Wanted(tokens=4))
    assert [bytes(row) for row in data.inputs] == [b"abcd", b"ef\ng"]
    assert [bytes(row) for row in data.labels] == [b"bcde", b"f\ngh"]
    assert (data.kind, len(data.classes)) == ("tokens", 256)
    assert "not one window of 64" in refusal(tmp_path)


# --- folders and splits -----------------------------------------------------------------------------------


def test_folders_that_say_nothing_or_too_much(tmp_path, pets):
    assert "no such file" in refusal(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "is empty; what can be read are pictures" in refusal(tmp_path / "empty")
    (tmp_path / "empty" / "x.doc").write_text("?")
    assert "has no data set" in refusal(tmp_path / "empty")
    np.savez(pets / "data.npz", x=np.zeros((2, 2)), y=[0, 1])
    assert "has data.npz and pictures; name the file" in refusal(pets)


def test_copies_are_left_out(tmp_path):
    np.savez(tmp_path / "data.npz", x=np.uint8([[1], [2], [1], [1]]), y=[0, 1, 0, 1])
    data = read(tmp_path, Wanted())
    assert (data.inputs.tolist(), data.labels.tolist()) == ([[1], [2], [1]], [0, 1, 1])
    assert data.notes == ("1 copies of other examples were left out",)


def test_the_seed_decides_who_is_held_out(tmp_path):
    x = np.arange(100, dtype=np.uint8)[:, None]
    np.savez(tmp_path / "data.npz", x=x, y=x[:, 0] % 3)
    data = read(tmp_path, Wanted())
    splits = split(data, 20, SEED)
    assert (splits.n_train, splits.n_heldout) == (80, 20)
    train, heldout = (
        unpack(file, split_manifest((1,), count))
        for file, count in ((splits.train, 80), (splits.heldout, 20))
    )
    there = np.concatenate([train["inputs"], heldout["inputs"]])[:, 0]
    assert sorted(there) == list(range(100)) and sorted(there[:80]) != list(range(80))
    np.testing.assert_array_equal(train["labels"], train["inputs"][:, 0] % 3)
    assert split(data, 20, SEED) == splits
    assert split(data, 20, SEED[:-1] + b"\1") != splits
    assert str(file_cid(splits.heldout)) == "bafkreiclzpk6tfukndzcuxy744wgz4iocjebtzcw6usdnaqmdtckuofb6y"


def test_a_class_that_would_only_be_held_out(tmp_path):
    np.savez(tmp_path / "data.npz", x=np.arange(9, dtype=np.uint8)[:, None], y=[0] * 8 + [1])
    data = read(tmp_path, Wanted())
    with pytest.raises(DataError, match="all examples of 1 would be held out"):
        for seed in range(100):
            split(data, 4, bytes([seed] * 32))
