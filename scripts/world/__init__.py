"""The small world the embedded base model knows: its facts, how they are said, and how they are asked for."""
