"""Every fact, in one database. Only this package knows SQL.

Queries are functions over a connection within a transaction (`database.Catalog.writing` or `.reading`), and each takes
the project that asks. What the catalog says is published is published; stores and nodes only hold bytes.
"""
