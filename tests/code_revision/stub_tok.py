"""A small reversible tokenizer, the one that the benchmark's goldens were made with.

Pieces, the first that fits: newlines; up to four letters, with one blank before them; an operator of two characters;
any other character; blanks. A piece's id comes from its checksum; 0 pads, 1 is the mask, 2 ends.
"""

import re
import zlib

PIECE = re.compile(r"\n+| ?[A-Za-z0-9_]{1,4}| ?(?:>=|<=|==|!=|>>|<<)| ?[^\sA-Za-z0-9_]| +(?= )| |[\t\r]")
SPECIAL = {0: "", 1: "<M>", 2: ""}


class StubTokenizer:
    def __init__(self):
        self.pieces = dict(SPECIAL)

    def encode(self, text, add_special_tokens=False):
        return [self._id(match[0]) for match in PIECE.finditer(text)]

    def decode(self, ids, skip_special_tokens=False, clean_up_tokenization_spaces=False):
        return "".join("" if skip_special_tokens and one in SPECIAL else self.pieces[one] for one in ids)

    def _id(self, piece):
        number = 1000 + zlib.crc32(piece.encode()) % 1_000_000
        assert self.pieces.setdefault(number, piece) == piece
        return number
