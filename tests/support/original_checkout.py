"""Task files in the form of the original benchmark's, with lines of our own: two a task."""

import json

import yaml

#: Where a checkout of the original has its task files.
PLACE = "dataset/parallel_bench/data/output/test"

LINE = ["Ada Moss", "Ben Stone", "Cy Hill"]
OTHERS = ["Eve Lake", "Fay Ford", "Gus Wood", "Hal Dale"]
NEW, OTHER_NEW = "Di Reed", "Ira Glen"
LONG = [f"{name} {family}" for family in ("Moss", "Lake", "Hill") for name in "ABCDE"]

#: The tasks of waiting lines.
WAITING = ["copy", "reverse", "sort", "shuffle"] + [
    f"{change}_{place}"
    for change in ("insert", "remove", "replace")
    for place in ("index", "random")
]
METRICS = {
    "shuffle": "list_shuffle_score",
    "insert_random": "list_random_insert_score",
    "remove_random": "list_random_remove_score",
    "replace_random": "list_random_replace_score",
}


def changed(task, line, new, place):
    """What a task makes of a list, with the new name and a place counted from 0."""
    if task in ("copy", "reverse", "sort", "shuffle"):
        return {
            "copy": line,
            "reverse": line[::-1],
            "sort": sorted(line),
            "shuffle": [*line[1:], line[0]],
        }[task]
    put = [] if task.startswith("remove") else [new]
    rest = line[place if task.startswith("insert") else place + 1 :]
    return [*line[:place], *put, *rest]


def waiting_line(task, line, new, place):
    """A line of a task file without worked examples."""
    right = json.dumps(changed(task, line, new, place))
    row = {"input": {"context": json.dumps(line)}, "answer": right}
    row["metadata"] = {"length": len(line)}
    if task in METRICS:
        row["answer"] = {"input": line, "example": right}
        row["metadata"]["index"] = None
    if task.endswith("_index"):
        row["input"]["index"] = row["metadata"]["index"] = place
    if task.startswith(("insert", "replace")):
        row["input"]["word"] = row["metadata"]["word"] = new
        if task in METRICS:
            row["answer"]["word"] = new
    if not task.startswith(("remove", "reverse", "sort")):
        row["output_format"] = json.dumps(["[MASK]"] * len(json.loads(right)))
    return row


def shown(row, example):
    """The line with another one as its worked example."""
    return {**row, "input": {**row["input"], "icl_examples": [example]}}


def waiting_lines(task, line, other):
    """Two lines of a task file, each the worked example of the other."""
    first = waiting_line(task, line, NEW, 1)
    second = waiting_line(task, other, OTHER_NEW, 2)
    return [shown(first, second), shown(second, first)]


def latin_square(symbols, example):
    told = {"size": len(symbols), "symbols": f"[{', '.join(symbols)}]"}
    answer = {"symbols": list(symbols), "example": example}
    return {"input": told, "answer": answer, "metadata": {"length": len(symbols)}}


def sudoku(asked, answer):
    return {"input": {"sudoku": asked}, "answer": answer, "metadata": {"length": 12}}


SQUARES = [
    latin_square("P3XK", "P,3,X,K\n3,P,K,X\nX,K,P,3\nK,X,3,P"),
    latin_square("7BQM", "B,7,M,Q\nQ,M,B,7\n7,B,Q,M\nM,Q,7,B"),
]
SUDOKUS = [
    sudoku("1204\n3412\n2043\n0321", "1234\n3412\n2143\n4321"),
    sudoku("4320\n2143\n3012\n1204", "4321\n2143\n3412\n1234"),
]


def sentence(words, example=None):
    told = f"{', '.join(words[:-1])}, and {words[-1]}"
    answer = {"words": words, **({} if example is None else {"example": example})}
    return {"input": {"words": told}, "answer": answer, "metadata": {}}


SENTENCES = [
    sentence(["cat", "mat", "sun"], "A cat sat on a mat in the sun."),
    sentence(["boat", "lake", "rope"]),
]


def summary(text, said):
    return {"input": {"text": text}, "answer": {"text": text, "summary": said}}


SUMMARIES = [
    summary("Ann: Tea?\nBob: Yes.", "Bob wants some tea."),
    summary("Cy: Late again.\nDi: Sorry!", "Di came late and is sorry."),
]


def paraphrase(text, *examples):
    return {"input": {"text": text}, "answer": {"text": text, "examples": str(list(examples))}}


PARAPHRASES = [
    paraphrase("The clock stopped at midnight.", "At twelve the clock stood still.", "It stopped."),
    paraphrase("Who's the owner?", "Whose is it?", 'Say: "Who owns it?"'),
]

SHOWN_SQUARES = [shown(SQUARES[0], SQUARES[1]), shown(SQUARES[1], SQUARES[0])]
SHOWN_SUDOKUS = [shown(SUDOKUS[0], SUDOKUS[1]), shown(SUDOKUS[1], SUDOKUS[0])]
ROWS = {
    **{f"waiting_line/{task}": waiting_lines(task, LINE, OTHERS) for task in WAITING},
    **{f"waiting_line_n15/{task}": waiting_lines(task, LONG, LONG[::-1]) for task in WAITING},
    "puzzle/latin_square_n4": SHOWN_SQUARES,
    "puzzle/sudoku_n4_12": SHOWN_SUDOKUS,
    **{f"words_to_sentence/{level}": SENTENCES for level in ("easy", "medium", "hard")},
    "paraphrase_summarize/samsum": SUMMARIES,
    "paraphrase_summarize/chatgpt-paraphrases": PARAPHRASES,
}
#: Metric and prompt, by the part of a task's name.
ASKED = {
    "insert": ("", 'Let "{word}" into this line.\n\n{context}\n'),
    "replace": ("", 'Put "{word}" into this line.\n\n{context}'),
    "latin_square": ("latin_square_score", "A Latin square: size {size}, symbols {symbols}."),
    "sudoku": ("sudoku_score", r"Fill in the zeros.\n\nGiven:\n{sudoku}\n"),
    "words_to_sentence": ("sentence_to_words_score", "Write a sentence with {words}."),
    "samsum": ("summary_score", "Sum up:\n\n{text}\n"),
    "paraphrases": ("paraphrase_score", "In other words: {text}"),
}


def config(task):
    """What the configuration says of a task; the fields of generators are of no use to us."""
    metric, prompt = next((told for part, told in ASKED.items() if part in task), ("", ""))
    own = METRICS.get(task.partition("/")[2], "list_match_score")
    prompt = prompt or "This is a waiting line.\n\n{context}\n\nDo what " + task + " says.\n"
    prompt = f"At place {{index}}. {prompt}" if task.endswith("_index") else prompt
    told = {"name": task, "metric": metric or own, "prompt": prompt, "num_samples": 2}
    return {**told, "type": "copy", "seed": 7, "words": "names.yaml", "icl_example_count": 1}


def write_checkout(root, rows=ROWS):
    """Write task files below a checkout's root; return the folder that holds the groups."""
    folder = root / PLACE
    for task, lines in rows.items():
        file = folder / f"{task}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        # The original writes some files tightly.
        file.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
    for group in {task.partition("/")[0] for task in rows}:
        told = {task: config(task) for task in rows if task.startswith(f"{group}/")}
        (folder / group / "task_config.yaml").write_text(yaml.safe_dump(told))
    return folder
