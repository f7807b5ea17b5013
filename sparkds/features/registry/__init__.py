"""Registry of feature tables: definitions by column, versions, lineage, and what a catalog is told of them."""
