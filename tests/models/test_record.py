"""What a result says about answers that came from logits which were not numbers."""

from types import SimpleNamespace

from lm_eval_codd import DecodingConfig
from lm_eval_codd.decoding import Generation
from lm_eval_codd.models.journal import Answer
from lm_eval_codd.models.record import Record, Totals


def a_model():
    return SimpleNamespace(
        tokenizer=SimpleNamespace(chat_template=None), config=DecodingConfig(), circuit=None, max_length=9
    )


class TestNonfiniteLogits:
    def test_are_counted_by_answer_and_by_step(self):
        totals = Totals()
        for number in (0, 3, 0, 1):
            totals.add(Answer(Generation([1, 2], 2, 8, num_nonfinite=number), 0.0))
        assert (totals.requests, totals.nonfinite_answers, totals.nonfinite_steps) == (4, 2, 4)

    def test_are_said_in_the_log_once(self, caplog):
        record = Record()
        record.totals.add(Answer(Generation([1], 1, 8, num_nonfinite=3), 0.0))
        for _ in range(2):
            record.log_warnings(a_model())
        (message,) = [entry.getMessage() for entry in caplog.records]
        assert message.startswith("in 1 of 1 answers the backbone's logits held NaN or +inf, or ruled out every token")
        assert "(3 of 8 evaluations)" in message
        assert "\n" not in message

    def test_where_there_were_none_nothing_is_said(self, caplog):
        record = Record()
        record.totals.add(Answer(Generation([1], 1, 8), 0.0))
        record.log_warnings(a_model())
        assert not caplog.records
