//! Action files: CSV, JSON or Parquet to named channels and rows.
