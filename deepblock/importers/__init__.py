"""From what people have in a folder to the two splits of a task.

    pictures in subfolders, one a class      reviews.csv, with columns text and label
    data.npz, with arrays x and y            *.txt, any text, of which the next byte is to be told

What is done to the data on the way is said in the notes of the `Dataset`, as people should know it.
"""

from deepblock.importers.dataset import Dataset, Splits, split
from deepblock.importers.folder import Wanted, read

__all__ = ["Dataset", "Splits", "Wanted", "read", "split"]
