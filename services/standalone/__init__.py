"""The whole pipeline on one machine: a supervisor, an embedded Valkey and an embedded ClickHouse."""
