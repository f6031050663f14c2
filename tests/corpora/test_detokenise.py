"""What the rules make of text as the corpora have it."""

import pytest
from lm_eval.tasks.wikitext.preprocess_wikitext import wikitext_detokenizer

from lm_eval_codd.corpora.detokenise import NAMES, detokenise

EXAMPLES = {
    "wikitext": (
        " = Robert Boulter = \n The boys ' team won 1 @,@ 234 @.@ 5 points , a 4 @-@ year record ( since 1999 ) ; "
        'he said " no " . \n',
        ' = Robert Boulter =\nThe boys\' team won 1,234.5 points, a 4-year record (since 1999); he said "no".\n',
    ),
    "ptb": (
        "mr. <unk> 's shares rose N N to $ N a share and do n't fall 1\\/2",
        "mr. ?'s shares rose 1 1 to $1 a share and don't fall 1/2",
    ),
    "lm1b": (
        'He said , " it \'s fine " ( really ) ; see http : / / x.org . Is it ? $ 5 , £ 6 .',
        'He said, "it\'s fine" (really); see http://x.org . Is it? $5, £6.',
    ),
    "lambada": ("  “ no , ” he said .\n", '\n" no , " he said .'),
    "none": (" as it , is \n", " as it , is \n"),
    "scientific_papers": (
        "the authors ' model ( see [ 1 ] ) is good . is it ?",
        "the authors' model (see [1]) is good. is it?",
    ),
}


@pytest.mark.parametrize("name", NAMES)
def test_examples(name):
    text, written = EXAMPLES[name]
    assert detokenise(text, name) == written


def test_wikitexts_are_lm_evals_own():
    pieces = [
        " @-@ ",
        " , ",
        "( ",
        " )",
        '" ',
        "= = = =",
        " \n",
        " 's",
        "s '",
        "/' 5/",
        " ° ",
        " N ",
        "a",
        " ",
        "'",
        "{",
        "}",
    ]
    for number in range(3000):
        text = "".join(pieces[(number * 7919 + place * place * 31) % len(pieces)] for place in range(number % 17))
        assert detokenise(text, "wikitext") == wikitext_detokenizer({"page": text})
