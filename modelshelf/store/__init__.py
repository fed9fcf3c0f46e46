"""Content by digest. Nothing can be opened under a digest that its bytes do not have.

begin -> write -> commit -> open. `contract.Store` says what every kind of store keeps true, and `tests/store/suite.py` holds
each kind to it; `directory` is the one on a file system. From one store to another a blob delivers itself (`Store.body`), by
whatever way that store has; `LocalStore` is the contract of those whose blobs a node on the same file system links to.

    arriving      invisible; kept when its process dies; resumed by the next one that fetches the same
    committed     durable, read-only, its bytes have the digest that it is opened by
    deleted       by whoever holds the digest's lock and looked again whether that is still meant (decision 0020)

A stamp (decision 0019) is what can be seen of a blob without reading it: as long as it stays equal, nobody touched the blob.

A store knows nothing of models: which content belongs to whom is the catalog's. Nobody outside this package opens a file of a
store by its path, but for a node that links to it (`LocalStore.path_of`), and never writes through that.
"""
