from lima.evaluation.checkpoint_selection import select_best
from lima.records import EpochScore


def scored(epoch, score):
    return EpochScore(
        epoch=epoch,
        checkpoint=f"epoch-{epoch:02}",
        digest="0",
        held_out_perplexity=9.0 - epoch,
        ended=1.0,
        win=score,
        tie=0.0,
        lose=0.0,
        score=score,
    )


def test_the_highest_score_is_selected_and_on_a_tie_the_earliest_epoch():
    assert select_best([scored(5, 0.1), scored(7, 0.4), scored(6, 0.4), scored(8, 0.2)]).epoch == 6
