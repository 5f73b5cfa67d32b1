//! Parquet tables to plain vectors, with every fault named.

use std::fs::File;
use std::path::Path;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReaderBuilder, RowSelection, RowSelector};

use super::{DatasetError, Result};

/// Rows that are read from a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rows {
    All,
    /// First row and number of rows.
    Some(usize, usize),
}

/// An open table.
pub(super) struct Table {
    builder: ParquetRecordBatchReaderBuilder<File>,
    path: std::path::PathBuf,
}

impl Table {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| DatasetError::io(path, e))?;
        let builder = guard(path, || {
            ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| {
                let text = e.to_string();
                let cut = text.contains("footer") || text.contains("EOF") || text.contains("magic");
                DatasetError::broken(
                    path,
                    if cut {
                        "the table has no footer: its recording was not closed, or the copy is cut off"
                            .to_owned()
                    } else {
                        format!("the table is damaged ({text})")
                    },
                )
            })
        })?;
        Ok(Self { builder, path: path.to_owned() })
    }

    pub(super) fn rows(&self) -> usize {
        usize::try_from(self.builder.metadata().file_metadata().num_rows()).unwrap_or(0)
    }

    /// Top-level columns in order.
    pub(super) fn columns(&self) -> Vec<(String, DataType)> {
        self.builder.schema().fields().iter().map(|f| (f.name().clone(), f.data_type().clone())).collect()
    }

    /// Reads the columns that `wanted` picks, as one batch.
    pub(super) fn read(self, rows: Rows, wanted: impl Fn(&str) -> bool) -> Result<RecordBatch> {
        let Self { builder, path } = self;
        let broken = |e: String| DatasetError::broken(&path, format!("the table is damaged ({e})"));
        let total = usize::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0);
        let indices: Vec<usize> = builder
            .schema()
            .fields()
            .iter()
            .enumerate()
            .filter(|(_, f)| wanted(f.name()))
            .map(|(i, _)| i)
            .collect();
        let mask = ProjectionMask::roots(builder.parquet_schema(), indices);
        let mut builder = builder.with_projection(mask);
        if let Rows::Some(start, count) = rows {
            if start.checked_add(count).is_none_or(|end| end > total) {
                let what = format!("it has {total} rows where {} are expected", start.saturating_add(count));
                return Err(DatasetError::broken(&path, what));
            }
            let selection = vec![RowSelector::skip(start), RowSelector::select(count)];
            builder = builder.with_row_selection(RowSelection::from(selection));
        }
        guard(&path, || {
            let reader = builder.with_batch_size(1 << 16).build().map_err(|e| broken(e.to_string()))?;
            let mut batches = Vec::new();
            for batch in reader {
                batches.push(batch.map_err(|e| broken(e.to_string()))?);
            }
            let schema = match batches.first() {
                Some(batch) => batch.schema(),
                None => return Err(DatasetError::broken(&path, "the table has no rows")),
            };
            arrow::compute::concat_batches(&schema, &batches).map_err(|e| broken(e.to_string()))
        })
    }
}

/// Runs a reader of someone else's; a panic in it becomes an error about the file.
fn guard<T>(path: &Path, run: impl FnOnce() -> Result<T>) -> Result<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run))
        .unwrap_or_else(|_| Err(DatasetError::broken(path, "the table is damaged (its reader gave up)")))
}

