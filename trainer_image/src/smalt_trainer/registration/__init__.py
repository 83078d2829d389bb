"""Registration of a model: its files are proven, perhaps converted, and stored where runs cannot write, in three containers.

`source` brings and checks the files and executes nothing of them, `convert` is the only one that loads the model and has
no credentials, `register` stores what the other two have left and trusts neither of them.
"""
