"""The verbs of ``parallelbench leaderboard``, and what they carry out."""
