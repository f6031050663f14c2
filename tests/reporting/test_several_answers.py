from lm_eval_codd.reporting.report import build_report
from lm_eval_codd.reporting.runs import read_folder
from tests.reporting.synthetic import write_run


def change(folder, **scores):
    """Results of ten answers a document, and these figures of the task."""
    import json

    (path,) = folder.glob("results_*.json")
    data = json.loads(path.read_text())
    task = data["results"]["codd_mbpp"]
    task |= {name.replace("__", ","): value for name, value in scores.items()}
    data["configs"]["codd_mbpp"]["repeats"] = 10
    path.write_text(json.dumps(data))


def test_pass_at_k_stands_with_its_error_over_documents(tmp_path):
    for circuit in (None, "il18/llada-mbpp-pc"):
        folder = write_run(tmp_path, [0.2, 0.4, 0.0, 1.0], benchmark="mbpp", circuit=circuit)
        change(folder, pass_at_10__extract_code=0.5, pass_at_10_stderr__extract_code=0.2887)
    built = build_report(read_folder(tmp_path))
    (table,) = [table for table in built.tables if table.title.endswith("pass@k in percent")]
    assert list(table.header[4:]) == ["documents", "answers each", "pass@1", "pass@10"]
    assert [row[3:] for row in table.rows] == [
        ["base", "4", "10", "40.00 ± 1.00", "50.00 ± 28.87"],
        ["CoDD", "4", "10", "40.00 ± 1.00", "50.00 ± 28.87"],
    ]
    (accuracy,) = [table for table in built.tables if "accuracy in percent" in table.title]
    assert accuracy.rows[2][2:] == ["+0.00 (p 1.00) [a]"]
    assert "[a] p of a paired t-test over documents, which have several answers each" in accuracy.notes


def test_a_task_of_one_answer_has_no_such_table(tmp_path):
    write_run(tmp_path, [1, 0], benchmark="mbpp")
    assert not any("pass@k" in table.title for table in build_report(read_folder(tmp_path)).tables)
