"""Tasks of LLaDA's copy of OpenCompass by what they ask for, and what they ask of their first row."""

GSM8K = ("codd_gsm8k_llada", "codd_gsm8k_llada_base")
MATH = ("codd_math_llada", "codd_math_llada_base")
CODE = ("codd_mbpp_llada", "codd_mbpp_llada_base", "codd_humaneval_llada_base")
CHOICES = ("codd_arc_llada", "codd_hellaswag_llada", "codd_mmlu_pro_llada", "codd_mmlu_llada")
# Those whose configuration is in OpenCompass itself.
OFFICIAL = (*GSM8K, *MATH, *CODE[:2], *CHOICES)


def messages_of(task, **given):
    """Of the first row, as a chat template gets them."""
    seen = []

    def template(messages, add_generation_prompt):
        assert add_generation_prompt
        seen.append([(message["role"], message["content"]) for message in messages])
        return ""

    task.build_all_requests(apply_chat_template=True, chat_template=template, **given)
    return seen[0]


def text_of(task):
    """The first row's prompt without a chat template."""
    task.build_all_requests()
    return task.instances[0].args[0]
