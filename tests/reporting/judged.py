"""What `check --against SOURCE` finds of a results folder."""

from lm_eval_codd.reporting.against_atlas import check_against_atlas
from lm_eval_codd.reporting.runs import read_folder

ROW = "llada:llada-base.gsm8k.pure1024"


def check(folder, against, level=0.01):
    folder.mkdir(exist_ok=True)
    return check_against_atlas(read_folder(folder), against, level=level)


def one(folder, against=ROW):
    (judged,) = check(folder, against).cells
    return judged
