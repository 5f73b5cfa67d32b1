//! MessagePack (<https://github.com/msgpack/msgpack/blob/master/spec.md>) without extension types, read with limits.

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing.
    Nil,
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// Text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Values in order.
    List(Vec<Value>),
    /// Keys and values in order; keys may be of any kind.
    Map(Vec<(Value, Value)>),
}

/// Why bytes are no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MsgpackError {
    /// They end too early.
    #[error("it ends too early")]
    Short,
    /// Something follows the value.
    #[error("bytes follow after its end")]
    Long,
    /// Nested too deep.
    #[error("it is nested too deep")]
    Deep,
    /// Too many values.
    #[error("it has too many values")]
    Many,
    /// A kind that is not read here.
    #[error("it has a value of kind {0:#04x}, which is not read here")]
    Kind(u8),
    /// Text that is none.
    #[error("it has text that is not UTF-8")]
    Utf8,
}

/// Deepest nesting.
const DEEPEST: usize = 16;
/// Most values in one message: numbers in bulk travel as arrays of bytes, which count once.
const MOST: usize = 200_000;

impl Value {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A map with text keys.
    pub fn map<K: Into<String>>(pairs: impl IntoIterator<Item = (K, Value)>) -> Self {
        Self::Map(pairs.into_iter().map(|(k, v)| (Self::Text(k.into()), v)).collect())
    }

    /// The value of a key, which may be text or bytes.
    pub fn get(&self, key: &str) -> Option<&Value> {
        let Self::Map(pairs) = self else { return None };
        pairs.iter().find(|(k, _)| k.names(key)).map(|(_, v)| v)
    }

    /// Whether this is the key of that name.
    fn names(&self, key: &str) -> bool {
        match self {
            Self::Text(t) => t == key,
            Self::Bytes(b) => b == key.as_bytes(),
            _ => false,
        }
    }

    /// A key as text.
    pub fn as_key(&self) -> Option<String> {
        match self {
            Self::Text(t) => Some(t.clone()),
            Self::Bytes(b) => String::from_utf8(b.clone()).ok(),
            _ => None,
        }
    }

    /// Text.
    pub fn as_text(&self) -> Option<&str> {
        if let Self::Text(t) = self { Some(t) } else { None }
    }

    /// A number of either kind.
    pub fn as_number(&self) -> Option<f64> {
        match self {
            Self::Int(n) => Some(*n as f64),
            Self::Float(x) => Some(*x),
            _ => None,
        }
    }

    /// A size or a count.
    pub fn as_size(&self) -> Option<usize> {
        if let Self::Int(n) = self { usize::try_from(*n).ok() } else { None }
    }

    /// The bytes of the value.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Nil => out.push(0xc0),
            Self::Bool(b) => out.push(if *b { 0xc3 } else { 0xc2 }),
            Self::Int(n) => write_int(*n, out),
            Self::Float(x) => {
                out.push(0xcb);
                out.extend(x.to_be_bytes());
            }
            Self::Text(t) => {
                head(out, t.len(), Some((0xa0, 31)), Some(0xd9), 0xda, 0xdb);
                out.extend(t.as_bytes());
            }
            Self::Bytes(b) => {
                head(out, b.len(), None, Some(0xc4), 0xc5, 0xc6);
                out.extend(b);
            }
            Self::List(items) => {
                head(out, items.len(), Some((0x90, 15)), None, 0xdc, 0xdd);
                items.iter().for_each(|i| i.write(out));
            }
            Self::Map(pairs) => {
                head(out, pairs.len(), Some((0x80, 15)), None, 0xde, 0xdf);
                for (k, v) in pairs {
                    k.write(out);
                    v.write(out);
                }
            }
        }
    }

    /// Reads one value that takes all bytes.
    ///
    /// # Errors
    /// Damaged bytes, extension types, too deep, too many values.
    pub fn decode(bytes: &[u8]) -> Result<Self, MsgpackError> {
        let mut reader = Reader { left: bytes, values: 0 };
        let value = reader.value(0)?;
        if reader.left.is_empty() { Ok(value) } else { Err(MsgpackError::Long) }
    }
}

