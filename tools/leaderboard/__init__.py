"""The leaderboard: how well each method explains networks of which the truth is known, and real ones."""
