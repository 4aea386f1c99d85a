"""How scenes and results are shown: colours, stretch, words for kinds of pixels, pictures as text."""
