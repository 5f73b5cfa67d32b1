//! The list of tensors in a `.pt` file. It is a pickle: a program for a stack machine that may, in Python, call anything.
//!
//! This reader is no such machine. It knows the few opcodes that build dictionaries, tuples, strings and numbers, and
//! the few names that tensors are made of; it calls nothing, imports nothing and builds no objects. Whatever else a file
//! asks for is refused by its name.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use candle_core::DType;

/// Deepest nesting of dictionaries, lists and tuples.
const DEEPEST: usize = 32;

/// A tensor as the pickle describes it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Described {
    pub dtype: DType,
    /// Entry of the archive that holds its bytes.
    pub key: String,
    /// First element in that entry.
    pub offset: u64,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

/// The names that a tensor file may mention.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Known {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(DType),
    /// Leftovers of training libraries beside the tensors (byte buffers of their settings): kept as nothing.
    Inert,
}

#[derive(Clone, Debug)]
enum Value {
    Mark,
    Nothing,
    Number(i64),
    Text(Rc<str>),
    Tuple(Rc<[Value]>, usize),
    Group(Rc<RefCell<Group>>),
    Known(Known),
    Storage { dtype: DType, key: Rc<str> },
    Tensor(Rc<Described>),
}

/// A dictionary or list under construction. Once it is part of another one it must not change any more, which keeps
/// every file a tree of bounded depth.
#[derive(Debug, Default)]
struct Group {
    is_list: bool,
    items: Vec<(Value, Value)>,
    depth: usize,
    closed: bool,
}

impl Value {
    fn depth(&self) -> usize {
        match self {
            Self::Tuple(_, depth) => *depth,
            Self::Group(group) => group.borrow().depth,
            _ => 0,
        }
    }
}

/// Tensors by name. Names of nested dictionaries are joined by dots.
///
/// # Errors
/// The opcode or name that is no part of a tensor file, or what is damaged.
pub(super) fn tensors(bytes: &[u8]) -> Result<BTreeMap<String, Described>, String> {
    let mut machine = Machine { bytes, at: 0, stack: Vec::new(), memo: HashMap::new() };
    let top = machine.run()?;
    let mut found = BTreeMap::new();
    collect(&unwrapped(&top), "", &mut found);
    if found.is_empty() {
        return Err("there is no tensor in it".to_owned());
    }
    Ok(found)
}

/// Training checkpoints keep the weights under one of these names beside other things.
fn unwrapped(top: &Value) -> Value {
    if let Value::Group(group) = top {
        for wanted in ["state_dict", "model", "module"] {
            let inside = group.borrow().items.iter().find_map(|(key, value)| match (key, value) {
                (Value::Text(name), Value::Group(_)) if &**name == wanted => Some(value.clone()),
                _ => None,
            });
            if let Some(inside) = inside {
                return inside;
            }
        }
    }
    top.clone()
}

fn collect(value: &Value, name: &str, found: &mut BTreeMap<String, Described>) {
    match value {
        Value::Tensor(tensor) => {
            found.insert(name.to_owned(), (**tensor).clone());
        }
        Value::Group(group) if !group.borrow().is_list => {
            for (key, value) in &group.borrow().items {
                if let Value::Text(key) = key {
                    let full = if name.is_empty() { key.to_string() } else { format!("{name}.{key}") };
                    collect(value, &full, found);
                }
            }
        }
        _ => {}
    }
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Value>,
    memo: HashMap<u64, Value>,
}

const DAMAGED: &str = "its list of tensors is damaged";

/// What `_codecs.encode` and `_io.BytesIO` are called in a file that holds settings beside its tensors.
const INERT: [(&str, &str); 2] = [("_codecs", "encode"), ("_io", "BytesIO")];