/// The numbers of a column, nested lists flattened: width of a row and `rows x width` values; nulls are NaN.
/// `None` for other types and rows of unequal length.
pub(super) fn numbers(array: &ArrayRef) -> Option<(usize, Vec<f64>)> {
    let rows = array.len();
    let mut inside = array.clone();
    loop {
        inside = match inside.data_type() {
            DataType::FixedSizeList(_, _) => inside.as_fixed_size_list().values().clone(),
            DataType::List(_) => {
                let list = inside.as_list::<i32>();
                if list.null_count() > 0 {
                    return None;
                }
                let (from, to) =
                    (*list.value_offsets().first()? as usize, *list.value_offsets().last()? as usize);
                equal_steps(list.value_offsets().iter().map(|o| i64::from(*o)))?;
                list.values().slice(from, to.checked_sub(from)?)
            }
            DataType::LargeList(_) => {
                let list = inside.as_list::<i64>();
                if list.null_count() > 0 {
                    return None;
                }
                let (from, to) =
                    (*list.value_offsets().first()? as usize, *list.value_offsets().last()? as usize);
                equal_steps(list.value_offsets().iter().copied())?;
                list.values().slice(from, to.checked_sub(from)?)
            }
            _ => break,
        };
    }
    let numeric = inside.data_type().is_numeric() || *inside.data_type() == DataType::Boolean;
    if !numeric || rows == 0 || inside.len() % rows != 0 {
        return None;
    }
    let wide = cast(&inside, &DataType::Float64).ok()?;
    let wide = wide.as_primitive::<Float64Type>();
    Some((inside.len() / rows, wide.iter().map(|x| x.unwrap_or(f64::NAN)).collect()))
}

/// As [`numbers`], in 32 bits without a detour for columns that are already so.
pub(super) fn numbers_f32(array: &ArrayRef) -> Option<(usize, Vec<f32>)> {
    if *array.data_type() == DataType::Float32 && array.null_count() == 0 {
        return Some((1, array.as_primitive::<Float32Type>().values().to_vec()));
    }
    let (width, values) = numbers(array)?;
    Some((width, values.into_iter().map(|x| x as f32).collect()))
}

fn equal_steps(mut offsets: impl Iterator<Item = i64>) -> Option<()> {
    let mut last = offsets.next()?;
    let mut step = None;
    for offset in offsets {
        let this = offset - last;
        if *step.get_or_insert(this) != this {
            return None;
        }
        last = offset;
    }
    Some(())
}

/// A column of whole numbers.
pub(super) fn integers(batch: &RecordBatch, name: &str) -> Option<Vec<i64>> {
    let wide = cast(batch.column_by_name(name)?, &DataType::Int64).ok()?;
    let wide = wide.as_primitive::<Int64Type>();
    wide.iter().collect()
}

/// A column of 64-bit floats.
pub(super) fn doubles(batch: &RecordBatch, name: &str) -> Option<Vec<f64>> {
    numbers(batch.column_by_name(name)?).filter(|(width, _)| *width == 1).map(|(_, values)| values)
}

/// A column of texts; nulls are empty.
pub(super) fn texts(array: &ArrayRef) -> Option<Vec<String>> {
    let plain = cast(array, &DataType::Utf8).ok()?;
    let plain = plain.as_any().downcast_ref::<StringArray>()?;
    Some(plain.iter().map(|t| t.unwrap_or_default().to_owned()).collect())
}

/// A column of lists of texts.
pub(super) fn text_lists(array: &ArrayRef) -> Option<Vec<Vec<String>>> {
    let lists: Vec<ArrayRef> = match array.data_type() {
        DataType::List(_) => (0..array.len()).map(|i| array.as_list::<i32>().value(i)).collect(),
        DataType::LargeList(_) => (0..array.len()).map(|i| array.as_list::<i64>().value(i)).collect(),
        _ => return texts(array).map(|t| t.into_iter().map(|t| vec![t]).collect()),
    };
    lists.iter().map(texts).collect()
}

/// The bytes in a column of `struct<bytes, path>` or of bytes.
pub(super) fn blobs(array: &ArrayRef) -> Option<Vec<Option<Vec<u8>>>> {
    let bytes = match array.data_type() {
        DataType::Struct(_) => array.as_struct().column_by_name("bytes")?.clone(),
        _ => array.clone(),
    };
    let plain = cast(&bytes, &DataType::Binary).ok()?;
    let plain = plain.as_any().downcast_ref::<BinaryArray>()?;
    Some(plain.iter().map(|b| b.map(<[u8]>::to_vec)).collect())
}
