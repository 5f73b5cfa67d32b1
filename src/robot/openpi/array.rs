//! Numpy arrays inside msgpack, as `msgpack-numpy` writes them: a map of `__ndarray__`, `data`, `dtype` and `shape` with
//! keys of bytes. What an array says of itself is checked against the bytes that are there.

use super::msgpack::Value;

/// An array of numbers; pictures stay bytes.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Size in each dimension; the product is the number of numbers.
    pub shape: Vec<usize>,
    /// The numbers.
    pub data: Data,
}

/// Numbers of an array, in C order.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// `uint8`.
    Bytes(Vec<u8>),
    /// Any other kind of number.
    Numbers(Vec<f64>),
}

/// Most dimensions.
const DIMENSIONS: usize = 8;

impl Array {
    /// Rows of numbers as a two-dimensional array.
    pub fn rows(rows: &[Vec<f32>]) -> Self {
        let numbers = rows.iter().flatten().map(|v| f64::from(*v)).collect();
        Self { shape: vec![rows.len(), rows.first().map_or(0, Vec::len)], data: Data::Numbers(numbers) }
    }

    /// A row of numbers.
    pub fn row(row: &[f64]) -> Self {
        Self { shape: vec![row.len()], data: Data::Numbers(row.to_vec()) }
    }

    /// A picture: height, width, 3.
    pub fn picture(frame: &crate::Frame) -> Self {
        Self { shape: vec![frame.height, frame.width, 3], data: Data::Bytes(frame.data.clone()) }
    }

    /// The value that travels: bytes as `uint8`, numbers as `float32`.
    pub fn encode(&self) -> Value {
        let (dtype, data) = match &self.data {
            Data::Bytes(b) => ("|u1", b.clone()),
            Data::Numbers(n) => ("<f4", n.iter().flat_map(|v| (*v as f32).to_le_bytes()).collect()),
        };
        let key = |k: &str| Value::Bytes(k.as_bytes().to_vec());
        let shape = self.shape.iter().map(|n| Value::Int(i64::try_from(*n).unwrap_or(i64::MAX)));
        Value::Map(vec![
            (key("__ndarray__"), Value::Bool(true)),
            (key("data"), Value::Bytes(data)),
            (key("dtype"), Value::text(dtype)),
            (key("shape"), Value::List(shape.collect())),
        ])
    }

    /// Whether a value says that it is an array.
    pub fn is_array(value: &Value) -> bool {
        value.get("__ndarray__").is_some()
    }

    /// Reads an array; lists of numbers and single numbers are taken as well.
    ///
    /// # Errors
    /// Kinds of data that are not numbers, and sizes that do not fit the bytes, in words.
    pub fn decode(value: &Value) -> Result<Self, String> {
        if let Value::List(items) = value {
            return Self::of_list(items);
        }
        if let Some(number) = value.as_number() {
            return Ok(Self { shape: Vec::new(), data: Data::Numbers(vec![number]) });
        }
        if value.get("__npgeneric__").is_some() {
            let number = value.get("data").and_then(Value::as_number).ok_or("a scalar without a number")?;
            return Ok(Self { shape: Vec::new(), data: Data::Numbers(vec![number]) });
        }
        if !Self::is_array(value) {
            return Err("it is no array".into());
        }
        let dtype = value.get("dtype").and_then(Value::as_text).ok_or("an array without dtype")?;
        let Some(Value::Bytes(bytes)) = value.get("data") else {
            return Err("an array without data".into());
        };
        let Some(Value::List(sizes)) = value.get("shape") else {
            return Err("an array without shape".into());
        };
        if sizes.len() > DIMENSIONS {
            return Err(format!("an array of {} dimensions", sizes.len()));
        }
        let shape: Option<Vec<usize>> = sizes.iter().map(Value::as_size).collect();
        let shape = shape.ok_or("an array with a size that is none")?;
        let count = shape.iter().try_fold(1usize, |n, s| n.checked_mul(*s));
        let (width, read) = kind(dtype)?;
        let expected = count.and_then(|n| n.checked_mul(width));
        if expected != Some(bytes.len()) {
            return Err(format!("an array that says {shape:?} of {dtype} and has {} bytes", bytes.len()));
        }
        let data = if dtype == "|u1" {
            Data::Bytes(bytes.clone())
        } else {
            Data::Numbers(bytes.chunks_exact(width).map(read).collect())
        };
        Ok(Self { shape, data })
    }

    fn of_list(items: &[Value]) -> Result<Self, String> {
        let rows: Option<Vec<f64>> = items.iter().map(Value::as_number).collect();
        if let Some(numbers) = rows {
            return Ok(Self { shape: vec![numbers.len()], data: Data::Numbers(numbers) });
        }
        let parts = items.iter().map(Self::decode).collect::<Result<Vec<_>, _>>()?;
        let inner = parts.first().map_or_else(Vec::new, |p| p.shape.clone());
        if parts.iter().any(|p| p.shape != inner) || inner.len() >= DIMENSIONS {
            return Err("a list of lists of different lengths".into());
        }
        let mut shape = vec![parts.len()];
        shape.extend(inner);
        Ok(Self { shape, data: Data::Numbers(parts.into_iter().flat_map(|p| p.numbers()).collect()) })
    }

    /// All numbers.
    pub fn numbers(&self) -> Vec<f64> {
        match &self.data {
            Data::Bytes(b) => b.iter().map(|v| f64::from(*v)).collect(),
            Data::Numbers(n) => n.clone(),
        }
    }

