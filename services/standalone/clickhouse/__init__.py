"""An embedded ClickHouse: the chDB engine behind enough of ClickHouse's HTTP interface.

One process owns the data; every service, test and SQL client speaks to it over the same protocol as to
a real server. What it does not do: TLS, users beyond one, replication, external tables and
cancellation (a query ends by itself or by ``max_execution_time``; closing the connection does not stop it).
"""