fn write_int(n: i64, out: &mut Vec<u8>) {
    match n {
        0..=127 => out.push(n as u8),
        -32..=-1 => out.push((n as i8).cast_unsigned()),
        _ => {
            out.push(0xd3);
            out.extend(n.to_be_bytes());
        }
    }
}

/// Writes a kind with its length: short form, 8 bits, 16 bits, 32 bits.
fn head(out: &mut Vec<u8>, n: usize, fix: Option<(u8, usize)>, k8: Option<u8>, k16: u8, k32: u8) {
    match (fix, k8) {
        (Some((base, most)), _) if n <= most => out.push(base | n as u8),
        (_, Some(kind)) if n <= 0xff => out.extend([kind, n as u8]),
        _ if n <= 0xffff => {
            out.push(k16);
            out.extend((n as u16).to_be_bytes());
        }
        _ => {
            out.push(k32);
            out.extend(u32::try_from(n).unwrap_or(u32::MAX).to_be_bytes());
        }
    }
}

struct Reader<'a> {
    left: &'a [u8],
    values: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], MsgpackError> {
        let (head, tail) = self.left.split_at_checked(n).ok_or(MsgpackError::Short)?;
        self.left = tail;
        Ok(head)
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], MsgpackError> {
        self.take(N)?.try_into().map_err(|_| MsgpackError::Short)
    }

    /// A length of 1, 2 or 4 bytes. What cannot be there any more is refused before anything is set aside for it.
    fn length(&mut self, bytes: usize) -> Result<usize, MsgpackError> {
        let n = match bytes {
            1 => u32::from(self.number::<1>()?[0]),
            2 => u32::from(u16::from_be_bytes(self.number()?)),
            _ => u32::from_be_bytes(self.number()?),
        };
        let n = usize::try_from(n).map_err(|_| MsgpackError::Short)?;
        if n > self.left.len() { Err(MsgpackError::Short) } else { Ok(n) }
    }

    fn text(&mut self, n: usize) -> Result<Value, MsgpackError> {
        let text = std::str::from_utf8(self.take(n)?).map_err(|_| MsgpackError::Utf8)?;
        Ok(Value::Text(text.into()))
    }

    fn list(&mut self, n: usize, depth: usize) -> Result<Value, MsgpackError> {
        let mut items = Vec::new();
        for _ in 0..n {
            items.push(self.value(depth + 1)?);
        }
        Ok(Value::List(items))
    }

    fn map(&mut self, n: usize, depth: usize) -> Result<Value, MsgpackError> {
        let mut pairs = Vec::new();
        for _ in 0..n {
            pairs.push((self.value(depth + 1)?, self.value(depth + 1)?));
        }
        Ok(Value::Map(pairs))
    }

    fn value(&mut self, depth: usize) -> Result<Value, MsgpackError> {
        self.values += 1;
        if depth > DEEPEST {
            return Err(MsgpackError::Deep);
        }
        if self.values > MOST {
            return Err(MsgpackError::Many);
        }
        let [kind] = self.number::<1>()?;
        let unsigned = |n: u64| i64::try_from(n).map_or(Value::Float(n as f64), Value::Int);
        Ok(match kind {
            0x00..=0x7f => Value::Int(i64::from(kind)),
            0x80..=0x8f => self.map(usize::from(kind & 15), depth)?,
            0x90..=0x9f => self.list(usize::from(kind & 15), depth)?,
            0xa0..=0xbf => self.text(usize::from(kind & 31))?,
            0xc0 => Value::Nil,
            0xc2 | 0xc3 => Value::Bool(kind == 0xc3),
            0xc4..=0xc6 => {
                let n = self.length(1 << (kind - 0xc4))?;
                Value::Bytes(self.take(n)?.to_vec())
            }
            0xca => Value::Float(f64::from(f32::from_be_bytes(self.number()?))),
            0xcb => Value::Float(f64::from_be_bytes(self.number()?)),
            0xcc => Value::Int(i64::from(self.number::<1>()?[0])),
            0xcd => Value::Int(i64::from(u16::from_be_bytes(self.number()?))),
            0xce => Value::Int(i64::from(u32::from_be_bytes(self.number()?))),
            0xcf => unsigned(u64::from_be_bytes(self.number()?)),
            0xd0 => Value::Int(i64::from(i8::from_be_bytes(self.number()?))),
            0xd1 => Value::Int(i64::from(i16::from_be_bytes(self.number()?))),
            0xd2 => Value::Int(i64::from(i32::from_be_bytes(self.number()?))),
            0xd3 => Value::Int(i64::from_be_bytes(self.number()?)),
            0xd9..=0xdb => {
                let n = self.length(1 << (kind - 0xd9))?;
                self.text(n)?
            }
            0xdc | 0xdd => {
                let n = self.length(if kind == 0xdc { 2 } else { 4 })?;
                self.list(n, depth)?
            }
            0xde | 0xdf => {
                let n = self.length(if kind == 0xde { 2 } else { 4 })?;
                self.map(n, depth)?
            }
            0xe0..=0xff => Value::Int(i64::from(kind.cast_signed())),
            other => return Err(MsgpackError::Kind(other)),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn values_go_there_and_back() {
        let long = "x".repeat(70_000);
        let value = Value::Map(vec![
            (
                Value::text("a"),
                Value::List(vec![Value::Nil, Value::Bool(true), Value::Int(-7), Value::Int(1 << 40)]),
            ),
            (Value::Bytes(b"__ndarray__".to_vec()), Value::Float(-0.25)),
            (Value::text("long"), Value::text(long)),
            (Value::text("bytes"), Value::Bytes(vec![1; 300])),
            (Value::text("many"), Value::List(vec![Value::Int(200); 40])),
        ]);
        assert_eq!(Value::decode(&value.encode()).unwrap(), value);
        assert_eq!(value.get("__ndarray__").unwrap().as_number(), Some(-0.25));
    }

    #[test]
    fn bytes_of_other_programs_are_read() {
        // msgpack-python: {"x": 1.5f, b"y": [300, 70000, -200]}
        let bytes = [
            0x82, 0xa1, b'x', 0xca, 0x3f, 0xc0, 0, 0, 0xc4, 1, b'y', 0x93, 0xcd, 1, 0x2c, 0xce, 0, 1, 0x11,
            0x70, 0xd1, 0xff, 0x38,
        ];
        let value = Value::decode(&bytes).unwrap();
        assert_eq!(value.get("x").unwrap().as_number(), Some(1.5));
        let list = value.get("y").unwrap();
        assert_eq!(list, &Value::List(vec![Value::Int(300), Value::Int(70_000), Value::Int(-200)]));
    }

    #[test]
    fn hostile_bytes_are_refused_without_memory_or_panic() {
        let deep = vec![0x91u8; 100];
        assert_eq!(Value::decode(&deep), Err(MsgpackError::Deep));
        let mut many = vec![0xdd, 0, 0x10, 0, 0];
        many.extend(vec![0xc0; 0x10_0000]);
        assert_eq!(Value::decode(&many), Err(MsgpackError::Many));
        for lie in [
            &[0xdb, 0xff, 0xff, 0xff, 0xff][..],
            &[0xc6, 0x7f, 0, 0, 0],
            &[0xdf, 0xff, 0, 0, 0],
            &[0xdd],
            &[],
        ] {
            assert_eq!(Value::decode(lie), Err(MsgpackError::Short), "{lie:?}");
        }
        assert_eq!(Value::decode(&[0xc7, 1, 1, 1]), Err(MsgpackError::Kind(0xc7)));
        assert_eq!(Value::decode(&[0xa2, 0xff, 0xff]), Err(MsgpackError::Utf8));
        assert_eq!(Value::decode(&[1, 2]), Err(MsgpackError::Long));
        // Any cut and any flipped byte ends in a value or an error.
        let good = Value::map([("state", Value::List(vec![Value::Float(1.0); 6])), ("p", Value::text("go"))])
            .encode();
        for at in 0..good.len() {
            assert!(Value::decode(&good[..at]).is_err());
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                let _ = Value::decode(&bad);
            }
        }
    }
}
