"""One ClickHouse connection, embedded or over HTTP: address, features, errors, retries, locks."""
