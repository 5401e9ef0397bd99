"""Small folders of published results in the original's form, made up here."""

import copy
import json

MODEL = "made-up/Tiny-7B"
RUN = "20260101_000000_all"
#: By task: its label, a right reply as the label's form has it, and a wrong one.
TASKS = {
    "waiting_line_copy": ('["Ada B", "Ben C"]', '["Ada B", "Ben C"]', '["Ben C", "Ada B"]'),
    "waiting_line_reverse": ('["Ben C", "Ada B"]', '["Ben C", "Ada B"]', "[]"),
    "waiting_line_sort": ('["Ada B", "Ben C"]', '["Ada B", "Ben C"]', '["Ada B"]'),
    "waiting_line_insert_index": ('["Ada B", "Cy D"]', '["Ada B", "Cy D"]', "Ada B"),
    "waiting_line_remove_index": ('["Ada B", "Cy D"]', '["Ada B", "Cy D"]', ""),
    "waiting_line_replace_index": ('["Ada B", "Cy D"]', '["Ada B", "Cy D"]', "no"),
    "waiting_line_n15_copy": ('["Ada B", "Cy D"]', '["Ada B", "Cy D"]', "no"),
    "waiting_line_shuffle": (
        {"input": ["Ada B", "Ben C", "Cy D"], "example": '["Cy D", "Ben C", "Ada B"]'},
        '["Ben C", "Ada B", "Cy D"]',
        '["Ada B", "Ben C", "Cy D"]',
    ),
    "waiting_line_insert_random": (
        {"input": ["Ada B", "Ben C"], "word": "Cy D", "example": '["Ada B", "Cy D", "Ben C"]'},
        '["Cy D", "Ada B", "Ben C"]',
        '["Ada B", "Ben C"]',
    ),
    "waiting_line_remove_random": (
        {"input": ["Ada B", "Ben C", "Cy D"], "example": '["Ada B", "Cy D"]'},
        '["Ben C", "Cy D"]',
        '["Ada B", "Ben C", "Cy D"]',
    ),
    "waiting_line_replace_random": (
        {"input": ["Ada B", "Ben C"], "word": "Cy D", "example": '["Ada B", "Cy D"]'},
        '["Cy D", "Ben C"]',
        '["Cy D", "Cy D"]',
    ),
    "puzzles_latin_square_n4": (
        {"symbols": ["K", "7", "Q", "X"], "example": "K,7,Q,X\n7,K,X,Q\nQ,X,K,7\nX,Q,7,K"},
        "7,K,X,Q\nK,7,Q,X\nQ,X,K,7\nX,Q,7,K",
        "K,7\n7,K",
    ),
    "puzzles_sudoku_n4": ("1234\n3412\n2143\n4321", "1234\n3412\n2143\n4321", "1234"),
    "text_writing_words_to_sentence_easy": (
        {"words": ["river", "moss"], "example": None},
        "The river feeds the moss.",
        "",
    ),
    "text_writing_summarization": (
        {"text": "Ada: tea?\nBen: yes!", "summary": "Ben wants tea."},
        "Ben would like tea.",
        "",
    ),
    "text_writing_paraphrasing": (
        {"text": "It rains.", "examples": "['Rain falls.', \"It's raining.\"]"},
        "Rain is falling.",
        "",
    ),
}
LISTS = tuple(task for task in TASKS if task.startswith("waiting_line"))
#: Tokens of the canvas by how a task's name begins.
CANVAS = {"waiting_line_n15": 128, "waiting_line": 32, "puzzles": 64, "text_writing": 64}
#: By strategy: the name of a folder, and the request that it stands for.
SETTINGS = {
    "random": ("k2", {"k": 2}),
    "left_to_right": ("k1", {"k": 1}),
    "confidence_topk": ("k16", {"k": 16}),
    "entropy_topk": ("k4", {"k": 4}),
    "topk_margin": ("k8", {"k": 8}),
    "confidence_threshold": ("t0.9", {"alg_threshold": 0.9}),
    "confidence_factor": ("f1.3", {"alg_factor": 1.3}),
    "klass": (
        "conf_threshold0.95_kl_history_length2_kl_threshold0.01",
        {"conf_threshold": 0.95, "kl_threshold": 0.01, "kl_history_length": 2},
    ),
    "slowfast": (
        "sf_cycle_confidence_threshold0.3_sf_high_confidence_threshold1",
        {"sf_cycle_confidence_threshold": 0.3, "sf_high_confidence_threshold": 1.0},
    ),
    "dus": (
        "bl4_dus_base2_dus_remasking_threshold0.3",
        {"block_length": 4, "dus_base": 2, "dus_remasking_threshold": 0.3},
    ),
}


def line(task, index, *, right, strategy="random", nfe=16, request=None):  # noqa: PLR0913  what a line may differ in
    """Return a line of samples: the question with this number, rightly answered or not."""
    label, good, bad = copy.deepcopy(TASKS[task])
    group = next(each for each in CANVAS if task.startswith(each))
    tokens = CANVAS[group]
    text = {} if task.startswith("text_writing") else {"score_strict": float(right)}
    asked = {"max_tokens": tokens, "unmasking": strategy, **(request or SETTINGS[strategy][1])}
    return {
        "doc_id": index,
        "doc": {
            "messages": [
                {"role": "user", "content": f"An example for {task}"},
                {"role": "assistant", "content": "its answer"},
                {"role": "user", "content": f"{task}, question {index}"},
            ],
            "label": label,
            "metadata": {"length": 2},
            "index": index,
            "output_prefix": None,
        },
        "target": str(label),
        "arguments": {"gen_args_0": {"arg_0": "the rendered prompt", "arg_1": asked}},
        "resps": [[good if right else bad]],
        "filtered_resps": [good if right else bad],
        "filter": "none",
        "metrics": ["score", "nfe"],
        "doc_hash": "0",
        "score": float(right),
        **text,
        "nfe": float(nfe),
        "tokens_per_step": tokens / nfe,
        "input_length": 30.0,
        "output_length": 9.0,
    }


def write(folder, task, lines, *, strategy="random", settings=None, run=RUN):  # noqa: PLR0913  parts of a path
    """Write ``lines`` as the samples of a task; return the file."""
    place = folder / MODEL.replace("/", "__") / strategy / (settings or SETTINGS[strategy][0]) / run
    place.mkdir(parents=True, exist_ok=True)
    (place / "results_parallelbench.json").write_text(json.dumps({"model_name": MODEL}))
    file = place / f"samples_parallelbench_{task}.jsonl"
    file.write_text("".join(json.dumps(each) + "\n" for each in lines))
    return file