fn known(module: &str, name: &str) -> Result<Known, String> {
    let storage = match name {
        "FloatStorage" => Some(DType::F32),
        "HalfStorage" => Some(DType::F16),
        "BFloat16Storage" => Some(DType::BF16),
        "DoubleStorage" => Some(DType::F64),
        "LongStorage" => Some(DType::I64),
        "IntStorage" => Some(DType::I32),
        "ByteStorage" | "BoolStorage" => Some(DType::U8),
        _ => None,
    };
    match (module, name, storage) {
        ("torch", _, Some(dtype)) => Ok(Known::Storage(dtype)),
        ("collections", "OrderedDict", _) => Ok(Known::OrderedDict),
        ("torch._utils", "_rebuild_tensor_v2", _) => Ok(Known::RebuildTensor),
        ("torch._utils", "_rebuild_parameter", _) => Ok(Known::RebuildParameter),
        _ if INERT.contains(&(module, name)) => Ok(Known::Inert),
        _ => Err(format!(
            "it asks for `{module}.{name}`, which is no part of a tensor file. Nothing of it was run"
        )),
    }
}

/// Names of the opcodes that other pickles have, for the refusal.
fn opcode_name(code: u8) -> &'static str {
    match code {
        b'i' => "INST",
        b'o' => "OBJ",
        b'P' => "PERSID",
        b'I' => "INT",
        b'L' => "LONG",
        b'F' => "FLOAT",
        b'S' => "STRING",
        b'T' => "BINSTRING",
        b'U' => "SHORT_BINSTRING",
        b'V' => "UNICODE",
        b'd' => "DICT",
        b'l' => "LIST",
        b'p' => "PUT",
        b'g' => "GET",
        b'2' => "DUP",
        0x81 => "NEWOBJ",
        0x82..=0x84 => "EXT",
        0x8b => "LONG4",
        0x8e => "BINBYTES8",
        0x8f => "EMPTY_SET",
        0x90 => "ADDITEMS",
        0x91 => "FROZENSET",
        0x92 => "NEWOBJ_EX",
        0x96 => "BYTEARRAY8",
        0x97 => "NEXT_BUFFER",
        0x98 => "READONLY_BUFFER",
        _ => "unknown",
    }
}

