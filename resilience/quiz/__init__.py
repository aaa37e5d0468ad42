"""The game as pure rules: questions, phases, answers, scores. Knows no sockets, sessions or storage."""
