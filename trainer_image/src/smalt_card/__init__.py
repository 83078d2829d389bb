"""The model card: what is known of a registered model on one page, and as Markdown.

A program of its own, with neither network nor password: most of what it shows was written by whoever ran something.
"""
