"""The trace: enough to replay a decode and to derive everything about its order."""

import pytest

from parallelbench.trace import Trace

MASK = 9


def trace(*steps):
    made = Trace()
    for positions, ids in steps:
        made.add(positions, ids, rows=1, row_tokens=5, auxiliary_calls=0)
    return made


#: Write 1 at 0 and 2 at 1; open 0 again, rewrite 1 with what it holds; write 3 at 0, 4 at 1.
REVISED = trace(([0, 1], [1, 2]), ([0, 1], [MASK, 2]), ([0, 1], [3, 4]))


def test_replaying_gives_the_final_canvas():
    assert REVISED.replay([MASK, MASK, MASK]) == [3, 4, MASK]
    assert trace().replay([7]) == [7]


def test_there_is_a_canvas_before_the_first_step_and_after_every_step():
    canvases = list(REVISED.canvases([MASK, MASK, MASK]))
    assert canvases == [[MASK] * 3, [1, 2, MASK], [MASK, 2, MASK], [3, 4, MASK]]
    assert list(trace().canvases([7])) == [[7]]


def test_replaying_leaves_the_initial_canvas_alone():
    initial = [MASK, MASK]
    REVISED.replay(initial)
    assert initial == [MASK, MASK]


def test_pre_filled_positions_stand():
    assert trace(([1], [5])).replay([8, MASK]) == [8, 5]


def test_the_first_commit_is_the_first_token_written():
    assert REVISED.first_commit(3, MASK) == [0, 0, None]
    assert trace(([0], [MASK]), ([0], [1])).first_commit(1, MASK) == [1]


def test_the_last_commit_is_the_last_change():
    assert REVISED.last_commit(3, MASK) == [2, 2, None]


def test_writing_what_already_stands_there_is_no_change():
    again = trace(([0], [1]), ([0], [1]))
    assert again.last_commit(1, MASK) == [0]
    assert again.revisions(MASK) == 0


def test_a_position_that_was_opened_again_and_left_so_has_no_last_commit():
    opened = trace(([0], [1]), ([0], [MASK]))
    assert opened.last_commit(1, MASK) == [None]
    assert opened.first_commit(1, MASK) == [0]


def test_a_revision_is_a_token_opened_again_or_replaced():
    # 0 is opened (1), and then filled, which is none; 1 is replaced (2).
    assert REVISED.revisions(MASK) == 2


def test_a_step_without_a_row_is_no_model_call():
    resting = Trace()
    resting.add([0], [1], rows=0, row_tokens=0, auxiliary_calls=0)
    resting.add([1], [1], rows=3, row_tokens=9, auxiliary_calls=0)
    assert resting.nfe == 1


@pytest.mark.parametrize("position", [2, -1])
def test_writing_outside_the_canvas_is_refused(position):
    outside = trace(([0], [1]), ([position], [1]))
    with pytest.raises(ValueError, match=f"step 1 writes position {position} of a canvas of 2"):
        outside.replay([MASK, MASK])


def test_columns_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match=r"columns of \[1, 1, 1, 0, 1\] steps"):
        Trace(positions=[[0]], ids=[[1]], rows=[1], row_tokens=[], auxiliary_calls=[0])


def test_a_step_with_more_ids_than_positions_is_refused():
    with pytest.raises(ValueError, match="step 0 writes 2 ids at 1 positions"):
        Trace(positions=[[0]], ids=[[1, 2]], rows=[1], row_tokens=[5], auxiliary_calls=[0])
