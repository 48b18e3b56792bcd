"""The loop that carries a run out: facts are folded, a decision is made, its action is carried out."""
