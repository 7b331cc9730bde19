"""The leaderboard: how well each method explains networks with known ground truth, and real ones."""
