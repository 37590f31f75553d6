"""The peers in Python, run by an interpreter with their own pinned packages (requirements.txt)."""
