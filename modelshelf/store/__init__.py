"""Content by digest. Nothing can be opened under a digest that its bytes do not have.

begin -> write -> commit -> open. `contract.Store` says what every kind of store keeps true; `directory` is the one on
a file system. A store knows nothing of models: which content belongs to whom is the catalog's.
"""