    /// The array as rows, when it has two dimensions.
    pub fn as_rows(&self) -> Option<Vec<Vec<f64>>> {
        let [rows, width] = self.shape[..] else { return None };
        let numbers = self.numbers();
        if rows == 0 || width == 0 || numbers.len() != rows * width {
            return None;
        }
        Some(numbers.chunks_exact(width).map(<[f64]>::to_vec).collect())
    }

    /// The array as a picture: [height, width, 3] or [3, height, width] of bytes.
    pub fn as_picture(&self) -> Option<crate::Frame> {
        const MOST: usize = 4096;
        let Data::Bytes(bytes) = &self.data else { return None };
        let [a, b, c] = self.shape[..] else { return None };
        let (height, width, planes) = if c == 3 { (a, b, false) } else { (b, c, true) };
        if (planes && a != 3) || !(1..=MOST).contains(&height) || !(1..=MOST).contains(&width) {
            return None;
        }
        let mut frame = crate::Frame::filled(width, height, [0; 3]);
        if planes {
            let plane = width * height;
            for (i, pixel) in frame.data.chunks_exact_mut(3).enumerate() {
                for (k, v) in pixel.iter_mut().enumerate() {
                    *v = bytes.get(k * plane + i).copied().unwrap_or(0);
                }
            }
        } else {
            frame.data.clone_from(bytes);
        }
        Some(frame)
    }
}

/// How one number is read.
type Read = fn(&[u8]) -> f64;

/// Size of one number of a kind, and how it is read.
fn kind(dtype: &str) -> Result<(usize, Read), String> {
    fn bytes<const N: usize>(b: &[u8]) -> [u8; N] {
        b.try_into().unwrap_or([0; N])
    }
    let kind: (usize, Read) = match dtype {
        "|u1" => (1, |b| b.first().map_or(0.0, |v| f64::from(*v))),
        "|b1" => (1, |b| b.first().map_or(0.0, |v| f64::from(u8::from(*v != 0)))),
        "|i1" => (1, |b| f64::from(i8::from_le_bytes(bytes(b)))),
        "<i2" => (2, |b| f64::from(i16::from_le_bytes(bytes(b)))),
        "<u2" => (2, |b| f64::from(u16::from_le_bytes(bytes(b)))),
        "<i4" => (4, |b| f64::from(i32::from_le_bytes(bytes(b)))),
        "<u4" => (4, |b| f64::from(u32::from_le_bytes(bytes(b)))),
        "<i8" => (8, |b| i64::from_le_bytes(bytes(b)) as f64),
        "<u8" => (8, |b| u64::from_le_bytes(bytes(b)) as f64),
        "<f4" => (4, |b| f64::from(f32::from_le_bytes(bytes(b)))),
        "<f8" => (8, |b| f64::from_le_bytes(bytes(b))),
        other => {
            let shown: String = other.chars().take(20).collect();
            return Err(format!("an array of {shown:?}, which are no numbers that are read here"));
        }
    };
    Ok(kind)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn raw(dtype: &str, shape: &[i64], data: Vec<u8>) -> Value {
        Value::map([
            ("__ndarray__", Value::Bool(true)),
            ("data", Value::Bytes(data)),
            ("dtype", Value::text(dtype)),
            ("shape", Value::List(shape.iter().map(|n| Value::Int(*n)).collect())),
        ])
    }

    #[test]
    fn arrays_go_there_and_back() {
        let rows = vec![vec![1.0f32, -2.5], vec![0.25, f32::INFINITY]];
        let back = Array::decode(&Value::decode(&Array::rows(&rows).encode().encode()).unwrap()).unwrap();
        assert_eq!(back.as_rows().unwrap(), [vec![1.0, -2.5], vec![0.25, f64::INFINITY]]);
        let doubles = raw("<f8", &[2], [1.5f64, 2.0].iter().flat_map(|v| v.to_le_bytes()).collect());
        assert_eq!(Array::decode(&doubles).unwrap().numbers(), [1.5, 2.0]);
        let lists = Value::List(vec![Value::List(vec![Value::Int(1), Value::Float(2.0)]); 3]);
        assert_eq!(Array::decode(&lists).unwrap().shape, [3, 2]);
    }

    #[test]
    fn pictures_come_in_both_orders() {
        let mut frame = crate::Frame::filled(4, 2, [1, 2, 3]);
        frame.data[5] = 9;
        assert_eq!(Array::picture(&frame).as_picture().unwrap(), frame);
        let mut planes = vec![0u8; 24];
        for (i, pixel) in frame.data.chunks_exact(3).enumerate() {
            (0..3).for_each(|k| planes[k * 8 + i] = pixel[k]);
        }
        let array = Array::decode(&raw("|u1", &[3, 2, 4], planes)).unwrap();
        assert_eq!(array.as_picture().unwrap(), frame);
    }

    #[test]
    fn lies_about_shapes_and_objects_are_refused() {
        let huge = i64::from(u32::MAX);
        for (dtype, shape, bytes) in [
            ("<f4", vec![2, 2], 12),
            ("<f4", vec![huge, huge, huge], 4),
            ("<f4", vec![-1], 4),
            ("<f4", vec![1; 9], 4),
            ("O", vec![1], 8),
            ("|V4", vec![1], 4),
            ("<c8", vec![1], 8),
            (">f4", vec![1], 4),
        ] {
            assert!(Array::decode(&raw(dtype, &shape, vec![0; bytes])).is_err(), "{dtype} {shape:?}");
        }
        let ragged = Value::List(vec![Value::List(vec![Value::Int(1)]), Value::List(vec![])]);
        assert!(Array::decode(&ragged).is_err());
        assert!(Array::decode(&raw("<f4", &[0, 6], vec![])).unwrap().as_rows().is_none());
    }
}