impl Machine<'_> {
    fn take(&mut self, count: usize) -> Result<&[u8], String> {
        let part = self.bytes.get(self.at..self.at.saturating_add(count)).ok_or(DAMAGED)?;
        self.at += count;
        Ok(part)
    }

    /// A little-endian number of `count` bytes.
    fn number(&mut self, count: usize) -> Result<u64, String> {
        Ok(self.take(count)?.iter().rev().fold(0, |n, byte| n << 8 | u64::from(*byte)))
    }

    fn text(&mut self, count: u64) -> Result<Rc<str>, String> {
        let count = usize::try_from(count).map_err(|_| DAMAGED)?;
        Ok(std::str::from_utf8(self.take(count)?).map_err(|_| DAMAGED)?.into())
    }

    fn line(&mut self) -> Result<String, String> {
        let rest = self.bytes.get(self.at..).ok_or(DAMAGED)?;
        let length = rest.iter().position(|byte| *byte == b'\n').ok_or(DAMAGED)?;
        let line = rest.get(..length).and_then(|line| std::str::from_utf8(line).ok()).ok_or(DAMAGED)?;
        self.at += length + 1;
        Ok(line.to_owned())
    }

    fn pop(&mut self) -> Result<Value, String> {
        match self.stack.pop() {
            Some(Value::Mark) | None => Err(DAMAGED.to_owned()),
            Some(value) => Ok(value),
        }
    }

    /// Everything above the last mark.
    fn marked(&mut self) -> Result<Vec<Value>, String> {
        let mark = self.stack.iter().rposition(|v| matches!(v, Value::Mark)).ok_or(DAMAGED)?;
        let values = self.stack.split_off(mark + 1);
        self.stack.pop();
        Ok(values)
    }

    fn tuple(&mut self, values: Vec<Value>) -> Result<(), String> {
        let depth = deeper(&values)?;
        values.iter().for_each(close);
        self.stack.push(Value::Tuple(values.into(), depth));
        Ok(())
    }

    fn group(&mut self, is_list: bool) {
        self.stack.push(Value::Group(Rc::new(RefCell::new(Group { is_list, ..Group::default() }))));
    }

    /// Adds items to the dictionary or list on top of the stack.
    fn fill(&mut self, is_list: bool, items: Vec<(Value, Value)>) -> Result<(), String> {
        let Some(Value::Group(group)) = self.stack.last() else { return Err(DAMAGED.to_owned()) };
        let own = group.clone();
        let mut group = group.borrow_mut();
        if group.closed || group.is_list != is_list {
            return Err("it changes a dictionary or list that is already part of another".to_owned());
        }
        for (key, value) in items {
            for part in [&key, &value] {
                if matches!(part, Value::Group(other) if Rc::ptr_eq(other, &own)) {
                    return Err("it puts a dictionary or list into itself".to_owned());
                }
                group.depth = group.depth.max(deeper(std::slice::from_ref(part))?);
                close(part);
            }
            group.items.push((key, value));
        }
        Ok(())
    }

    fn put(&mut self, number: u64) -> Result<(), String> {
        let value = self.stack.last().ok_or(DAMAGED)?.clone();
        self.memo.insert(number, value);
        Ok(())
    }

    fn get(&mut self, number: u64) -> Result<(), String> {
        let value = self.memo.get(&number).ok_or(DAMAGED)?.clone();
        self.stack.push(value);
        Ok(())
    }

    fn run(&mut self) -> Result<Value, String> {
        loop {
            let code = self.number(1)? as u8;
            match code {
                0x80 => {
                    self.number(1)?;
                }
                0x95 => {
                    self.number(8)?;
                }
                b'(' => self.stack.push(Value::Mark),
                b'.' => return self.pop(),
                b'0' => {
                    self.pop()?;
                }
                b'1' => {
                    self.marked()?;
                }
                b'N' => self.stack.push(Value::Nothing),
                0x88 => self.stack.push(Value::Number(1)),
                0x89 => self.stack.push(Value::Number(0)),
                b'J' => {
                    let n = self.number(4)? as u32 as i32;
                    self.stack.push(Value::Number(i64::from(n)));
                }
                b'K' => {
                    let n = self.number(1)? as i64;
                    self.stack.push(Value::Number(n));
                }
                b'M' => {
                    let n = self.number(2)? as i64;
                    self.stack.push(Value::Number(n));
                }
                b'G' => {
                    self.number(8)?;
                    self.stack.push(Value::Nothing);
                }
                0x8a => {
                    let count = self.number(1)? as usize;
                    let bytes = self.take(count)?;
                    let sign = if bytes.last().is_some_and(|b| b & 0x80 != 0) { -1i128 } else { 0 };
                    let n = bytes.iter().rev().take(16).fold(sign, |n, byte| n << 8 | i128::from(*byte));
                    self.stack.push(Value::Number(i64::try_from(n).map_err(|_| DAMAGED)?));
                }
                b'X' | 0x8c | 0x8d => {
                    let width = match code {
                        b'X' => 4,
                        0x8c => 1,
                        _ => 8,
                    };
                    let count = self.number(width)?;
                    let text = self.text(count)?;
                    self.stack.push(Value::Text(text));
                }
                b'C' | b'B' => {
                    let count = self.number(if code == b'C' { 1 } else { 4 })? as usize;
                    self.take(count)?;
                    self.stack.push(Value::Nothing);
                }
                b'}' => self.group(false),
                b']' => self.group(true),
                b')' => self.tuple(Vec::new())?,
                b't' => {
                    let values = self.marked()?;
                    self.tuple(values)?;
                }
                0x85..=0x87 => {
                    let count = usize::from(code - 0x84);
                    let mut values = (0..count).map(|_| self.pop()).collect::<Result<Vec<_>, _>>()?;
                    values.reverse();
                    self.tuple(values)?;
                }
                b's' => {
                    let (value, key) = (self.pop()?, self.pop()?);
                    self.fill(false, vec![(key, value)])?;
                }
                b'u' => {
                    let values = self.marked()?;
                    if values.len() % 2 != 0 {
                        return Err(DAMAGED.to_owned());
                    }
                    let mut values = values.into_iter();
                    let mut pairs = Vec::new();
                    while let (Some(key), Some(value)) = (values.next(), values.next()) {
                        pairs.push((key, value));
                    }
                    self.fill(false, pairs)?;
                }
                b'a' => {
                    let value = self.pop()?;
                    self.fill(true, vec![(Value::Nothing, value)])?;
                }
                b'e' => {
                    let values = self.marked()?;
                    self.fill(true, values.into_iter().map(|value| (Value::Nothing, value)).collect())?;
                }
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.stack.push(Value::Known(known(&module, &name)?));
                }
                0x93 => {
                    let (Value::Text(name), Value::Text(module)) = (self.pop()?, self.pop()?) else {
                        return Err(DAMAGED.to_owned());
                    };
                    self.stack.push(Value::Known(known(&module, &name)?));
                }
                b'R' => self.reduce()?,
                b'b' => {
                    // The attributes of an ordered dictionary: nothing that is needed.
                    self.pop()?;
                    match self.stack.last() {
                        Some(Value::Group(_) | Value::Nothing) => {}
                        _ => return Err("it sets attributes of something that is no dictionary".to_owned()),
                    }
                }
                b'Q' => self.storage()?,
                b'q' => {
                    let n = self.number(1)?;
                    self.put(n)?;
                }
                b'r' => {
                    let n = self.number(4)?;
                    self.put(n)?;
                }
                0x94 => self.put(self.memo.len() as u64)?,
                b'h' => {
                    let n = self.number(1)?;
                    self.get(n)?;
                }
                b'j' => {
                    let n = self.number(4)?;
                    self.get(n)?;
                }
                other => {
                    return Err(format!(
                        "it uses the pickle opcode {} (0x{other:02x}), which is no part of a tensor file. Nothing \
                         of it was run",
                        opcode_name(other)
                    ));
                }
            }
        }
    }

    /// A known name with its arguments: the description of what it stands for.
    fn reduce(&mut self) -> Result<(), String> {
        let (Value::Tuple(arguments, _), Value::Known(name)) = (self.pop()?, self.pop()?) else {
            return Err(DAMAGED.to_owned());
        };
        let made = match (name, &*arguments) {
            (Known::OrderedDict, []) => {
                self.group(false);
                return Ok(());
            }
            (Known::RebuildTensor, [Value::Storage { dtype, key }, offset, shape, strides, ..]) => {
                Value::Tensor(Rc::new(Described {
                    dtype: *dtype,
                    key: key.to_string(),
                    offset: sizes(std::slice::from_ref(offset))?.first().map_or(0, |n| *n as u64),
                    shape: tuple_sizes(shape)?,
                    strides: tuple_sizes(strides)?,
                }))
            }
            (Known::RebuildParameter, [Value::Tensor(tensor), ..]) => Value::Tensor(tensor.clone()),
            (Known::Inert, _) => Value::Nothing,
            (name, _) => return Err(format!("it calls {name:?} with other arguments than tensors have")),
        };
        self.stack.push(made);
        Ok(())
    }

    /// `("storage", type, entry, device, elements)`.
    fn storage(&mut self) -> Result<(), String> {
        let value = self.pop()?;
        if let Value::Tuple(parts, _) = &value
            && let [Value::Text(kind), Value::Known(Known::Storage(dtype)), Value::Text(key), ..] = &**parts
            && &**kind == "storage"
        {
            self.stack.push(Value::Storage { dtype: *dtype, key: key.clone() });
            return Ok(());
        }
        Err("one of its tensors is kept in a way that this version does not know".to_owned())
    }
}

/// Depth of something that holds `values`.
fn deeper(values: &[Value]) -> Result<usize, String> {
    let depth = values.iter().map(Value::depth).max().map_or(1, |depth| depth + 1);
    if depth > DEEPEST { Err(format!("it is nested more than {DEEPEST} levels deep")) } else { Ok(depth) }
}

fn close(value: &Value) {
    if let Value::Group(group) = value {
        group.borrow_mut().closed = true;
    }
}

fn sizes(values: &[Value]) -> Result<Vec<usize>, String> {
    values
        .iter()
        .map(|value| match value {
            Value::Number(n) => usize::try_from(*n).map_err(|_| DAMAGED.to_owned()),
            _ => Err(DAMAGED.to_owned()),
        })
        .collect()
}

fn tuple_sizes(value: &Value) -> Result<Vec<usize>, String> {
    match value {
        Value::Tuple(values, _) => sizes(values),
        _ => Err(DAMAGED.to_owned()),
    }
}
